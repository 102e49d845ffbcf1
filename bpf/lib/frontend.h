/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Frontends on hosts: ports that are published on every host, and lead to a service's backends
 * wherever these are.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "identity.h"
#include "publication.h"
#include "service.h"

/* Of whatever address: the caller knows whether it is the host's. */
static __always_inline const struct service *frontend_at(const struct addr *addr, __be16 port,
							 __u8 protocol)
{
	struct port_key key = frontend_key(addr, port, protocol);

	return bpf_map_lookup_elem(&services, &key);
}

/* As publications are found: publication.h. */
static __noinline const struct service *frontend_find(const struct addr *addr, __be16 port,
						      __u8 protocol)
{
	const struct service *found = addr ? frontend_at(addr, port, protocol) : NULL;

	if (!found || addr_is_link_local(addr) || addr_is_internal(addr))
		return NULL;
	return identity_of(addr) == IDENTITY_HOST ? found : NULL;
}
