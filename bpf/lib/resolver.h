/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The host's resolver: its containers ask it, whatever else of the host is closed to them. */
#pragma once

#include <stdbool.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include "addr.h"
#include "packet.h"
#include "settings.h"

#define RESOLVER_PORT bpf_htons(53)

/* Never another address or port: a cluster without IPv6 has none. The caller knows that :: is not
 * asked.
 */
static __always_inline bool resolver_at(const struct addr *addr, __be16 port)
{
	struct addr own = addr_is_mapped(addr) ? settings_addr(&settings.resolver_v4)
					       : settings_addr(&settings.resolver_v6);

	return port == RESOLVER_PORT && addr_equal(addr, &own);
}

static __always_inline bool resolver_is(const struct packet *pkt, const struct addr *addr,
					__be16 port)
{
	return resolver_at(addr, port) &&
	       (pkt->protocol == IPPROTO_UDP || pkt->protocol == IPPROTO_TCP);
}

/* Of a packet :: is nobody's. */
static __always_inline bool resolver_asked(const struct packet *pkt)
{
	return resolver_is(pkt, &pkt->dst, pkt->dst_port);
}

static __always_inline bool resolver_answers(const struct packet *pkt)
{
	return resolver_is(pkt, &pkt->src, pkt->src_port);
}
