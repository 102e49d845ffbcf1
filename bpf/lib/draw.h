/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which of a service's backends a new connection gets, by each algorithm. A backend without weight
 * gets none.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "place.h"
#include "publication.h"
#include "service.h"
#include "serving.h"

#define DRAW_STEPS 21 /* halves that 1,048,576 slots have, and the last one */

/* Of a service in turn: one count for all CPUs, so that they give no backend twice. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key);
	__type(value, __u64);
} turns SEC(".maps");

/* What is drawn, and by what. Callbacks of bpf_loop see it. */
struct draw {
	struct port_key service;
	__u32 at;	   /* looked for: a weight, below that of all */
	__u32 low;	   /* slots that may have it: from here */
	__u32 high;	   /* to before here */
	__u32 weight;	   /* of the slot that is best so far */
	__u64 connections; /* that it has */
	__u32 before;	   /* weights of the slots that were seen */
	__u32 equal;	   /* slots that are as good as the best */
	__u32 slot;
	__u32 even;
	struct place backend;
	__u32 found;
	__u32 number; /* instead of one by chance, where it is not 0: equal for equal flows */
};

/* Zero, and no verifier knows it: the flag is nobody's. Kernels before 6.7 go through a callback of
 * bpf_loop once, and cut out what cannot be with what it begins with.
 */
static __always_inline __u32 draw_nothing(const struct service *service)
{
	return service->flags >> 15;
}

static __always_inline void draw_take(struct draw *draw, const struct backend *backend, __u32 slot)
{
	draw->backend = backend_place(backend);
	draw->slot = slot;
	draw->found = 1;
}

/* Uniform below a bound, but for what 2^32 has over: less than 1 in 4,000 of any weight up to a
 * million.
 */
static __always_inline __u32 draw_below(__u32 bound)
{
	return (__u64)bpf_get_prandom_u32() * bound >> 32;
}

static long draw_halve(__u32 step, struct draw *draw)
{
	__u32 middle = draw->low + (draw->high - draw->low) / 2;
	const struct backend *backend;

	if (draw->low >= draw->high)
		return 1;
	backend = backend_at(&draw->service, middle);
	if (!backend)
		return 1;
	if ((backend->upto > draw->at || !draw->found) && !backend_is_idle(backend))
		draw_take(draw, backend, middle);
	if (backend->upto > draw->at)
		draw->high = middle;
	else
		draw->low = middle + 1;
	return 0;
}

/* The slot whose weights a number below all of them falls into. While weights are being written it
 * may be in none: then it is one of those that were looked at.
 */
static __always_inline void draw_weighted(struct draw *draw, const struct service *service,
					  __u32 at)
{
	draw->at = at;
	draw->low = draw_nothing(service);
	draw->high = service->backends;
	bpf_loop(DRAW_STEPS, draw_halve, draw, 0);
}

static __always_inline void draw_slot(struct draw *draw, __u32 slot)
{
	const struct backend *backend = backend_at(&draw->service, slot);

	if (backend && !backend_is_idle(backend))
		draw_take(draw, backend, slot);
}

static long draw_any_slot(__u32 slot, struct draw *draw)
{
	draw_slot(draw, slot);
	return !!draw->found;
}

static __always_inline __u32 draw_number(const struct draw *draw, __u32 bound)
{
	return draw->number ? (__u64)draw->number * bound >> 32 : draw_below(bound);
}

static __always_inline void draw_random(struct draw *draw, const struct service *service)
{
	if (service->flags & SERVICE_EVEN)
		draw_slot(draw, draw_number(draw, service->backends));
	else
		draw_weighted(draw, service, draw_number(draw, service->weight));
}

static __always_inline __u64 draw_turn(const struct port_key *service)
{
	__u64 *turn = bpf_map_lookup_elem(&turns, service), first = 0;

	if (!turn) {
		bpf_map_update_elem(&turns, service, &first, BPF_NOEXIST);
		turn = bpf_map_lookup_elem(&turns, service);
	}
	return turn ? __sync_fetch_and_add(turn, 1) : bpf_get_prandom_u32();
}

static __always_inline void draw_in_turn(struct draw *draw, const struct service *service)
{
	__u64 turn = draw_turn(&draw->service);

	if (service->flags & SERVICE_EVEN)
		draw_slot(draw, turn % service->backends);
	else
		draw_weighted(draw, service, turn % service->weight);
}

/* Least of connections to weight, with the one that is to come. Of those that are equal each is
 * taken with the same chance: the second of two at 1 in 2, the third of three at 1 in 3.
 */
static long draw_least_slot(__u32 slot, struct draw *draw)
{
	const struct backend *backend = backend_at(&draw->service, slot);
	__u64 connections, ours, best;
	struct place place;
	__u32 weight;

	if (!backend)
		return 0;
	weight = draw->even ? 1 : backend->upto - draw->before;
	draw->before = backend->upto;
	if (!weight || backend_is_idle(backend))
		return 0;
	place = backend_place(backend);
	connections = serving_count(&place, draw->service.protocol) + 1;
	ours = connections * draw->weight;
	best = draw->connections * weight;
	if (draw->found && ours > best)
		return 0;
	draw->equal = draw->found && ours == best ? draw->equal + 1 : 1;
	if (draw->equal > 1 && draw_below(draw->equal))
		return 0;
	draw->weight = weight;
	draw->connections = connections;
	draw_take(draw, backend, slot);
	return 0;
}

/* False: there is no backend to be had. The service is one that is not bare. */
static __noinline bool draw_backend(struct draw *draw, const struct service *service)
{
	if (!draw || !service)
		return false;
	draw->found = draw->before = draw->equal = draw->weight = draw_nothing(service);
	draw->connections = draw->found;
	draw->even = service->flags & SERVICE_EVEN;
	if (service->algorithm == SERVICE_LEAST)
		bpf_loop(service->backends, draw_least_slot, draw, 0);
	else if (service->algorithm == SERVICE_ROUND_ROBIN)
		draw_in_turn(draw, service);
	else
		draw_random(draw, service);
	if (!draw->found) /* slots are being written, and that one had moved */
		bpf_loop(service->backends, draw_any_slot, draw, 0);
	return draw->found;
}
