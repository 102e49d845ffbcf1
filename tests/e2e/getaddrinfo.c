/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Prints the addresses of a name, as the C library that this was linked with finds them. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	char address[64];

	if (argc != 2 || getaddrinfo(argv[1], NULL, &hints, &found))
		return 2;
	for (; found; found = found->ai_next)
		if (!getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof(address), NULL,
				 0, NI_NUMERICHOST))
			puts(address);
	return 0;
}
