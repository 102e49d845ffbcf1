/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What comes back from a backend to who was led there packet by packet (fallback.h): it gets for its
 * source the VIP that was asked, and an ICMP error quotes that.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "drop.h"
#include "endpoint.h"
#include "flow.h"
#include "over.h"
#include "packet.h"
#include "related.h"
#include "remote.h"
#include "scratch.h"
#include "tracking.h"
#include "translate.h"

#define LED_WORDS 2048

/* A bit for each device whose endpoint ever had such a flow, by its number (two may share one): all
 * others pay for no more than this. An element of an array is no call, it is written into the program.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LED_WORDS);
	__type(key, __u32);
	__type(value, __u32);
} led SEC(".maps");

static __always_inline __u32 *led_word(__u32 ifindex)
{
	__u32 at = ifindex / 32 % LED_WORDS;

	return bpf_map_lookup_elem(&led, &at);
}

static __always_inline bool led_ever(const struct endpoint *endpoint)
{
	const __u32 *word = led_word(endpoint->ifindex);

	return word && *word & 1u << endpoint->ifindex % 32;
}

static __always_inline void led_note(const struct endpoint *endpoint)
{
	__u32 *word = led_word(endpoint->ifindex), bit = 1u << endpoint->ifindex % 32;

	if (word && !(*word & bit))
		__sync_fetch_and_or(word, bit);
}

/* The flow that this answers, in the scratch. Whether it still holds, what its client sends asks.
 * `packet`: its flags; PACKET_ICMP_ERROR: it is quoted.
 */
static __always_inline bool led_find(const struct flow_key *key, struct flow *flow, __u32 packet)
{
	struct flow *found = bpf_map_lookup_elem(&inner_flows, key);

	if (!found)
		return false;
	flow_hear(found, packet);
	*flow = *found;
	if (!(flow->flags & FLOW_LED) || !(flow->flags & FLOW_ANSWER) || flow->tag != flow_tag(key))
		return false;
	if (flow_refresh(key, flow))
		found->seen = flow->seen;
	return true;
}

/* Nobody but a host, or a router outside, speaks of packets that were for somebody else. */
static __always_inline bool led_may_tell(const struct packet *pkt, const struct quote *quote)
{
	const struct remote *remote;

	if (addr_equal(&pkt->src, &quote->key.src))
		return true;
	remote = remote_find(&pkt->src);
	return remote ? remote->flags & REMOTE_HOST : !endpoint_find(&pkt->src);
}

static __noinline int led_error(struct __sk_buff *skb, const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !quote_read(skb, pkt, &scratch->quote) ||
	    !led_find(&scratch->quote.key, &scratch->flow, PACKET_ICMP_ERROR) ||
	    !led_may_tell(pkt, &scratch->quote))
		return 0;
	return relate(skb, pkt, &scratch->quote, &scratch->flow);
}

static __noinline int led_answer(struct __sk_buff *skb, const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();

	if (!scratch || !pkt || pkt->flags & PACKET_LED || !flow_has_ports(pkt->protocol))
		return 0;
	scratch->key = flow_key_of(pkt);
	if (!led_find(&scratch->key, &scratch->flow, pkt->flags))
		return 0;
	return translate(skb, pkt, &scratch->flow);
}

/* It may end its connection. Apart from the translation, as both need the stack. */
static __noinline void led_settle(const struct packet *pkt)
{
	struct scratch *scratch = scratch_get();
	struct flow *found;

	if (!scratch || !pkt)
		return;
	scratch->key = flow_key_of(pkt);
	found = bpf_map_lookup_elem(&inner_flows, &scratch->key);
	if (found && found->tag == flow_tag(&scratch->key))
		flow_count(&scratch->key, found, found->flags, pkt->flags);
}

/* A packet for this endpoint. 0: it goes on, whether it was an answer or not; else a reason. */
static __always_inline int led_back(struct __sk_buff *skb, const struct packet *pkt,
				    const struct endpoint *dst)
{
	int err = led_ever(dst) ? led_answer(skb, pkt) : 0;

	if (pkt->flags & PACKET_TURNS && !(pkt->flags & PACKET_LED) && led_ever(dst))
		led_settle(pkt);
	return err;
}

/* The same of an error. */
static __always_inline bool led_tells(const struct packet *pkt, const struct endpoint *dst)
{
	return pkt->flags & PACKET_ICMP_ERROR && led_ever(dst);
}
