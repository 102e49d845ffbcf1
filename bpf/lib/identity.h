/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Identities: who stands behind an address that is no local endpoint. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "network.h"

enum identity {
	IDENTITY_UNKNOWN,
	IDENTITY_HOST,
	IDENTITY_REMOTE_HOST,
	IDENTITY_WORLD,
	IDENTITY_INIT,	      /* an endpoint whose labels are not known yet */
	IDENTITY_FIRST = 256, /* of the label sets */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, enum identity);
} identities SEC(".maps");

static __always_inline enum identity identity_of(const struct addr *addr)
{
	struct prefix key = { .length = 128, .addr = *addr };
	enum identity *identity = bpf_map_lookup_elem(&identities, &key);

	return identity ? *identity : IDENTITY_UNKNOWN;
}

/* Whether somebody outside may have this address: it is neither the host's nor ours, and a router
 * may carry it.
 */
static __always_inline bool addr_is_outside(const struct addr *addr)
{
	return !addr_is_group(addr) && !addr_is_internal(addr) && !addr_is_link_local(addr) &&
	       identity_of(addr) != IDENTITY_HOST && !subnet_find(addr) && !endpoint_find(addr);
}
