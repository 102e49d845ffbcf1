/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tunnels: devices of this host by which only what from_overlay has checked comes in. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* ifindex */
	__type(value, __u32);
} tunnels SEC(".maps");

static __always_inline bool tunnel_is(__u32 ifindex)
{
	return bpf_map_lookup_elem(&tunnels, &ifindex);
}
