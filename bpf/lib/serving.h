/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How many connections each backend has from this host: sockets that connected to it by a service
 * and are open. Counted when a socket connects (TCP, and UDP that connects), and down when it
 * connects elsewhere or is released, by whatever end its process came to.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "place.h"
#include "publication.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key); /* of the backend */
	__type(value, __u64);
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
	const __u64 *count = bpf_map_lookup_elem(&serving, &key);

	return count ? *count : 0;
}

/* False: there is no place left, and it is not counted. */
static __always_inline bool serving_up(const struct place *backend, __u8 protocol)
{
	struct port_key key = serving_key(backend, protocol);
	__u64 *count = bpf_map_lookup_elem(&serving, &key), none = 0;

	if (!count) {
		bpf_map_update_elem(&serving, &key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&serving, &key);
	}
	if (!count)
		return false;
	__sync_fetch_and_add(count, 1);
	return true;
}

static __always_inline void serving_down(const struct place *backend, __u8 protocol)
{
	struct port_key key = serving_key(backend, protocol);
	__u64 *count = bpf_map_lookup_elem(&serving, &key);

	if (count && !__sync_fetch_and_add(count, -1))
		__sync_fetch_and_add(count, 1); /* forgotten, and counted anew, since it went up */
}
