/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whom who asks a service is led to: the same for a socket that its hooks see (socket.h), and for packets
 * of others (fallback.h).
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "choice.h"
#include "draw.h"
#include "service.h"

/* What becomes of a socket that connects, of a datagram, or of a packet. */
enum asking {
	ASKING_NOBODY, /* of ours: it goes where its owner said */
	ASKING_BACKEND,
	ASKING_REFUSED, /* at once: ECONNREFUSED */
	ASKING_LIMITED, /* at once: EBUSY */
};

/* What has no backend is refused; but for a silent one, which is asked in vain: the VIP stays, and
 * `from_endpoint` drops what goes there. `client`: who keeps a backend where the service has affinity;
 * `sock`: the cookie of a socket that is not connected, or 0.
 */
static __noinline int asking_service(struct draw *draw, const struct service *service, __u64 client,
				     __u64 sock)
{
	if (!draw || !service)
		return ASKING_NOBODY;
	if (service_is_bare(service))
		return service->flags & SERVICE_SILENT ? ASKING_NOBODY : ASKING_REFUSED;
	if (choice_find(draw, service, client, sock))
		return ASKING_BACKEND;
	if (!draw_backend(draw, service)) { /* it is changed meanwhile */
		service = bpf_map_lookup_elem(&services, &draw->service);
		if (!service || service_is_bare(service) || !draw_backend(draw, service))
			return ASKING_REFUSED;
	}
	choice_keep(draw, service, client, sock);
	return ASKING_BACKEND;
}
