/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Backends that are kept: by the clients of a service with affinity, each a network namespace, and
 * by sockets of datagrams that are not connected. A choice holds as long as its backend is one, and
 * gets new connections.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "clock.h"
#include "draw.h"
#include "place.h"
#include "publication.h"
#include "service.h"

#define NANOSECONDS 1000000000ull

struct chooser {
	struct port_key service;
	__u32 pad;
	__u64 cookie; /* of a network namespace, or of a socket */
};

struct choice {
	struct place backend;
	__u32 slot;  /* that it had: most likely it still has */
	__u64 until; /* seconds of the kernel's clock; of a socket: not looked at */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct chooser);
	__type(value, struct choice);
} affinities SEC(".maps");

/* A map of its own: clients that ask a question a socket are not to drive out the others. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct chooser);
	__type(value, struct choice);
} associations SEC(".maps");

static __always_inline __u64 choice_now(void)
{
	return clock_now() / NANOSECONDS;
}

/* Whether a slot has this backend, and gets new connections. */
static __always_inline bool choice_at(struct draw *draw, __u32 slot)
{
	const struct backend *backend = backend_at(&draw->service, slot), *before;

	if (!backend || !backend_is(backend, &draw->backend))
		return false;
	before = slot ? backend_at(&draw->service, slot - 1) : NULL;
	draw->found = backend->upto != (before ? before->upto : 0);
	draw->slot = slot;
	return true;
}

static long choice_look(__u32 slot, struct draw *draw)
{
	return choice_at(draw, slot);
}

/* Where slots moved, all are gone through, once: the new one is noted. */
static __noinline bool choice_holds(struct draw *draw, const struct service *service,
				    struct choice *choice)
{
	if (!draw || !service || !choice)
		return false;
	draw->found = draw_nothing(service);
	draw->backend = choice->backend;
	if (choice->slot < service->backends && choice_at(draw, choice->slot))
		return draw->found;
	bpf_loop(service->backends, choice_look, draw, 0);
	if (draw->found)
		choice->slot = draw->slot;
	return draw->found;
}

/* Of a client, for so long after it was used last. */
static __always_inline bool choice_of_client(struct draw *draw, const struct service *service,
					     __u64 netns)
{
	struct chooser who = { .service = draw->service, .cookie = netns };
	struct choice *kept = bpf_map_lookup_elem(&affinities, &who);
	__u64 now = choice_now();

	if (!kept || kept->until <= now || !choice_holds(draw, service, kept))
		return false;
	kept->until = now + service->affinity;
	return true;
}

static __always_inline bool choice_of_socket(struct draw *draw, const struct service *service,
					     __u64 sock)
{
	struct chooser who = { .service = draw->service, .cookie = sock };
	struct choice *kept = bpf_map_lookup_elem(&associations, &who);

	return kept && choice_holds(draw, service, kept);
}

/* The client's comes first: of all his sockets each has the same. `sock`: 0 where it connects. */
static __always_inline bool choice_find(struct draw *draw, const struct service *service,
					__u64 netns, __u64 sock)
{
	if (service->affinity)
		return choice_of_client(draw, service, netns);
	return sock && choice_of_socket(draw, service, sock);
}

static __noinline void choice_keep(const struct draw *draw, const struct service *service,
				   __u64 netns, __u64 sock)
{
	struct chooser who = { .cookie = sock };
	struct choice choice = {};

	if (!draw || !service)
		return;
	who.service = draw->service;
	choice.backend = draw->backend;
	choice.slot = draw->slot;
	if (service->affinity) {
		who.cookie = netns;
		choice.until = choice_now() + service->affinity;
		bpf_map_update_elem(&affinities, &who, &choice, BPF_ANY);
	} else if (sock) {
		bpf_map_update_elem(&associations, &who, &choice, BPF_ANY);
	}
}
