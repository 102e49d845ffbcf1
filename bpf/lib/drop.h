/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Why packets are refused. Functions return a reason as a negative number up to the program,
 * and only here it is counted. Python reads the names from BTF: there is no second list.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* New ones at the end: the counters outlive a build. */
enum drop_reason {
	DROP_NONE,
	DROP_TRUNCATED,	      /* ends before its headers do, or than they say */
	DROP_MALFORMED,	      /* headers that contradict themselves */
	DROP_PROTOCOL,	      /* neither IPv4, IPv6 nor (from a container) ARP; VLAN tags */
	DROP_EXTENSIONS,      /* more IPv6 extension headers than we follow */
	DROP_UNKNOWN_DEVICE,  /* the device has no endpoint (yet, or any more) */
	DROP_SPOOFED_ADDRESS, /* the source is not the sender's */
	DROP_SPOOFED_MAC,
	DROP_OTHER_HOST,    /* the frame is not for the gateway */
	DROP_MULTICAST,	    /* multicast and broadcast: not there yet */
	DROP_NEIGHBOUR,	    /* ARP or ND that we do not answer */
	DROP_ADDRESS_PROBE, /* duplicate address detection: never answered */
	DROP_ISOLATED,	    /* between networks that are closed to each other */
	DROP_HOST_CLOSED,   /* to the host, from a network that must not */
	DROP_LINK_LOCAL,    /* to 169.254/16 or fe80::/10, from a network that must not */
	DROP_INTERNAL,	    /* to an address that never stands on a wire */
	DROP_NO_ENDPOINT,   /* an address of ours that nobody has: answered: unreachable */
	DROP_TOO_BIG,	    /* answered with the MTU */
	DROP_TTL_EXCEEDED,  /* answered with time exceeded */
	DROP_FRAGMENT,	    /* a later fragment whose first we have not seen */
	DROP_NOT_HERE,	    /* to where this device does not lead */
	DROP_NO_REPLY,	    /* an answer could not be built */
	DROP_FLOW_LIMIT,    /* more new flows than the endpoint may open */
	DROP_NO_FLOW,	    /* an answer of a published port to a flow that is forgotten */
	DROP_NO_ROUTE,	    /* an answer of a published port to where no route leads */
	DROP_OTHER_OVERLAY, /* encapsulated under an identifier that is not ours */
	DROP_UNKNOWN_HOST,  /* encapsulated by who is no host of the cluster */
	DROP_SPOOFED_HOST,  /* sent by a host that neither has the source nor relays */
	DROP_NO_PATH,	    /* no live link leads to the host of the address: unreachable */
	DROP_PROBE_NUMBER,  /* a probe that does not know the number of its link */
	DROP_NO_MAC,	    /* for a next hop whose MAC the kernel is asked for: comes too early */
	DROP_NO_PROBE,	    /* to the port of probes, and none */
	DROP_SILENT,  /* to a service that is to be asked in vain: its backends are elsewhere */
	DROP_REFUSED, /* to a service without a backend, or on a connection whose backend is gone:
				 * answered with a reset, or port unreachable */
	DROP_NOT_PUBLISHED, /* from the host that was asked, to what no service has published */
	DROP_NO_SHAPER,	    /* of an endpoint whose bandwidth is limited, and its shaper is gone */
	DROP_LIMITED, /* opens more than a service's limit leaves: answered as what is refused */
};

#define DROP_OF_SOCKETS 0 /* instead of a device: what hooks of sockets refuse */

struct drop_key {
	__u32 ifindex;
	enum drop_reason reason;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); /* preallocated: a program cannot wait for memory */
	__uint(max_entries, 65536);
	__type(key, struct drop_key);
	__type(value, __u64);
} drops SEC(".maps");

static __always_inline void drop_count_of(__u32 ifindex, enum drop_reason reason)
{
	struct drop_key key = { .ifindex = ifindex, .reason = reason };
	__u64 *count = bpf_map_lookup_elem(&drops, &key);
	__u64 zero = 0;

	if (!count) {
		bpf_map_update_elem(&drops, &key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&drops, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void drop_count(const struct __sk_buff *skb, enum drop_reason reason)
{
	drop_count_of(skb->ifindex, reason);
}

static __always_inline int drop(const struct __sk_buff *skb, int reason)
{
	drop_count(skb, reason);
	return TC_ACT_SHOT;
}
