// epoll, as in experiments/epoll.ts, its system calls in their order: one thread asks only for what has happened.
#ifndef EXPERIMENT
#define EXPERIMENT "c-epoll"
#endif
#include "lab.h"
#include <sys/epoll.h>

enum {
    DESCRIPTORS = 1 << 20, // size of the table; fs.nr_open allows as many. Only the pages in use are memory
    EVENTS = 1024,         // events taken from the kernel in one call: enough to make the cost of the call vanish
    ACCEPTS = 64,          // connections accepted in a row, so that a flood of new ones cannot starve the old ones
};

// ---- Connection: an entry of the table, and bytes of its own only while there are any ------------------------------

//            all answers taken by the socket
//          ┌────────────────────────────────────────┐
//          ▼                                        │
//   OPEN: reading ──► answering ──► the socket is full: `unsent` waits for EPOLLOUT, nothing is read
//          │              └──► the last answer: CLOSING ──► all taken: shutdown, LINGERING ──► end of input, or late
//          └──► end of input, error: closed
enum phase { CLOSED, OPEN, CLOSING, LINGERING };

/** A queue in the order of time: a ring that starts and ends at itself. */
struct link {
    struct link *previous, *next;
};

struct connection {
    struct link link;    // in one queue at most
    struct kept carried; // the start of a head, or whole requests that wait for their turn
    struct kept unsent;  // answers that the socket did not take yet
    long due_ms;         // when the head must be complete, or the lingering ends
    int searched;        // bytes of `carried` that hold no end of a head; 0 if that is not known
    enum phase phase;
};

static struct connection *connections; // by descriptor
static struct link heads = {&heads, &heads};                // a head is incomplete
static struct link unfinished = {&unfinished, &unfinished}; // whole requests wait for the next turn
static struct link lingers = {&lingers, &lingers};
static int unsents; // connections with unsent answers
static char inbox[INBOX + PADDING], outbox[OUTBOX]; // shared by all: an idle connection owns no buffer
static int epoll;

static int descriptor_of(const struct connection *connection) { return connection - connections; }
static bool is_empty(const struct link *queue) { return queue->next == queue; }

static void leave_queue(struct connection *connection) {
    struct link *link = &connection->link;
    if (link->next == NULL) return;
    link->previous->next = link->next;
    link->next->previous = link->previous;
    *link = (struct link){0};
}

static void enter_queue(struct link *queue, struct connection *connection, long due_ms) {
    struct link *link = &connection->link;
    *link = (struct link){queue->previous, queue};
    queue->previous->next = link;
    queue->previous = link;
    connection->due_ms = due_ms;
}

/** The first of a queue; NULL if there is none. The link is the first member. */
static struct connection *first_of(struct link *queue) {
    return is_empty(queue) ? NULL : (struct connection *)queue->next;
}

/** Adds, changes or removes one descriptor of the set. `data`, which an event brings back, is the descriptor. */
static int watch(int operation, int fd, unsigned mask) {
    struct epoll_event event = {.events = mask, .data.fd = fd};
    return epoll_ctl(epoll, operation, fd, &event);
}

static void close_connection(struct connection *connection) {
    leave_queue(connection);
    release(&connection->carried);
    if (connection->unsent.length > 0) unsents--;
    release(&connection->unsent);
    connection->phase = CLOSED;
    ADD(open_connections, -1);
    close(descriptor_of(connection)); // it leaves the interest set by itself; a failure leaves nothing to be done
}

static void drop_connection(struct connection *connection, int error) {
    count_error(error);
    close_connection(connection);
}

/** All answers are taken by the socket: what does the connection wait for now? */
static void wait_for_more(struct connection *connection) {
    if (connection->phase == CLOSING) {
        // With input unread close(2) would send RST, and the peer might lose the answer: linger until it closes its half.
        connection->phase = LINGERING;
        shutdown(descriptor_of(connection), SHUT_WR); // fails only where the peer is gone: recv will tell
        enter_queue(&lingers, connection, now_ms() + LINGER_MS);
    } else if (connection->carried.length > 0) {
        if (connection->searched > 0) enter_queue(&heads, connection, now_ms() + HEAD_MS);
        else enter_queue(&unfinished, connection, 0);
    }
}

