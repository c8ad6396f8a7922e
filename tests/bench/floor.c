/* The least that a call by FastAGI costs: `floor PORT COMMAND...` says the commands, each once the
 * last is answered, and sends no SMS. Like our service it has threads that wait in accept(), and
 * the socket options of doors.listen_tcp() and SocketStream. */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 64 }; /* as many calls at once as it is measured with */

static int listener;
static char **commands; /* each with its newline; the last is NULL */

/* Read up to END; whether it came. */
static int hear(int peer, const char *end, int *reads)
{
    char text[4096];
    size_t length = 0, tail = strlen(end);
    while (length < tail || memcmp(text + length - tail, end, tail) != 0) {
        if (++*reads == 2)
            setsockopt(peer, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
        ssize_t got = recv(peer, text + length, sizeof text - length, 0);
        if (got <= 0) /* 0 also if there is no room left */
            return 0;
        length += got;
    }
    return 1;
}

static void *serve(void *unused)
{
    for (;;) {
        int reads = 0, peer = accept(listener, NULL, NULL);
        int on = hear(peer, "\n\n", &reads);
        for (char **command = commands; on && *command; command++)
            on = send(peer, *command, strlen(*command), MSG_NOSIGNAL) > 0
                && hear(peer, "\n", &reads);
        close(peer);
    }
    return unused;
}

int main(int count, char **arguments)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (count < 3)
        return 2;
    here.sin_port = htons(atoi(arguments[1]));
    commands = arguments + 2;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(listener, IPPROTO_TCP, TCP_QUICKACK, &(int){0}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096))
        return 1;
    for (int each = 1; each < THREADS; each++)
        if (pthread_create(&(pthread_t){0}, NULL, serve, NULL))
            return 1;
    serve(NULL);
}
