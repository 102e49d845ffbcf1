/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What does not fit and may be cut, which is the work of the host's stack. Where that tracks
 * connections it puts a datagram together first, and waits for all of its fragments.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "fragment.h"
#include "packet.h"

/* To the stack, and behind a first fragment the later ones too. */
static __noinline int fragment_cut(const struct packet *pkt)
{
	struct fragment_key key;
	struct ports *first;

	if (!pkt || (pkt->flags & (PACKET_FRAGMENT | PACKET_LATER)) != PACKET_FRAGMENT)
		return TC_ACT_OK;
	key = fragment_key(pkt);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (first)
		first->cut = true;
	return TC_ACT_OK;
}
