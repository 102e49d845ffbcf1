/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Backends that left their service a moment ago: until when connections that they have may go on. The
 * agent writes it before they leave, and takes away what is over.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "clock.h"
#include "place.h"
#include "publication.h"

struct leaving_key {
	struct port_key service;
	struct place backend;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct leaving_key);
	__type(value, __u64); /* nanoseconds of the kernel's clock */
} leaving SEC(".maps");

static __always_inline bool leaving_at(const struct port_key *service, const struct place *backend,
				       __u64 time)
{
	struct leaving_key key = { .service = *service, .backend = *backend };
	const __u64 *until = bpf_map_lookup_elem(&leaving, &key);

	return until && time < *until;
}

static __always_inline bool leaving_is(const struct port_key *service, const struct place *backend)
{
	return leaving_at(service, backend, clock_now());
}
