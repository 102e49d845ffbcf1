/* SPDX-License-Identifier: Apache-2.0 */
/* The CNI front: hands one call of a container runtime to the agent, and its answer back.
 *
 * A bare Python start takes longer than a whole ADD should, hence C. It knows the socket, the
 * environment, and what to do while nobody answers; all meaning is in the agent. DEL and GC
 * that find no agent are written to a spool, which the agent drains before it serves an ADD.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Places and patience are fixed when compiled: whoever calls us must not choose them. */
#ifndef SEAWAY_SOCKET
#define SEAWAY_SOCKET "/run/seaway/agent.sock"
#endif
#ifndef SEAWAY_STATE
#define SEAWAY_STATE "/var/lib/seaway"
#endif
#ifndef SEAWAY_WAIT_MS
#define SEAWAY_WAIT_MS 10000 /* an ADD waits so long for an agent */
#endif
#ifndef SEAWAY_REPLY_MS
#define SEAWAY_REPLY_MS 60000 /* and every verb so long for its answer */
#endif

#define SPOOL	  SEAWAY_STATE "/spool"
#define SUPPORTED "[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]"
#define MAX_TEXT  (4UL << 20) /* of a configuration, of an answer */
#define MAX_ENV	  (1UL << 20)
#define MSEC	  1000000LL

enum { INVALID_ENV = 4, IO_FAILURE = 5, UNDECODABLE = 6, TRY_LATER = 11, NOT_AVAILABLE = 50 };
enum { NO_AGENT = -1, BROKEN = 0, OK = 200, NOT_READY = 503 }; /* or another HTTP status */

struct text {
	char *data; /* ends in a NUL that is not counted */
	size_t len;
};

static char version[16] = "1.1.0"; /* of the configuration, once it is known */
static char trouble[256];	   /* why nobody answered */
static char ending[48] = "}";	   /* of a request; says if an earlier try got no answer */

static FILE *text_open(struct text *text)
{
	FILE *out = open_memstream(&text->data, &text->len);

	if (!out)
		abort();
	return out;
}

/* As RFC 3629 has it: the shortest form, no surrogates. */
static bool is_utf8(const char *data, size_t len)
{
	static const unsigned int least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)data, *end = p + len;
	unsigned int c, n, i;

	while (p < end) {
		c = *p++;
		if (c < 0x80)
			continue;
		n = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		if (c < 0xc2 || c > 0xf4 || end - p < n)
			return false;
		for (c &= 0x3f >> n, i = 0; i < n; i++, p++) {
			if (*p >> 6 != 2)
				return false;
			c = c << 6 | (*p & 0x3f);
		}
		if (c < least[n] || c > 0x10ffff || c >> 11 == 0x1b)
			return false;
	}
	return true;
}

/* A JSON string of bytes that are UTF-8. */
static void put_string(FILE *out, const char *data, size_t len)
{
	unsigned char c;

	fputc('"', out);
	for (; len; len--) {
		c = *data++;
		if (c < 0x20 || c == '"' || c == '\\')
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

/* The value of a key that stands `depth` objects deep (1: the outermost), NULL if there is none. */
static const char *json_member(const char *p, int depth, const char *key)
{
	size_t len = strlen(key);
	const char *start;

	for (; *p; p++) {
		depth -= *p == '{' || *p == '[';
		depth += *p == '}' || *p == ']';
		if (*p != '"')
			continue;
		for (start = ++p; *p && *p != '"'; p++)
			p += *p == '\\' && p[1];
		if (!*p)
			return NULL;
		if (depth || (size_t)(p - start) != len || memcmp(start, key, len))
			continue;
		start = p + 1 + strspn(p + 1, " \t\r\n");
		if (*start == ':')
			return start + 1 + strspn(start + 1, " \t\r\n");
	}
	return NULL;
}

/* Print what a JSON string says, if it is one. It says JSON: \uXXXX may stay as it is. */
static bool print_string(FILE *out, const char *p)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *escape;

	if (!p || *p++ != '"')
		return false;
	for (; *p && *p != '"'; p++) {
		escape = *p == '\\' && p[1] ? strchr(from, p[1]) : NULL;
		fputc(escape ? to[escape - from] : *p, out);
		p += escape != NULL;
	}
	return *p == '"';
}

/* libcni reads errors from standard output. */
__attribute__((noreturn)) static void fail(int code, const char *msg, const char *details)
{
	printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":", version, code);
	put_string(stdout, msg, strlen(msg));
	printf(",\"details\":");
	put_string(stdout, details, is_utf8(details, strlen(details)) ? strlen(details) : 0);
	printf("}\n");
	exit(1);
}