/** Sends answers. What the socket does not take waits for EPOLLOUT, and until then the connection is not read. */
static void send_answers(struct connection *connection, const char *bytes, int length) {
    const int fd = descriptor_of(connection);
    int sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return drop_connection(connection, errno);
    if (sent < 0) sent = 0;
    ADD(bytes_out, sent);
    if (sent == length) return wait_for_more(connection);
    if (!keep(&connection->unsent, bytes + sent, length - sent)) return drop_connection(connection, KEPT_TOO_MUCH);
    unsents++;
    watch(EPOLL_CTL_MOD, fd, EPOLLOUT); // fails only for a descriptor that is not in the set
}

static void on_writable(struct connection *connection) {
    const int fd = descriptor_of(connection);
    const int sent = send(fd, connection->unsent.bytes, connection->unsent.length, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) drop_connection(connection, errno);
        return;
    }
    ADD(bytes_out, sent);
    consume(&connection->unsent, sent);
    if (connection->unsent.length > 0) return;
    unsents--;
    watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    wait_for_more(connection);
}

/** Answers the whole requests of the input, which is `carried` or was just received, and carries the rest. */
static void answer_input(struct connection *connection, char *input, int length) {
    struct kept *carried = &connection->carried;
    const struct answered done = answer(input, length, connection->searched, outbox);
    const int rest = done.keep_alive ? length - done.taken : 0;
    const bool is_same_head = done.taken == 0 && connection->searched > 0;
    connection->searched = done.is_cut_short ? 0 : rest;
    if (is_same_head) return; // still incomplete, and due when it was
    leave_queue(connection);
    if (!done.keep_alive) connection->phase = CLOSING;
    if (input == carried->bytes) consume(carried, length - rest);
    else if (rest > 0 && !keep(carried, input + done.taken, rest)) return drop_connection(connection, KEPT_TOO_MUCH);
    if (done.out.length > 0) send_answers(connection, done.out.bytes, done.out.length);
    else wait_for_more(connection);
}

/** Takes what has come, answers every whole request in it, and sends the answers in one call. */
static void on_readable(struct connection *connection) {
    struct kept *carried = &connection->carried;
    if (carried->length > 0 && connection->searched == 0) return; // its turn comes: see `answer_unfinished`
    const int got = recv(descriptor_of(connection), inbox, INBOX - carried->length, 0);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) drop_connection(connection, errno);
        return;
    }
    if (got == 0) return close_connection(connection); // the peer's half is closed, and its requests are answered
    ADD(bytes_in, got);
    if (connection->phase != OPEN) return; // thrown away: the last answer is out
    if (carried->length == 0) return answer_input(connection, inbox, got);
    if (!keep(carried, inbox, got)) return drop_connection(connection, KEPT_TOO_MUCH);
    answer_input(connection, carried->bytes, carried->length);
}

// ---- The architecture: one interest set, one loop ------------------------------------------------------------------

/** Accepts those that wait, up to a bound. Without room for more it pauses for a turn: the listener is not watched. */
static void accept_all(int listener, int at_most) {
    for (int i = 0; i < at_most; i++) { // if more wait, the next call says so again
        const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            ADD(accepted, 1);
            if (fd >= DESCRIPTORS || watch(EPOLL_CTL_ADD, fd, EPOLLIN) < 0) { // ENOSPC, ENOMEM: this connection only
                count_error(fd >= DESCRIPTORS ? EMFILE : errno);
                close(fd);
                continue;
            }
            connections[fd] = (struct connection){.phase = OPEN};
            ADD(open_connections, 1);
        } else if (errno == EAGAIN) return;
        else if (!is_of_one_connection(errno)) { // EMFILE, ENFILE, ENOMEM, ENOBUFS
            count_error(errno);
            watch(EPOLL_CTL_MOD, listener, 0); // it stays readable, so the loop would spin
            return;
        }
    }
}

