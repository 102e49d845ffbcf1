/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What holds for the whole host; filled when the programs are loaded. Other settings mean other
 * programs, which take the place of the old ones inside their links.
 */
#pragma once

#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "mac.h"

struct settings {
	struct addr host_v4; /* source of our ICMP errors; zero: the gateway's */
	struct addr host_v6;
	struct addr gateway_v4; /* what every container takes for its router */
	struct addr gateway_v6;
	__u64 netns_cookie; /* of the host: whose sockets reach published ports by its loopback */
	struct mac gateway_mac;
	struct mac overlay_mac; /* of every host's device of the overlay */
	__u16 pad[2];
	struct addr resolver_v4; /* where containers may ask for names; zero: nowhere */
	struct addr resolver_v6;
};

const volatile struct settings settings SEC(".rodata.settings");

/* Word by word, and volatile: a compiler that copies the whole takes it for the zeroes that stand
 * in the object file.
 */
static __always_inline struct mac settings_mac(const volatile struct mac *mac)
{
	struct mac copy = { .words = { mac->words[0], mac->words[1], mac->words[2] } };

	return copy;
}

static __always_inline struct addr settings_addr(const volatile struct addr *addr)
{
	struct addr copy = {
		.words = { addr->words[0], addr->words[1], addr->words[2], addr->words[3] },
	};

	return copy;
}
