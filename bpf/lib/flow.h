/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A flow: what its packets are known by, and what they look like further on, in each direction. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include "addr.h"
#include "packet.h"

#define FLOW_ANSWER  1	 /* from whom the flow was opened to */
#define FLOW_PLAIN   2	 /* not translated: an answer to it is let through */
#define FLOW_INNER   4	 /* nobody outside takes part in it */
#define FLOW_LED     8	 /* to a backend of a service, packet by packet: fallback.h judges it */
#define FLOW_SERVICE 16	 /* a service has published the port, and this host chose the backend */
#define FLOW_PARTING 32	 /* that one gets no new connections */
#define FLOW_LEFT    64	 /* and is none any more: leaving.h knows how long connections go on */
#define FLOW_CLOSED  128 /* TCP: in this direction nothing more is said */
#define FLOW_RESET   256 /* TCP: nor in the other one */
#define FLOW_OVER    (FLOW_CLOSED | FLOW_RESET)
#define FLOW_COUNTED 512  /* perhaps: counted.h knows */
#define FLOW_MET     1024 /* of one that counts, and is known to be open: counted.h knows it too */

struct flow_key {
	struct addr src;
	struct addr dst;
	__be16 src_port;
	__be16 dst_port;
	__u8 protocol;
	__u8 pad[3];
	__u32 ingress; /* of what comes from another host, or back from one: see below */
};

struct flow { /* addresses and ports as in the key */
	struct addr src;
	struct addr dst;
	__be16 src_port;
	__be16 dst_port;
	__u32 epoch;
	__u32 seen; /* in ticks: when the other direction was looked after */
	__u32 flags;
	__u32 container; /* whose end of it no publication vouches for; 0: not one of ours */
	__u32 tag;	 /* of the key: a full table gives an entry away while somebody reads it */
	__u32 ingress;	 /* number of the host that was asked, where another one answers; else 0 */
};

/* A packet that an ICMP error quotes. */
struct quote {
	struct flow_key key; /* of the flow's direction in which the error goes */
	__u32 network;	     /* offset of the quoted packet */
	__u32 transport;
	__u32 end;    /* of the message: what a frame has behind it is not quoted */
	__be16 check; /* of its IPv4 header */
	__u16 pad;
};

static __always_inline __u32 flow_tag(const struct flow_key *key)
{
	__u32 tag = (__u32)key->src_port << 16 | key->dst_port;
	int i;

	for (i = 0; i < 4; i++)
		tag = tag * 31 + (key->src.words[i] ^ (key->dst.words[i] << 1));
	return tag ^ key->protocol ^ key->ingress << 8;
}

static __always_inline bool flow_has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static __always_inline struct flow_key flow_key_of(const struct packet *pkt)
{
	struct flow_key key = {
		.src = pkt->src,
		.dst = pkt->dst,
		.protocol = pkt->protocol,
		.ingress = pkt->ingress,
	};

	if (flow_has_ports(pkt->protocol)) {
		key.src_port = pkt->src_port;
		key.dst_port = pkt->dst_port;
	}
	return key;
}

/* Whether a direction goes on to another host: from the one that was asked, or back to it. */
static __always_inline bool flow_is_carried(const struct flow *flow)
{
	bool answers = flow->flags & FLOW_ANSWER, asked_here = flow->flags & FLOW_SERVICE;

	return flow->ingress && answers != asked_here;
}

/* The entry under which the other direction is found, and what it says. What goes on to another host
 * comes back from there.
 */
static __always_inline struct flow_key flow_reverse_key(const struct flow_key *key,
							const struct flow *flow)
{
	struct flow_key reverse = {
		.src = flow->dst,
		.dst = flow->src,
		.src_port = flow->dst_port,
		.dst_port = flow->src_port,
		.protocol = key->protocol,
		.ingress = flow_is_carried(flow) ? flow->ingress : 0,
	};

	return reverse;
}

static __always_inline struct flow flow_reverse(const struct flow_key *key, const struct flow *flow)
{
	struct flow reverse = {
		.src = key->dst,
		.dst = key->src,
		.src_port = key->dst_port,
		.dst_port = key->src_port,
		.epoch = flow->epoch,
		.seen = flow->seen,
		.flags = (flow->flags ^ FLOW_ANSWER) & ~FLOW_OVER,
		.container = flow->container,
		.ingress = flow->ingress,
	};

	return reverse;
}

static __always_inline bool flow_says(const struct flow *flow, const struct flow *other)
{
	return addr_equal(&flow->src, &other->src) && addr_equal(&flow->dst, &other->dst) &&
	       flow->src_port == other->src_port && flow->dst_port == other->dst_port &&
	       flow->ingress == other->ingress;
}
