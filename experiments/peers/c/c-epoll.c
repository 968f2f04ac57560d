// epoll, as in experiments/epoll.ts, its system calls in their order: one thread asks only for what has happened.
#include "lab.h"
#include <sys/epoll.h>

enum {
    EVENTS = 1024, // events taken from the kernel in one call: enough to make the call's cost vanish
    ACCEPTS = 64,  // connections accepted in a row, so that a flood of new ones cannot starve the old ones
};

// ---- Connection: what stands in the table at its descriptor, and the bytes left over only while there are any ------

struct connection {
    unsigned char *partial; // the start of a head whose end has not come, or NULL
    char *unsent;           // answers the socket did not take yet, or NULL
    int partial_length, unsent_length;
    long leave_at_ms;       // once it was answered for the last time: when it is closed at the latest; else 0
    int previous, next;     // those that leave, in a ring in the order of their time; its start is 0, no connection
};

static struct connection *connections; // by descriptor
static int table_size;
static int partials, unsents, leavings; // how many have such
static unsigned char inbox[INBOX + 1];  // shared by all, as the outbox is: an idle connection owns no buffer
static char outbox[OUTBOX];
static int epoll;

/** Makes the table reach to this descriptor. It never shrinks: 40 bytes for each that was open at the same time. */
static void make_room(int fd) {
    if (fd < table_size) return;
    const int size = fd < 512 ? 1024 : 2 * fd;
    connections = must_have(realloc(connections, size * sizeof *connections));
    memset(connections + table_size, 0, (size - table_size) * sizeof *connections);
    table_size = size;
}

/** Adds, changes or removes one descriptor of the set. `data`, which an event brings back, is the descriptor. */
static int watch(int operation, int fd, unsigned mask) {
    struct epoll_event event = {.events = mask, .data.fd = fd};
    return epoll_ctl(epoll, operation, fd, &event);
}

static void *duplicate(const void *bytes, size_t length) { return memcpy(must_have(malloc(length)), bytes, length); }

static void forget_partial(struct connection *connection) {
    if (connection->partial == NULL) return;
    free(connection->partial);
    connection->partial = NULL;
    partials--;
}

static void forget_unsent(struct connection *connection) {
    if (connection->unsent == NULL) return;
    free(connection->unsent);
    connection->unsent = NULL;
    unsents--;
}

/** With input unread close(2) would send RST, and the peer might lose the answer: linger until it closes its half. */
static void leave(int fd) {
    struct connection *connection = &connections[fd];
    connection->leave_at_ms = now_ms() + LINGER_MS;
    connection->previous = connections[0].previous;
    connections[connection->previous].next = connections[0].previous = fd;
    connection->next = 0;
    leavings++;
}

static void close_connection(int fd) {
    struct connection *connection = &connections[fd];
    forget_partial(connection);
    forget_unsent(connection);
    if (connection->leave_at_ms != 0) {
        connections[connection->previous].next = connection->next;
        connections[connection->next].previous = connection->previous;
        connection->leave_at_ms = 0;
        leavings--;
    }
    close(fd); // it leaves the interest set by itself; a failure of close(2) leaves nothing that could be done
}

static void drop_connection(int fd) {
    count_error(errno);
    close_connection(fd);
}

/** Sends answers. What the socket does not take waits for EPOLLOUT, and until then the connection is not read. */
static void flush_answers(int fd, const char *bytes, int length) {
    struct connection *connection = &connections[fd];
    const bool waited = connection->unsent != NULL;
    int sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return drop_connection(fd);
    if (sent < 0) sent = 0;
    if (sent < length) {
        if (waited) memmove(connection->unsent, bytes + sent, length - sent);
        else connection->unsent = duplicate(bytes + sent, length - sent);
        connection->unsent_length = length - sent;
        if (waited) return;
        unsents++;
        watch(EPOLL_CTL_MOD, fd, EPOLLOUT); // fails only for a descriptor that is not in the set
        return;
    }
    if (waited) {
        forget_unsent(connection);
        watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    }
    if (connection->leave_at_ms != 0) shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv will tell
}

