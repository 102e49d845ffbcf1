/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The endpoints of this host: by address (one address means one endpoint), and by device. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "mac.h"

#define ENDPOINT_OPEN	     1	/* its network is reached from other open networks */
#define ENDPOINT_HOST_CLOSED 2	/* must not reach the host's own addresses */
#define ENDPOINT_LINK_LOCAL  4	/* may reach 169.254/16 and fe80::/10 */
#define ENDPOINT_PUBLISHED   8	/* has published ports: what it sends may be an answer */
#define ENDPOINT_SHAPED_IN   16 /* what it gets waits for its rate (shaper.h) */
#define ENDPOINT_SHAPED_OUT  32 /* likewise what it sends */

struct endpoint {
	__u64 container; /* equal for all interfaces of one container */
	__u32 ifindex;	 /* the host side of its veth */
	__u32 network;
	__u32 identity;
	__u32 flags;
	__u16 mtu;
	struct mac mac;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* ifindex */
	__type(value, struct endpoint);
} interfaces SEC(".maps");

static __always_inline const struct endpoint *endpoint_find(const struct addr *addr)
{
	return bpf_map_lookup_elem(&endpoints, addr);
}

static __always_inline const struct endpoint *interface_find(__u32 ifindex)
{
	return bpf_map_lookup_elem(&interfaces, &ifindex);
}

/* Whether the endpoint's container has this device: all its addresses may use any of its
 * interfaces.
 */
static __always_inline bool endpoint_owns(const struct endpoint *endpoint, __u32 ifindex)
{
	const struct endpoint *interface;

	if (endpoint->ifindex == ifindex)
		return true;
	interface = interface_find(ifindex);
	return interface && interface->container == endpoint->container;
}
