/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A place in a frame that moves on header by header and never past the frame's end. Only here is
 * skb->data read.
 */
#pragma once

#include <stddef.h>
#include <linux/bpf.h>

struct cursor {
	void *pos;
	void *end;
};

static __always_inline struct cursor cursor_at_start(struct __sk_buff *skb)
{
	struct cursor cursor = { (void *)(long)skb->data, (void *)(long)skb->data_end };

	return cursor;
}

/* The header at the cursor, which moves behind it; NULL where the frame ends before. */
static __always_inline void *cursor_take(struct cursor *cursor, __u32 size)
{
	void *header = cursor->pos;

	if (header + size > cursor->end)
		return NULL;
	cursor->pos = header + size;
	return header;
}
