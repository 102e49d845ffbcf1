/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Published ports: which port of the host leads to which port of an endpoint. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "identity.h"

#define NOT_PUBLISHED	 0x10000 /* no verdict: the packet has nothing to do with a published port */

#define PUBLICATION_SOLE 1 /* an answer shows without a flow where it comes from */

struct port_key {
	struct addr addr; /* of a publication: unspecified for every address of the host */
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct publication {
	struct addr backend;
	__be16 port;
	__u16 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key);
	__type(value, struct publication);
} publications SEC(".maps");

/* What a backend's port is published as: for a reply whose flow is forgotten. */
struct origin {
	struct addr addr; /* unspecified: more than one address or port of the host leads here */
	__be16 port;
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key);
	__type(value, struct origin);
} origins SEC(".maps");

/* Of this very address, else of every address: the caller knows whether it is the host's. */
static __always_inline const struct publication *publication_at(const struct addr *addr,
								__be16 port, __u8 protocol)
{
	struct port_key key = { .addr = *addr, .port = port, .protocol = protocol };
	const struct publication *found = bpf_map_lookup_elem(&publications, &key);

	if (found)
		return found;
	if (addr_is_mapped(addr))
		addr_map(&key.addr, 0);
	else
		__builtin_memset(&key.addr, 0, sizeof(key.addr));
	return bpf_map_lookup_elem(&publications, &key);
}

/* Link-local addresses of the host are no place for answers to be routed to; those of its loopback
 * never stand on a wire, and a port that is published there is the host's own (socket.h).
 */
static __always_inline const struct publication *publication_find(const struct addr *addr,
								  __be16 port, __u8 protocol)
{
	const struct publication *found = publication_at(addr, port, protocol);

	if (!found || addr_is_link_local(addr) || addr_is_internal(addr))
		return NULL;
	return identity_of(addr) == IDENTITY_HOST ? found : NULL;
}

static __always_inline const struct origin *origin_find(const struct addr *backend, __be16 port,
							__u8 protocol)
{
	struct port_key key = { .addr = *backend, .port = port, .protocol = protocol };

	return bpf_map_lookup_elem(&origins, &key);
}

static __always_inline bool publication_leads_to(const struct publication *publication,
						 const struct addr *backend, __be16 port)
{
	return publication && publication->port == port &&
	       addr_equal(&publication->backend, backend);
}
