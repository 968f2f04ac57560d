// A POSIX thread for each connection, with blocking recv(2) and send(2): the kernel's scheduler does the multiplexing.
#define COUNTS_ARE_SHARED
#define EXPERIMENT "c-threads"
#include "lab.h"
#include <poll.h>
#include <pthread.h>

enum {
    ACCEPTS = 64, // connections accepted in a row, before signals are looked at
};

// ---- Connection: a thread, whose stack holds all that belongs to it ------------------------------------------------

struct visitor {
    int fd;
    atomic_bool idle; // it waits for a request of which nothing has come
    struct visitor *previous, *next;
};

// All connections, in a ring that starts here, and the number of threads: created, but not yet ended.
static struct visitor visitors = {.previous = &visitors, .next = &visitors};
static int threads;
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;

/** Counts bytes that a thread keeps while it waits. Returns false if all threads together would keep too many. */
static bool reserve(long bytes) {
    if (ADD(kept_bytes, bytes) + bytes <= MAX_KEPT_BYTES) return true;
    ADD(kept_bytes, -bytes);
    count_error(KEPT_TOO_MUCH);
    return false;
}

/** Sends all. A peer that does not read holds this thread here, and no other, until TCP_USER_TIMEOUT ends it. */
static bool send_all(int fd, struct text text) {
    long reserved = 0;
    bool is_sent = true;
    ADD(bytes_out, text.length); // before the peer has them, so that what it sees is counted
    for (int flags = MSG_NOSIGNAL | MSG_DONTWAIT; text.length > 0 && is_sent; flags = MSG_NOSIGNAL) {
        const ssize_t sent = send(fd, text.bytes, text.length, flags);
        if (sent > 0) {
            text.bytes += sent;
            text.length -= sent;
        } else if (errno != EAGAIN && errno != EINTR) {
            count_error(errno);
            is_sent = false;
        }
        if (is_sent && text.length > 0 && reserved == 0) {
            is_sent = reserve(text.length);
            if (is_sent) reserved = text.length;
        }
    }
    ADD(bytes_out, -text.length);
    ADD(kept_bytes, -reserved);
    return is_sent;
}

/** Bounds how long a recv(2) waits; 0: for ever. Returns false if the kernel refuses. */
static bool set_patience(int fd, long ms) {
    const struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0) return true;
    count_error(errno);
    return false;
}

/** With input unread close(2) would send RST, and the peer might lose the answer: read on until it closes its half. */
static void linger(int fd, void *scratch) {
    shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv will tell
    if (!set_patience(fd, TURN_MS)) return;
    for (const long until = now_ms() + LINGER_MS; now_ms() < until;) {
        const ssize_t got = recv(fd, scratch, INBOX, 0);
        if (got == 0) return;
        if (got > 0) ADD(bytes_in, got);
        else if (errno != EAGAIN && errno != EINTR) return count_error(errno);
    }
}

/** Answers whole requests one after the other. Returns how many bytes of a head are left, now at the start; -1: the end. */
static int answer_all(int fd, char *inbox, int length, int searched) {
    char outbox[OUTBOX]; // only the pages that are written become memory
    int at = 0;
    for (bool is_more = true; is_more;) {
        const struct answered done = answer(inbox + at, length - at, searched, outbox);
        searched = 0;
        at += done.taken;
        is_more = done.is_cut_short && at < length;
        if (!send_all(fd, done.out)) return -1;
        if (!done.keep_alive) {
            linger(fd, inbox);
            return -1;
        }
    }
    memmove(inbox, inbox + at, length - at);
    return length - at;
}

/** Refuses a head that is late, and lingers. */
static void refuse_late(int fd, char *inbox) {
    count_error(408);
    if (send_all(fd, answer_of(408, false))) linger(fd, inbox);
}

/** Serves one connection until it ends. `partial` counts the bytes of a head in the inbox whose end has not come. */
static void converse(struct visitor *visitor) {
    char inbox[INBOX + PADDING];
    const int fd = visitor->fd;
    int partial = 0;
    for (long due_ms = 0;;) {
        // Idle is stored before `stopping` is read, and `end_all` does it the other way round: one sees the other.
        atomic_store(&visitor->idle, partial == 0);
        const bool is_over = partial == 0 && atomic_load(&stopping);
        const long left_ms = due_ms - now_ms();
        if (partial > 0 && left_ms <= 0) return refuse_late(fd, inbox);
        if (partial > 0 && !set_patience(fd, left_ms)) return;
        if (partial > 0 && !reserve(partial)) return;
        const ssize_t got = recv(fd, inbox + partial, INBOX - partial, is_over ? MSG_DONTWAIT : 0);
        if (partial > 0) ADD(kept_bytes, -partial);
        if (got < 0 && (errno == EINTR || (errno == EAGAIN && !is_over))) continue;
        if (got < 0 && !is_over) return count_error(errno);
        if (got <= 0) return; // the peer's half is closed and its requests are answered; or nothing is in flight
        ADD(bytes_in, got);
        atomic_store_explicit(&visitor->idle, false, memory_order_relaxed);
        const int before = partial;
        partial = answer_all(fd, inbox, before + got, before);
        if (partial < 0) return;
        if (partial > 0 && (before == 0 || partial < before + got)) due_ms = now_ms() + HEAD_MS; // another head begins
        if (partial == 0 && before > 0 && !set_patience(fd, 0)) return;
    }
}