static void answer_input(int fd, int length) {
    const struct answered done = answer(inbox, length, outbox);
    struct connection *connection = &connections[fd];
    forget_partial(connection);
    if (!done.keep_alive) leave(fd);
    else if (done.taken < (size_t)length) {
        connection->partial_length = length - done.taken;
        connection->partial = duplicate(inbox + done.taken, connection->partial_length);
        partials++;
    }
    if (done.out > 0) flush_answers(fd, outbox, done.out);
}

/** Takes what has come, answers every whole request in it, and sends the answers in one call. */
static void on_readable(int fd) {
    struct connection *connection = &connections[fd];
    const int had = connection->partial != NULL ? connection->partial_length : 0;
    if (had > 0) memcpy(inbox, connection->partial, had);
    const int got = recv(fd, inbox + had, INBOX - had, 0);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) drop_connection(fd);
    } else if (got == 0) close_connection(fd); // the peer's half is closed, and all it had asked for is answered
    else if (connection->leave_at_ms == 0) answer_input(fd, had + got); // else: thrown away, the last answer is out
}

// ---- The architecture: one interest set, one loop ------------------------------------------------------------------

/** Accepts what waits. Returns false if no descriptor is left, so that the caller stops asking for a while. */
static bool accept_all(int listener) {
    for (int i = 0; i < ACCEPTS; i++) {
        const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted++;
            make_room(fd);
            if (watch(EPOLL_CTL_ADD, fd, EPOLLIN) < 0) drop_connection(fd); // ENOSPC, ENOMEM: this connection only
        } else if (errno == EMFILE || errno == ENFILE) {
            count_error(errno);
            return false;
        } else if (errno != EINTR && errno != ECONNABORTED) return true; // EAGAIN: nobody waits any more
    }
    return true; // level-triggered: if more wait, epoll_wait says so again
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
static void serve(int listener) {
    static struct epoll_event events[EVENTS];
    bool accepting = true;
    long turn_at_ms = now_ms(), stop_at_ms = 0;
    must(watch(EPOLL_CTL_ADD, listener, EPOLLIN), "watch the listener");
    for (;;) {
        const int ready = epoll_wait(epoll, events, EVENTS, stop_at_ms > 0 ? 1 : TURN_MS);
        if (ready < 0 && errno != EINTR) must(ready, "wait for events");
        for (int i = 0; i < ready; i++) {
            const int fd = events[i].data.fd;
            const struct connection *connection = &connections[fd];
            if (fd == listener) {
                if (!accept_all(listener)) accepting = watch(EPOLL_CTL_DEL, listener, 0) < 0; // else it would spin
            } else if (connection->unsent != NULL) flush_answers(fd, connection->unsent, connection->unsent_length);
            else on_readable(fd); // EPOLLHUP and EPOLLERR too: recv(2) tells what it was
        }
        const long now = now_ms();
        if (stop_at_ms > 0 && (now >= stop_at_ms || (ready == 0 && partials + unsents + leavings == 0))) return;
        if (stop_at_ms == 0 && atomic_load(&stopping)) {
            close(listener);
            stop_at_ms = now + STOP_MS;
        }
        if (now - turn_at_ms < TURN_MS) continue;
        turn_at_ms = now;
        for (int fd; (fd = connections[0].next) != 0 && connections[fd].leave_at_ms <= now;) close_connection(fd);
        if (!accepting && stop_at_ms == 0) accepting = watch(EPOLL_CTL_ADD, listener, EPOLLIN) >= 0;
    }
}

int main(int argc, char **argv) {
    struct options options = read_options("c-epoll", argc, argv);
    const int listener = listen_on(&options, SOCK_NONBLOCK);
    epoll = must(epoll_create1(EPOLL_CLOEXEC), "create an epoll instance");
    make_room(epoll);
    hear_signals(stop_soon);
    say_ready("c-epoll", &options);
    serve(listener);
    say_stopped();
}
