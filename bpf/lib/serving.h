/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How many connections each backend has from this host by services: sockets that the hooks led there (TCP,
 * and UDP that connects), counted until they connect elsewhere or are released, by whatever end their
 * process came to; and flows that count (counted.h).
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "place.h"
#include "publication.h"

struct serving {
	__u64 sockets;
	__u64 flows;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key); /* of the backend */
	__type(value, struct serving);
} serving SEC(".maps");

static __always_inline struct port_key serving_key(const struct place *backend, __u8 protocol)
{
	struct port_key key = {
		.addr = backend->addr,
		.port = backend->port,
		.protocol = protocol,
	};

	return key;
}

static __always_inline __u64 serving_count(const struct place *backend, __u8 protocol)
{
	struct port_key key = serving_key(backend, protocol);
	const struct serving *found = bpf_map_lookup_elem(&serving, &key);

	return found ? found->sockets + found->flows : 0;
}

static __always_inline __u64 *serving_part(struct serving *found, bool flow)
{
	return flow ? &found->flows : &found->sockets;
}

/* `flow`: else a socket. False: there is no place left, and it is not counted. */
static __always_inline bool serving_up(const struct place *backend, __u8 protocol, bool flow)
{
	struct port_key key = serving_key(backend, protocol);
	struct serving *found = bpf_map_lookup_elem(&serving, &key), none = {};

	if (!found) {
		bpf_map_update_elem(&serving, &key, &none, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&serving, &key);
	}
	if (!found)
		return false;
	__sync_fetch_and_add(serving_part(found, flow), 1);
	return true;
}

static __always_inline void serving_down(const struct place *backend, __u8 protocol, bool flow)
{
	struct port_key key = serving_key(backend, protocol);
	struct serving *found = bpf_map_lookup_elem(&serving, &key);
	__u64 *count = found ? serving_part(found, flow) : NULL;

	if (count && !__sync_fetch_and_add(count, -1))
		__sync_fetch_and_add(count, 1); /* forgotten, and counted anew, since it went up */
}
