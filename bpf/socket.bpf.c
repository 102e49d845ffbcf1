// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* cgroup hooks of sockets: where they connect and send to, who answers them, and their end. None
 * refuses anything but what asks a service that has nobody, and what is over a limit.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>
#include "lib/drop.h"
#include "lib/maglev.h"
#include "lib/place.h"
#include "lib/socket.h"

#define REFUSE 0
#define GO_ON  1

/* What is over a limit is counted there (limit.h). */
static __always_inline int asking_error(enum asking asking)
{
	if (asking == ASKING_LIMITED)
		return -EBUSY;
	drop_count_of(DROP_OF_SOCKETS, DROP_REFUSED);
	return -ECONNREFUSED;
}

#define ASKING_HOOK(name, work, family)                    \
	SEC("cgroup/" #name #family)                       \
	int name##family(struct bpf_sock_addr *ctx)        \
	{                                                  \
		struct place place = place_v##family(ctx); \
		enum asking asking = work(ctx, &place);    \
                                                           \
		if (asking == ASKING_BACKEND)              \
			place_set_v##family(ctx, &place);  \
		if (asking < ASKING_REFUSED)               \
			return GO_ON;                      \
		bpf_set_retval(asking_error(asking));      \
		return REFUSE;                             \
	}

#define ANSWER_HOOK(name, family)                          \
	SEC("cgroup/" #name #family)                       \
	int name##family(struct bpf_sock_addr *ctx)        \
	{                                                  \
		struct place place = place_v##family(ctx); \
                                                           \
		if (socket_peer(ctx, &place))              \
			place_set_v##family(ctx, &place);  \
		return GO_ON;                              \
	}

ASKING_HOOK(connect, socket_connect, 4)
ASKING_HOOK(connect, socket_connect, 6)
ASKING_HOOK(sendmsg, socket_send, 4)
ASKING_HOOK(sendmsg, socket_send, 6)
ANSWER_HOOK(recvmsg, 4)
ANSWER_HOOK(recvmsg, 6)
ANSWER_HOOK(getpeername, 4)
ANSWER_HOOK(getpeername, 6)

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *sk)
{
	socket_release(sk);
	return GO_ON;
}

/* The kernel has no word for "GPL-2.0-only OR Apache-2.0": of the two, this is the one it knows. */
char LICENSE[] SEC("license") = "GPL";
