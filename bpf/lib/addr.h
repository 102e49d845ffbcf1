/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* One kind of address: 16 bytes, IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2), so that no map and
 * no function exists twice.
 */
#pragma once

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>

struct addr {
	__be32 words[4];
};

#define MAPPED_WORD bpf_htonl(0xffff) /* the third word of a mapped IPv4 address */

static __always_inline void addr_map(struct addr *addr, __be32 ipv4)
{
	addr->words[0] = 0;
	addr->words[1] = 0;
	addr->words[2] = MAPPED_WORD;
	addr->words[3] = ipv4;
}

static __always_inline bool addr_is_mapped(const struct addr *addr)
{
	return !addr->words[0] && !addr->words[1] && addr->words[2] == MAPPED_WORD;
}

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] &&
	       a->words[2] == b->words[2] && a->words[3] == b->words[3];
}

static __always_inline bool addr_in_high(__be32 word, __u32 prefix, __u32 mask)
{
	return (word & bpf_htonl(mask)) == bpf_htonl(prefix);
}

static __always_inline bool addr_is_unspecified(const struct addr *addr)
{
	return !addr->words[0] && !addr->words[1] && !addr->words[3] &&
	       (!addr->words[2] || addr->words[2] == MAPPED_WORD);
}

/* Multicast, or IPv4's class E and broadcast: nobody's own address. */
static __always_inline bool addr_is_group(const struct addr *addr)
{
	if (addr_is_mapped(addr))
		return addr_in_high(addr->words[3], 0xe0000000, 0xe0000000);
	return addr_in_high(addr->words[0], 0xff000000, 0xff000000);
}

/* 169.254.0.0/16 and fe80::/10 */
static __always_inline bool addr_is_link_local(const struct addr *addr)
{
	if (addr_is_mapped(addr))
		return addr_in_high(addr->words[3], 0xa9fe0000, 0xffff0000);
	return addr_in_high(addr->words[0], 0xfe800000, 0xffc00000);
}

/* 0.0.0.0/8, 127.0.0.0/8, :: and ::1 never stand on a wire; a host with route_localnet would
 * take them for its own.
 */
static __always_inline bool addr_is_internal(const struct addr *addr)
{
	if (addr_is_mapped(addr))
		return addr_in_high(addr->words[3], 0x7f000000, 0xff000000) ||
		       addr_in_high(addr->words[3], 0, 0xff000000);
	return !addr->words[0] && !addr->words[1] && !addr->words[2] &&
	       (addr->words[3] & ~bpf_htonl(1)) == 0;
}
