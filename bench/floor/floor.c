/*
 * floor is the least that a server on UDP can do: it receives datagrams and
 * sends them back, 64 to a system call (recvmmsg, sendmmsg), on one thread. What
 * a registry answers in a second is held against what this sends back.
 *
 * usage: floor PORT (0 lets the system choose); prints the port.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, SIZE = 2048 };

static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static struct sockaddr_in peers[BATCH];
static char buffers[BATCH][SIZE];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t length = sizeof addr;
	int buffer = 4 << 20;
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 2) {
		fprintf(stderr, "usage: floor PORT\n");
		return 2;
	}
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	addr.sin_port = htons(atoi(argv[1]));
	if (s < 0 || bind(s, (struct sockaddr *)&addr, sizeof addr) < 0)
		die("floor: bind");
	setsockopt(s, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
	setsockopt(s, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	if (getsockname(s, (struct sockaddr *)&addr, &length) < 0)
		die("floor: getsockname");
	printf("floor: listening on 127.0.0.1:%d\n", ntohs(addr.sin_port));
	fflush(stdout);

	for (;;) {
		int n, sent;
		for (int i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){buffers[i], SIZE};
			messages[i].msg_hdr = (struct msghdr){
				.msg_name = &peers[i],
				.msg_namelen = sizeof peers[i],
				.msg_iov = &vectors[i],
				.msg_iovlen = 1,
			};
		}
		n = recvmmsg(s, messages, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0 && errno != EINTR)
			die("floor: recvmmsg");
		for (int i = 0; i < n; i++)
			vectors[i].iov_len = messages[i].msg_len;
		for (sent = 0; sent < n;) {
			int k = sendmmsg(s, messages + sent, n - sent, 0);
			sent += k > 0 ? k : 1;
		}
	}
}
