/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* VXLAN (RFC 7348) as we write it: IPv4 or IPv6 without options, UDP without a checksum (RFC 6935:
 * what is carried has its own), a header, and the carried frame.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include "addr.h"
#include "packet.h"
#include "underlay.h"

struct vxlan_header {
	__be32 flags;
	__be32 id;
};

#define VXLAN_HAS_ID	bpf_htonl(0x08000000)
#define VXLAN_TTL	64
#define VXLAN_PORTS	0xc000 /* the flow's hash is the rest of the source port */

/* Bytes that encapsulation adds, by what carries it: up to the carried frame's layer 3. */
#define VXLAN_BEHIND_IP (sizeof(struct udphdr) + sizeof(struct vxlan_header) + ETH_HLEN)
#define VXLAN_OVER_IPV4 (sizeof(struct iphdr) + VXLAN_BEHIND_IP)
#define VXLAN_OVER_IPV6 (sizeof(struct ipv6hdr) + VXLAN_BEHIND_IP)

static __always_inline __u32 vxlan_overhead(const struct addr *underlay)
{
	return addr_is_mapped(underlay) ? VXLAN_OVER_IPV4 : VXLAN_OVER_IPV6;
}

#define ECN_CE	 3 /* congestion experienced: what meets it outside is told inside (RFC 6040) */
#define ECN_ECT0 2

/* The identifier of the cluster's overlay, as it stands in the header. */
static __always_inline __be32 vxlan_id(const struct underlay *underlay)
{
	return bpf_htonl(underlay->id << 8);
}

/* The one under which a host that was asked by a published port is known: its number further. */
static __always_inline __be32 vxlan_id_of(__be32 id, __u32 ingress)
{
	return bpf_htonl(bpf_ntohl(id) + (ingress << 8));
}
