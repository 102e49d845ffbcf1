/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sockets that ask a service, and those of the host that ask a published port: they speak with the
 * backend itself, and take it for the address that they asked. Translated once a connection; no
 * packet pays for it.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "allowance.h"
#include "asker.h"
#include "asking.h"
#include "client.h"
#include "draw.h"
#include "frontend.h"
#include "place.h"
#include "publication.h"
#include "resolver.h"
#include "service.h"
#include "serving.h"

/* Of a place that is the host's own: one of its addresses, its loopback, or the unspecified address,
 * which means the loopback.
 */
static __always_inline enum asking socket_publication(const struct bpf_sock_addr *ctx,
						      const struct place *place,
						      struct place *backend)
{
	const struct publication *found;

	if (addr_is_internal(&place->addr))
		found = publication_at(&place->addr, place->port, ctx->protocol);
	else
		found = publication_find(&place->addr, place->port, ctx->protocol);
	if (!found)
		return ASKING_NOBODY;
	backend->addr = found->backend;
	backend->port = found->port;
	return ASKING_BACKEND;
}

/* The same of a service: at a port of every host. */
static __always_inline const struct service *socket_frontend(const struct place *place,
							     struct draw *draw)
{
	__u8 protocol = draw->service.protocol;

	draw->service = frontend_key(&place->addr, place->port, protocol);
	if (addr_is_internal(&place->addr))
		return frontend_at(&place->addr, place->port, protocol);
	return frontend_find(&place->addr, place->port, protocol);
}

/* Of the host's addresses the resolver's has no published ports: there port 53 is its own. That ::
 * is the host's loopback.
 */
static __always_inline bool socket_asks_resolver(const struct place *place)
{
	return !addr_is_unspecified(&place->addr) && resolver_at(&place->addr, place->port);
}

/* Whom a place stands for. `sock`: the cookie of one that is not connected; `asked`: the service, if
 * it is one's.
 */
static __always_inline enum asking socket_ask(struct bpf_sock_addr *ctx, const struct place *place,
					      __u64 sock, struct place *backend,
					      const struct service **asked)
{
	const struct service *service = NULL;
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct draw draw = {
		.service = { .addr = place->addr, .port = place->port, .protocol = ctx->protocol },
	};
	enum asking asking;

	if (!addr_is_unspecified(&place->addr)) /* that is who asks himself */
		service = service_find(&place->addr, place->port, ctx->protocol);
	if (!service && client_is_host(netns) && !socket_asks_resolver(place)) {
		asking = socket_publication(ctx, place, backend);
		if (asking != ASKING_NOBODY)
			return asking;
		service = socket_frontend(place, &draw);
	}
	if (!service || !client_known(netns))
		return ASKING_NOBODY;
	asking = asking_service(&draw, service, netns, sock);
	*backend = draw.backend;
	*asked = service;
	return asking;
}

/* It connects anew, or is released. */
static __always_inline void socket_leave(struct asked *asked, __u8 protocol)
{
	allowance_give(asked);
	if (!asked->counted)
		return;
	asked->counted = 0;
	serving_down(&asked->backend, protocol, false);
}

/* A socket may connect several times: each time it leaves whom it asked before. */
static __always_inline enum asking socket_connect(struct bpf_sock_addr *ctx, struct place *place)
{
	struct asked asked = { .place = *place, .netns = bpf_get_netns_cookie(ctx) }, *before;
	const struct service *service = NULL;
	enum asking asking;
	__u64 limit;

	if (!ctx->sk)
		return ASKING_NOBODY;
	before = bpf_sk_storage_get(&sockets, ctx->sk, NULL, 0);
	if (before)
		socket_leave(before, ctx->protocol);
	asking = socket_ask(ctx, place, 0, &asked.backend, &service);
	limit = asking == ASKING_BACKEND && service ? service->limit : 0;
	if (asking != ASKING_REFUSED && !allowance_take(&asked, limit))
		asking = ASKING_LIMITED;
	if (asking != ASKING_BACKEND && !asked.own_limit) {
		if (before)
			bpf_sk_storage_delete(&sockets, ctx->sk);
		return asking;
	}
	if (!before)
		before = bpf_sk_storage_get(&sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!before) {
		bool ours = service || asked.own_limit;

		allowance_give(&asked);
		return ours ? ASKING_REFUSED : ASKING_NOBODY;
	}
	if (asking == ASKING_BACKEND) {
		asked.counted = service && serving_up(&asked.backend, ctx->protocol, false);
		*place = asked.backend;
	}
	*before = asked;
	return asking;
}

static __always_inline enum asking socket_send(struct bpf_sock_addr *ctx, struct place *place)
{
	struct datagram_key key = { .cookie = bpf_get_socket_cookie(ctx) };
	const struct service *service = NULL;
	enum asking asking = socket_ask(ctx, place, key.cookie, &key.backend, &service);

	if (asking != ASKING_BACKEND)
		return asking;
	if (!datagram_note(&key, place))
		return service ? ASKING_REFUSED : ASKING_NOBODY;
	*place = key.backend;
	return ASKING_BACKEND;
}

/* Closed for good, in whatever way: the last descriptor is gone. */
static __always_inline void socket_release(struct bpf_sock *sk)
{
	struct asked *asked = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (asked)
		socket_leave(asked, sk->protocol);
}

/* Who answers: what its owner named, where that stood for this backend. */
static __always_inline bool socket_peer(struct bpf_sock_addr *ctx, struct place *place)
{
	struct datagram_key key = { .cookie = bpf_get_socket_cookie(ctx), .backend = *place };
	const struct place *named;
	const struct asked *asked;

	if (!ctx->sk)
		return false;
	asked = bpf_sk_storage_get(&sockets, ctx->sk, NULL, 0);
	if (asked && place_equal(&asked->backend, place)) {
		*place = asked->place;
		return true;
	}
	if (ctx->protocol != IPPROTO_UDP)
		return false;
	named = bpf_map_lookup_elem(&datagrams, &key);
	if (!named)
		return false;
	*place = *named;
	return true;
}
