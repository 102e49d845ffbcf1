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
	struct mac gateway_mac;
	__u16 pad;
};

const volatile struct settings settings SEC(".rodata.settings");
