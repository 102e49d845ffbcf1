/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A hash of what packets bear (MurmurHash3): the same on every host. */
#pragma once

#include <linux/types.h>
#include "addr.h"

static __always_inline __u32 hash_mix(__u32 hash, __u32 word)
{
	hash ^= word * 0xcc9e2d51;
	hash = hash << 13 | hash >> 19;
	return hash * 5 + 0xe6546b64;
}

static __always_inline __u32 hash_mix_addr(__u32 hash, const struct addr *addr)
{
	int i;

	for (i = 0; i < 4; i++)
		hash = hash_mix(hash, addr->words[i]);
	return hash;
}

/* When all is mixed in: each bit of it depends on all of them. */
static __always_inline __u32 hash_end(__u32 hash)
{
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ hash >> 16;
}
