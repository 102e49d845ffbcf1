// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* cgroup hooks of the host's sockets: where they connect and send to, and who answers them. None
 * refuses anything (1: go on).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "lib/socket.h"

#define GO_ON 1

#define SOCKET_HOOK(name, work, family)                    \
	SEC("cgroup/" #name #family)                       \
	int name##family(struct bpf_sock_addr *ctx)        \
	{                                                  \
		struct place place = place_v##family(ctx); \
                                                           \
		if (work(ctx, &place))                     \
			place_set_v##family(ctx, &place);  \
		return GO_ON;                              \
	}

SOCKET_HOOK(connect, socket_connect, 4)
SOCKET_HOOK(connect, socket_connect, 6)
SOCKET_HOOK(sendmsg, socket_send, 4)
SOCKET_HOOK(sendmsg, socket_send, 6)
SOCKET_HOOK(recvmsg, socket_peer, 4)
SOCKET_HOOK(recvmsg, socket_peer, 6)
SOCKET_HOOK(getpeername, socket_peer, 4)
SOCKET_HOOK(getpeername, socket_peer, 6)

/* The kernel has no word for "GPL-2.0-only OR Apache-2.0": of the two, this is the one it knows. */
char LICENSE[] SEC("license") = "GPL";
