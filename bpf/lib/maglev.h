/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Maglev's tables: the slot of the backend that a flow's hash leads to. A table lies in parts. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "publication.h"

#define MAGLEV_SIZE 4093
#define MAGLEV_PART 128

struct maglev_key {
	struct port_key service;
	__u32 part;
};

struct maglev_part {
	__u16 slots[MAGLEV_PART];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct maglev_key);
	__type(value, struct maglev_part);
} maglev SEC(".maps");
