/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The kernel's monotonic clock: the coarse one, which costs less and is late by a few milliseconds. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Nanoseconds. */
static __always_inline __u64 clock_now(void)
{
	return bpf_ktime_get_coarse_ns();
}

/* About a second each, and good for 146 years. */
static __always_inline __u32 clock_ticks_of(__u64 nanoseconds)
{
	return nanoseconds >> 30;
}

static __always_inline __u32 clock_ticks(void)
{
	return clock_ticks_of(clock_now());
}
