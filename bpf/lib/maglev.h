/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Maglev's tables: the slot of the backend that a hash leads to. A table lies in parts; where one is
 * missing, or names a slot that is not there, who asks it draws.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "publication.h"

#define MAGLEV_SIZE  4093 /* entries of a table */
#define MAGLEV_PART  128  /* of them in one element of the map */
#define MAGLEV_PARTS 32
#define MAGLEV_MOST  131072 /* elements */
#define MAGLEV_NONE  0xffff

struct maglev_key {
	struct port_key service;
	__u32 part;
};

struct maglev_part {
	__u16 slots[MAGLEV_PART];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAGLEV_MOST);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct maglev_key);
	__type(value, struct maglev_part);
} maglev SEC(".maps");

static __always_inline __u32 maglev_slot(const struct port_key *service, __u32 hash)
{
	__u32 entry = hash % MAGLEV_SIZE;
	struct maglev_key key = { .service = *service, .part = entry / MAGLEV_PART };
	const struct maglev_part *part = bpf_map_lookup_elem(&maglev, &key);

	return part ? part->slots[entry % MAGLEV_PART] : MAGLEV_NONE;
}
