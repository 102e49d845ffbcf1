/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Ports of this host's endpoints that stand behind a service's port on every host. Another host that was
 * asked there may send to these, past isolation, and to no others of the same endpoint.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "packet.h"
#include "publication.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key);
	__type(value, __u32); /* 1 */
} behind SEC(".maps");

/* Whether it is for one of them. */
static __noinline bool behind_is(const struct packet *pkt)
{
	struct port_key key = {};

	if (!pkt)
		return false;
	key.addr = pkt->dst;
	key.port = pkt->dst_port;
	key.protocol = pkt->protocol;
	return bpf_map_lookup_elem(&behind, &key);
}