/** Runs a thread. It alone closes its descriptor: closed by another, the number could belong to a new connection. */
static void *run_thread(void *fd) {
    struct visitor self = {.fd = (intptr_t)fd, .next = &visitors};
    pthread_mutex_lock(&door); // of a plain mutex this cannot fail
    self.previous = visitors.previous;
    visitors.previous = self.previous->next = &self;
    pthread_mutex_unlock(&door);
    converse(&self);
    pthread_mutex_lock(&door);
    self.previous->next = self.next;
    self.next->previous = self.previous;
    ADD(open_connections, -1);
    close(self.fd); // a failure of close(2) leaves nothing that could be done
    if (--threads == 0) pthread_cond_signal(&left);
    pthread_mutex_unlock(&door);
    return NULL;
}

// ---- The architecture: the main thread accepts, and creates a thread for each connection ---------------------------

/** Gives a connection its thread. One that cannot be created (EAGAIN: a limit of threads or memory) refuses only this. */
static void start_thread(int fd, const pthread_attr_t *detached) {
    pthread_t id;
    pthread_mutex_lock(&door);
    threads++;
    pthread_mutex_unlock(&door);
    ADD(open_connections, 1);
    const int error = pthread_create(&id, detached, run_thread, (void *)(intptr_t)fd);
    if (error == 0) return;
    count_error(error);
    ADD(open_connections, -1);
    close(fd);
    pthread_mutex_lock(&door);
    threads--;
    pthread_mutex_unlock(&door);
}

/** Accepts those that wait. Returns false if there is no descriptor or memory: then it is not asked for a while. */
static bool accept_all(int listener, int at_most, const pthread_attr_t *detached) {
    for (int i = 0; i < at_most; i++) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); // it blocks, though its listener does not
        if (fd >= 0) {
            ADD(accepted, 1);
            start_thread(fd, detached);
        } else if (errno == EAGAIN) return true;
        else if (!is_of_one_connection(errno)) { // EMFILE, ENFILE, ENOMEM, ENOBUFS
            count_error(errno);
            return false;
        }
    }
    return true;
}

/** Wakes those that wait for nothing, and waits until all have ended or STOP_MS are over: exit(3) ends the others. */
static void end_all(void) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_MS / 1000;
    pthread_mutex_lock(&door);
    for (struct visitor *visitor = visitors.next; visitor != &visitors; visitor = visitor->next) {
        // A blocked recv(2) returns 0. What came just before is still read: the kernel gives the queue out first.
        if (atomic_load(&visitor->idle)) shutdown(visitor->fd, SHUT_RD);
    }
    int error = 0;
    while (threads > 0 && error == 0) error = pthread_cond_clockwait(&left, &door, CLOCK_MONOTONIC, &until);
    pthread_mutex_unlock(&door);
}

/** Serves until `stopping`. Signals are blocked but while it waits, so none is lost between a look and the wait. */
static void serve(int listener) {
    const struct timespec pause = {.tv_nsec = TURN_MS * 1000000};
    pthread_attr_t detached; // no thread is joined; its stack is of the default size, 8 MiB
    pthread_attr_init(&detached); // in glibc neither can fail
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigset_t handled, usual;
    sigemptyset(&handled);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &handled, &usual); // threads inherit it
    for (bool accepting = true; !atomic_load(&stopping);) {
        struct pollfd waiting = {.fd = accepting ? listener : -1, .events = POLLIN};
        const int ready = ppoll(&waiting, 1, accepting ? NULL : &pause, &usual);
        if (ready < 0 && errno != EINTR) must(ready, "wait for connections");
        if (atomic_load(&wants_stats)) say_stats();
        accepting = ready < 0 || accept_all(listener, ACCEPTS, &detached);
    }
    accept_all(listener, BACKLOG, &detached); // their handshake is done: close(2) would reset them
    close(listener);
    pthread_sigmask(SIG_SETMASK, &usual, NULL); // a second signal ends it at once
    end_all();
}

int main(int argc, char **argv) {
    struct options options = read_options(argc, argv);
    const int listener = listen_on(&options, SOCK_NONBLOCK);
    handle_signals(stop_soon);
    say_ready(&options);
    serve(listener);
    say_stopped();
}
