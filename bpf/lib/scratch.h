/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is too much for a program's stack of 512 bytes. One for each CPU, which runs one program of
 * ours at a time; valid from where it is filled to the end of the program.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "flow.h"
#include "underlay.h"

#define QUOTED 128 /* bytes of the packet: enough for its addresses, ports and sequence number */

struct scratch {
	__u32 quoted[QUOTED / 4]; /* icmp.h: the packet that an error of ours quotes */
	struct quote quote;	  /* related.h: the one that another's error quotes */
	struct flow_key key;	  /* of the packet */
	struct flow flow;	  /* how it goes on */
	struct flow led;	  /* fallback.h: the same */
	struct flow_key back;	  /* tracking.h: the other direction */
	struct flow reverse;
	struct bpf_fib_lookup fib; /* deliver.h, way.h */
	struct way way;		   /* way.h */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}
