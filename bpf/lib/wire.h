/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Wire formats that linux/icmp.h, linux/if_arp.h and the like have only together with a C
 * library's headers.
 */
#pragma once

#include <linux/types.h>
#include "addr.h"
#include "mac.h"

struct icmp_header { /* of ICMP and ICMPv6 alike */
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

#define ICMP_PONG		   0
#define ICMP_UNREACHABLE	   3
#define ICMP_UNREACHABLE_HOST	   1
#define ICMP_UNREACHABLE_PORT	   3
#define ICMP_UNREACHABLE_TOO_BIG   4
#define ICMP_QUENCH		   4
#define ICMP_REDIRECT		   5
#define ICMP_TIME_EXCEEDED	   11
#define ICMP_BAD_PARAMETER	   12

#define ICMPV6_UNREACHABLE	   1
#define ICMPV6_UNREACHABLE_ADDRESS 3
#define ICMPV6_UNREACHABLE_PORT	   4
#define ICMPV6_TOO_BIG		   2
#define ICMPV6_TIME_EXCEEDED	   3
#define ICMPV6_FIRST_MESSAGE	   128 /* below are errors */
#define ICMPV6_PONG		   129

#define ND_ROUTER_SOLICITATION	   133
#define ND_SOLICITATION		   135
#define ND_ADVERTISEMENT	   136
#define ND_REDIRECT		   137
#define ND_HOP_LIMIT		   255 /* proof that no router has passed it on */
#define ND_TARGET_MAC		   2   /* an option */

struct neighbour_message {
	struct icmp_header icmp;
	struct addr target;
};

struct neighbour_option {
	__u8 kind;
	__u8 length; /* in eights */
	struct mac mac;
};

#define ARP_ETHERNET 1
#define ARP_REQUEST  1
#define ARP_REPLY    2

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_size;
	__u8 protocol_size;
	__be16 operation;
	struct mac sender_mac;
	__be16 sender[2]; /* not aligned as a word */
	struct mac target_mac;
	__be16 target[2];
};

struct extension { /* IPv6: hop-by-hop, routing, destination options, authentication */
	__u8 next;
	__u8 length;
	__be16 rest;
	__be32 more;
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};
