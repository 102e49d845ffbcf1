/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The one end of all packets that do not go on: answered where that is due, and counted. */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "drop.h"
#include "icmp.h"
#include "packet.h"
#include "reply.h"
#include "reset.h"

/* Over a limit: told as if nobody were there. Apart, as it needs the stack. */
static __noinline int refuse_limited(struct __sk_buff *skb, const struct packet *pkt)
{
	int verdict;

	if (!pkt)
		return TC_ACT_SHOT;
	verdict =
		pkt->protocol == IPPROTO_TCP ? reset(skb, pkt) : icmp_error(skb, pkt, DROP_REFUSED);
	drop_count(skb, DROP_LIMITED);
	if (!verdict)
		verdict = reply_back(skb, pkt);
	return verdict < 0 ? TC_ACT_SHOT : verdict;
}

static __always_inline int refuse(struct __sk_buff *skb, const struct packet *pkt, int reason)
{
	int verdict = -reason;

	if (reason == DROP_LIMITED)
		return refuse_limited(skb, pkt);
	if (reason == DROP_REFUSED && pkt->protocol == IPPROTO_TCP)
		verdict = reset(skb, pkt);
	else if (reason == DROP_TTL_EXCEEDED || reason == DROP_TOO_BIG ||
		 reason == DROP_NO_ENDPOINT || reason == DROP_NO_PATH || reason == DROP_REFUSED)
		verdict = icmp_error(skb, pkt, reason);
	if (!verdict) {
		drop_count(skb, reason);
		verdict = reply_back(skb, pkt);
	}
	return verdict < 0 ? drop(skb, -verdict) : verdict;
}
