/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whose sockets may ask services: those of the endpoints of this host, and the host's own. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "settings.h"

struct client {
	__u32 container; /* the lower half of its number */
	__u32 pad;
	__u64 limit; /* of what its sockets open: its number (use.h); 0: it has none */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* the cookie of an endpoint's network namespace */
	__type(value, struct client);
} clients SEC(".maps");

static __always_inline bool client_is_host(__u64 netns)
{
	return netns == settings.netns_cookie;
}

static __always_inline bool client_known(__u64 netns)
{
	return client_is_host(netns) || bpf_map_lookup_elem(&clients, &netns);
}

static __always_inline __u64 client_limit(__u64 netns)
{
	const struct client *client = bpf_map_lookup_elem(&clients, &netns);

	return client ? client->limit : 0;
}