static bool is_in_flight(void) {
    return unsents > 0 || !is_empty(&heads) || !is_empty(&unfinished) || !is_empty(&lingers);
}

/** Gives each connection with whole requests left its turn, in their order. */
static void answer_unfinished(bool is_draining) {
    struct link *last = unfinished.previous;
    burnt_us = 0;
    for (struct connection *connection; (connection = first_of(&unfinished)) != NULL && !is_turn_over(is_draining);) {
        const bool is_last = &connection->link == last;
        leave_queue(connection);
        answer_input(connection, connection->carried.bytes, connection->carried.length);
        if (is_last) return;
    }
}

/** Ends what took too long. The delay of a queue is the same for all, so the first is due first. */
static void end_late(long now) {
    for (struct connection *late; (late = first_of(&heads)) != NULL && late->due_ms <= now;) {
        const struct text text = answer_of(408, false);
        leave_queue(late);
        release(&late->carried);
        late->phase = CLOSING;
        count_error(408);
        send_answers(late, text.bytes, text.length);
    }
    for (struct connection *late; (late = first_of(&lingers)) != NULL && late->due_ms <= now;) close_connection(late);
}

/**
 * Handles events, and waits for some if none are left of the last turn. Returns false if nothing has happened and
 * nothing is in flight. After a turn that is over early the same events go on: asked anew, epoll_wait(2) might name
 * those first that were just served, and never the others.
 */
static bool turn(int listener, bool is_draining) {
    static struct epoll_event events[EVENTS];
    static int ready, next;
    if (!is_empty(&unfinished)) answer_unfinished(is_draining);
    if (next >= ready) {
        const int wait_ms = !is_empty(&unfinished) ? 0 : is_draining ? QUIET_MS : TURN_MS;
        next = 0;
        ready = epoll_wait(epoll, events, EVENTS, wait_ms);
        if (ready < 0 && errno != EINTR) must(ready, "wait for events");
        if (ready <= 0) return ready < 0 || is_in_flight();
    }
    burnt_us = 0;
    while (next < ready && !is_turn_over(is_draining)) {
        const int fd = events[next++].data.fd;
        if (fd == listener) accept_all(listener, ACCEPTS);
        else if (connections[fd].unsent.length > 0) on_writable(&connections[fd]);
        else if (connections[fd].phase != CLOSED) on_readable(&connections[fd]); // EPOLLHUP, EPOLLERR: recv(2) tells
    }
    return true;
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
static void serve(int listener) {
    long turn_at_ms = now_ms(), stop_at_ms = 0;
    must(watch(EPOLL_CTL_ADD, listener, EPOLLIN), "watch the listener");
    for (;;) {
        const bool is_draining = stop_at_ms > 0;
        const bool is_busy = turn(listener, is_draining);
        const long now = now_ms();
        if (is_draining && (now >= stop_at_ms || !is_busy)) return;
        if (!is_draining && atomic_load(&stopping)) {
            accept_all(listener, BACKLOG); // their handshake is done: close(2) would reset them
            close(listener);
            listener = -1;
            stop_at_ms = now + STOP_MS;
        }
        if (atomic_load_explicit(&wants_stats, memory_order_relaxed)) say_stats();
        if (now - turn_at_ms < TURN_MS) continue;
        turn_at_ms = now;
        end_late(now);
        if (stop_at_ms == 0) watch(EPOLL_CTL_MOD, listener, EPOLLIN); // again, where there was no room
    }
}

int main(int argc, char **argv) {
    struct options options = read_options(argc, argv);
    const int listener = listen_on(&options, SOCK_NONBLOCK);
    epoll = must(epoll_create1(EPOLL_CLOEXEC), "create an epoll instance");
    connections = map(DESCRIPTORS * sizeof *connections);
    handle_signals(stop_soon);
    say_ready(&options);
    serve(listener);
    say_stopped();
}
