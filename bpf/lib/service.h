/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Services: a port of a virtual address (VIP), and the backends that stand behind it. Whoever
 * removes a backend lowers the count before he empties a slot, and whoever adds one enters it first:
 * a slot below the count is there. While slots are written a backend may stand in two of them.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "place.h"
#include "publication.h"

#define SERVICE_RANDOM	    0
#define SERVICE_ROUND_ROBIN 1
#define SERVICE_LEAST	    2
#define SERVICE_MAGLEV	    3 /* of published ports; for who has no address to hash: random */

#define SERVICE_EVEN	    1 /* every weight is the same: a slot is drawn directly */
#define SERVICE_SILENT	    2 /* without a backend it is silent, and does not refuse */

struct service {
	__u32 backends; /* how many; 0: refused at once */
	__u32 weight;	/* of all together */
	__u32 affinity; /* seconds that a client keeps his backend after he used it; 0: none */
	__u16 algorithm;
	__u16 flags;
	__u64 limit; /* of the whole service: its number (use.h); 0: it has none */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key); /* of the VIP; unspecified address: of every host */
	__type(value, struct service);
} services SEC(".maps");

struct backend_key {
	struct port_key service;
	__u32 slot;
};

struct backend {
	struct addr addr;
	__be16 port;
	__u16 pad;
	__u32 upto; /* weights of the slots up to this one, with it */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct backend);
} backends SEC(".maps");

/* The same port of every host (frontend.h). */
static __always_inline struct port_key frontend_key(const struct addr *addr, __be16 port,
						    __u8 protocol)
{
	struct port_key key = { .port = port, .protocol = protocol };

	if (addr_is_mapped(addr))
		addr_map(&key.addr, 0);
	return key;
}

static __always_inline const struct service *service_find(const struct addr *addr, __be16 port,
							  __u8 protocol)
{
	struct port_key key = { .addr = *addr, .port = port, .protocol = protocol };

	return bpf_map_lookup_elem(&services, &key);
}

/* Whether nobody may be chosen now: there are no backends, or all have no weight. */
static __always_inline bool service_is_bare(const struct service *service)
{
	return !service->backends || !service->weight;
}

static __always_inline const struct backend *backend_at(const struct port_key *service, __u32 slot)
{
	struct backend_key key = { .service = *service, .slot = slot };

	return bpf_map_lookup_elem(&backends, &key);
}

static __always_inline bool backend_is(const struct backend *backend, const struct place *place)
{
	return backend->port == place->port && addr_equal(&backend->addr, &place->addr);
}

static __always_inline struct place backend_place(const struct backend *backend)
{
	struct place place = { .addr = backend->addr, .port = backend->port };

	return place;
}
