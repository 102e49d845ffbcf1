/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The epoch: a number that is another one once something has changed that verdicts rest on. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} epochs SEC(".maps");

static __always_inline __u32 epoch_now(void)
{
	__u32 zero = 0, *epoch = bpf_map_lookup_elem(&epochs, &zero);

	return epoch ? *epoch : 0;
}
