/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Checksums (RFC 1071), computed from nothing. Those of a packet that is translated: translate.h. */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

static __always_inline __u32 checksum_add(__u32 sum, void *data, __u32 size)
{
	return bpf_csum_diff(NULL, 0, data, size, sum);
}

static __always_inline __u16 checksum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* The checksum over what IPv6 carries also has its addresses, length and protocol. */
static __always_inline __u32 checksum_pseudo(struct ipv6hdr *ip, __u32 sum)
{
	__be32 tail[2] = { bpf_htonl(bpf_ntohs(ip->payload_len)), bpf_htonl(ip->nexthdr) };

	sum = checksum_add(sum, &ip->saddr, 2 * sizeof(ip->saddr));
	return checksum_add(sum, tail, sizeof(tail));
}