static int64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000 * MSEC + ts.tv_nsec;
}

/* Wait until fd can be read or written; false: not before the deadline. */
static bool wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	int64_t left;
	int n;

	do {
		left = deadline - now(CLOCK_MONOTONIC);
		n = left > 0 ? poll(&poll_fd, 1, left / MSEC + 1) : 0;
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

/* All that comes until the other side ends. NULL, or why not all of it came. */
static const char *read_all(int fd, struct text *text, int64_t deadline)
{
	FILE *out = text_open(text);
	const char *error = NULL;
	char chunk[16384];
	ssize_t n = 1;

	while (n && !error) {
		if (!wait_for(fd, POLLIN, deadline))
			error = "it did not come in time";
		else if ((n = read(fd, chunk, sizeof(chunk))) > 0)
			fwrite(chunk, 1, n, out);
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			error = strerror(errno);
		if (ftell(out) > (long)MAX_TEXT)
			error = "it is larger than 4 MiB";
	}
	fclose(out);
	return error;
}

static void read_configuration(struct text *text, bool needed)
{
	const char *value, *error = "it is a terminal";
	size_t len;

	if (!isatty(STDIN_FILENO))
		error = read_all(STDIN_FILENO, text, now(CLOCK_MONOTONIC) + SEAWAY_WAIT_MS * MSEC);
	value = json_member(text->data, 1, "cniVersion");
	len = value && *value == '"' ? strspn(value + 1, "0123456789.") : 0;
	if (len && len < sizeof(version) && value[1 + len] == '"')
		snprintf(version, len + 1, "%s", value + 1);
	if (error && needed)
		fail(UNDECODABLE, "cannot read the configuration on standard input", error);
	if (!is_utf8(text->data, text->len))
		fail(UNDECODABLE, "the configuration on standard input is not valid UTF-8", "");
}

/* {"env":{...},"stdin":"...", without its end: the spool adds to it.
 * The whole environment, as an IPAM plugin that the agent executes must have it. What is not
 * UTF-8 cannot be told in JSON: an error in a variable of CNI's, left out elsewhere.
 */
static void make_request(struct text *request, const struct text *config)
{
	FILE *out = text_open(request);
	const char *equals, *comma = "";
	char **env;

	fprintf(out, "{\"env\":{");
	for (env = environ; *env; env++) {
		equals = strchr(*env, '=');
		if (!equals || equals == *env)
			continue;
		if (!is_utf8(*env, strlen(*env))) {
			if (!strncmp(*env, "CNI_", 4))
				fail(INVALID_ENV, "a CNI_ variable is not valid UTF-8", "");
			continue;
		}
		fprintf(out, "%s", comma);
		put_string(out, *env, equals - *env);
		fputc(':', out);
		put_string(out, equals + 1, strlen(equals + 1));
		comma = ",";
		if (ftell(out) > (long)MAX_ENV)
			fail(INVALID_ENV, "the environment is larger than 1 MiB", "");
	}
	fprintf(out, "},\"stdin\":");
	put_string(out, config->data, config->len);
	fclose(out);
}

static int agent_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SEAWAY_SOCKET };
	struct timeval patience = { SEAWAY_WAIT_MS / 1000, SEAWAY_WAIT_MS % 1000 * 1000 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* While the queue of a busy agent is full, connect() waits. */
	if (!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) &&
	    !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	snprintf(trouble, sizeof(trouble), SEAWAY_SOCKET ": %s", strerror(errno));
	if (errno == EACCES || errno == EPERM)
		fail(IO_FAILURE, "not allowed to speak to the agent; run as root", trouble);
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool send_all(int fd, const struct text *text, int64_t deadline)
{
	size_t done = 0;
	ssize_t n = 0;

	for (; done < text->len && wait_for(fd, POLLOUT, deadline); done += n > 0 ? n : 0) {
		n = send(fd, text->data + done, text->len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			break; /* it may have answered all the same: not ready, not allowed */
	}
	return done == text->len;
}

/* One HTTP exchange. The body of the answer is left in `reply`. */
static int ask_agent(const struct text *request, struct text *reply)
{
	int64_t deadline = now(CLOCK_MONOTONIC) + SEAWAY_REPLY_MS * MSEC;
	int64_t start = now(CLOCK_REALTIME);
	int fd = agent_connect(), status = 0;
	const char *error, *body, *length;
	struct text http;
	bool sent;

	if (fd < 0)
		return NO_AGENT;
	if (asprintf(&http.data,
		     "POST /v1/cni HTTP/1.1\r\nHost: seaway\r\nConnection: close\r\n"
		     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s%s",
		     request->len + strlen(ending), request->data, ending) < 0)
		abort();
	http.len = strlen(http.data);
	sent = send_all(fd, &http, deadline);
	free(http.data);
	error = read_all(fd, reply, deadline);
	close(fd);
	body = strstr(reply->data, "\r\n\r\n");
	length = strcasestr(reply->data, "\r\nContent-Length:");
	if (!error && (!body || !length || length > body ||
		       sscanf(reply->data, "HTTP/1.%*1[01] %3d", &status) != 1 ||
		       strtoul(length + 17, NULL, 10) != strlen(body + 4)))
		error = "it is cut off, or is no answer of an agent";
	if (error) {
		snprintf(trouble, sizeof(trouble), SEAWAY_SOCKET ": the answer: %s", error);
		if (sent && !ending[1])
			snprintf(ending, sizeof(ending), ",\"tried\":%lld}", (long long)start);
		return reply->len ? BROKEN : NO_AGENT; /* it died, perhaps with us in its queue */
	}
	reply->data = (char *)body + 4;
	return status;
}

/* Only an ADD waits until an agent answers that is ready. */
static int ask_patiently(const struct text *request, struct text *reply, bool patient)
{
	int64_t deadline = now(CLOCK_MONOTONIC) + SEAWAY_WAIT_MS * MSEC;
	struct timespec pause = { .tv_nsec = 20 * MSEC };
	int status;

	while (((status = ask_agent(request, reply)) == NO_AGENT || status == NOT_READY) &&
	       patient && now(CLOCK_MONOTONIC) < deadline)
		nanosleep(&pause, NULL);
	if (status == NOT_READY)
		snprintf(trouble, sizeof(trouble), "%s", reply->data);
	return status;
}

/* Leave the request to the next agent, with what tells it from an ADD that came later. */
static bool spool(const struct text *request)
{
	int64_t time = now(CLOCK_REALTIME);
	char new[32], name[48];
	struct stat st = {};
	FILE *out;
	int dir;

	stat(getenv("CNI_NETNS") ?: "", &st);
	umask(0077);
	mkdir(SEAWAY_STATE, 0755);
	mkdir(SPOOL, 0700);
	dir = open(SPOOL, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fchmod(dir, 0700) || fchdir(dir))
		return false;
	snprintf(new, sizeof(new), ".new-%d", getpid());
	snprintf(name, sizeof(name), "%020lld-%010d", (long long)time, getpid());
	out = fopen(new, "we");
	if (!out)
		return false;
	fprintf(out, "%s,\"time\":%lld,\"netns_inode\":%llu}\n", request->data, (long long)time,
		(unsigned long long)st.st_ino);
	if (!fflush(out) && !ferror(out) && !fsync(fileno(out)) && !rename(new, name) &&
	    !fsync(dir))
		return true;
	snprintf(trouble, sizeof(trouble), SPOOL ": %s", strerror(errno));
	unlink(new);
	return false;
}

static int print_answer(const char *body)
{
	const char *status = json_member(body, 1, "exit");

	if (!status || !print_string(stdout, json_member(body, 1, "stdout")))
		fail(IO_FAILURE, "the agent's answer is not understood", body);
	print_string(stderr, json_member(body, 1, "stderr"));
	return atoi(status);
}

int main(void)
{
	const char *command = getenv("CNI_COMMAND") ?: "";
	bool later = !strcmp(command, "DEL") || !strcmp(command, "GC");
	struct text config = { "", 0 }, request, reply;
	int status;

	read_configuration(&config, strcmp(command, "VERSION"));
	if (!strcmp(command, "VERSION"))
		return printf("{\"cniVersion\":\"%s\",\"supportedVersions\":" SUPPORTED "}\n",
			      version) < 0;
	make_request(&request, &config);
	status = ask_patiently(&request, &reply, !strcmp(command, "ADD"));
	if (status == OK)
		return print_answer(reply.data);
	if (status != BROKEN && status != NO_AGENT && status != NOT_READY)
		fail(atoi(json_member(reply.data, 2, "cni_code") ?: "999"),
		     "the agent refused the request", reply.data);
	if (!later)
		fail(strcmp(command, "STATUS") ? TRY_LATER : NOT_AVAILABLE,
		     "no agent answers: `seaway init`, or `systemctl start seaway`", trouble);
	if (!spool(&request))
		fail(IO_FAILURE, "the agent does not answer, and the call cannot be kept for it",
		     trouble);
	return 0;
}
