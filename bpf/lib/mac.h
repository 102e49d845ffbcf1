/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A MAC as three words of 16 bits, the alignment that frames and map values have. */
#pragma once

#include <stdbool.h>
#include <linux/types.h>

struct mac {
	__u16 words[3];
};

static __always_inline bool mac_equal(const struct mac *a, const struct mac *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] &&
	       a->words[2] == b->words[2];
}

static __always_inline bool mac_is_group(const struct mac *mac)
{
	return *(const __u8 *)mac & 1;
}
