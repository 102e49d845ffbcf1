/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Later fragments have no ports: they follow their first, as long as it is remembered. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "drop.h"
#include "packet.h"

struct fragment_key {
	struct addr src;
	struct addr dst;
	__be32 id;
	__u32 protocol;
};

struct ports {
	__be16 src;
	__be16 dst;
	__u8 protocol; /* extension headers may stand before it, in the first fragment alone */
	__u8 cut;      /* by the host's stack, which needs the others for it */
	__u8 pad[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fragment_key);
	__type(value, struct ports);
} fragments SEC(".maps");

static __always_inline struct fragment_key fragment_key(const struct packet *pkt)
{
	return (struct fragment_key){
		.src = pkt->src,
		.dst = pkt->dst,
		.id = pkt->fragment,
		.protocol = pkt->fragment_protocol,
	};
}

static __always_inline int fragment_follow(struct packet *pkt)
{
	struct fragment_key key = fragment_key(pkt);
	struct ports *first, ports = {
		.src = pkt->src_port,
		.dst = pkt->dst_port,
		.protocol = pkt->protocol,
	};

	if (!(pkt->flags & PACKET_LATER)) {
		bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
		return 0;
	}
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first)
		return -DROP_FRAGMENT;
	pkt->src_port = first->src;
	pkt->dst_port = first->dst;
	pkt->protocol = first->protocol;
	if (first->cut)
		pkt->flags |= PACKET_CUT;
	return 0;
}
