/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Probes: what hosts send each other to learn whether their link is up, and how long it takes.
 *
 * A probe is a UDP datagram between the underlay addresses of two hosts, from and to PROBE_PORT. It
 * begins with a struct probe; zeroes may follow, up to the size that is tried, with DF set. The
 * prober is `routed`, and so is who reads the answers (src/seaway/routed/packet.py).
 *
 * Questions are answered by from_wire (link.h), so that a host answers while its processes are dead:
 *
 *  1. It is a probe if it is whole (no fragment), has no IP options or extension headers, goes to
 *     PROBE_PORT, and has the magic and one of the two kinds.
 *  2. It is refused and counted unless `to` is this host's number and `number` is that of the link
 *     to the host `from`: only the two ends know it, and no two links have the same. The agent fills
 *     in what `routed` knows (src/seaway/desired/network/numbers.py). So is an answer, in which the
 *     two have the places that they had in the question: unless `from` is this host's number and
 *     `number` that of the link to the host `to`. Else it goes on to the host's stack.
 *  3. The answer is the question, sent back by the device that it came from, without its zeroes: MACs,
 *     addresses and ports change places, the TTL is 64 again, the kind is PROBE_ANSWER. All else stays
 *     as it is. So what is tried is the way of the question alone: the other end tries its own. Of the
 *     UDP checksum the word with the kind makes a difference, by PROBE_ANSWER - PROBE_QUESTION in its
 *     high byte, and the length, twice; a checksum of zero (IPv4) stays zero.
 *  4. What is no probe, but goes to PROBE_PORT of an address of this host by UDP, is refused and
 *     counted on a host with others beside it (underlay.h): the port is its prober's, and whoever
 *     fills the room of that socket would have answers thrown away, so links be taken for dead.
 *
 * The stamp is of the prober's own and never twice the same: who sends an answer again, or invents
 * one, is found out there. All fields are in network byte order.
 */
#pragma once

#include <linux/types.h>

#define PROBE_PORT     8481
#define PROBE_MAGIC    0x53575931 /* "SWY1": another layout has another one */
#define PROBE_QUESTION 1
#define PROBE_ANSWER   2

struct probe {
	__be32 magic;
	__u8 kind;
	__u8 pad[3]; /* zero */
	__be32 from; /* number of the host that asks */
	__be32 to;   /* and of the one that is asked; both as in their records */
	__be64 number;
	__be64 stamp;
};
