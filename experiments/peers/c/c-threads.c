// A POSIX thread for each connection, with blocking recv(2) and send(2): the kernel's scheduler does the multiplexing.
#include "lab.h"
#include <pthread.h>

// ---- Connection: a thread, whose stack holds all that belongs to it ------------------------------------------------

struct visitor {
    int fd;
    atomic_bool idle; // it waits for a request of which nothing has come
    struct visitor *previous, *next;
};

// All that are there, in a ring that starts here, and the number of threads: made, but not yet ended.
static struct visitor visitors = {.previous = &visitors, .next = &visitors};
static int threads;
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;
static int listener;

/** Sends all. A peer that does not read holds this thread here, and no other. */
static bool send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        const ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return count_error(errno), false;
        bytes += sent;
        length -= sent;
    }
    return true;
}

/** With input unread close(2) would send RST, and the peer might lose the answer: read on until it closes its half. */
static void linger(int fd, void *scratch) {
    const struct timeval slice = {.tv_usec = TURN_MS * 1000};
    shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv will tell
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof slice) < 0) return; // else recv(2) might wait for ever
    for (const long until = now_ms() + LINGER_MS; now_ms() < until;) {
        const ssize_t got = recv(fd, scratch, INBOX, 0);
        if (got == 0) return;
        if (got < 0 && errno != EAGAIN && errno != EINTR) return count_error(errno);
    }
}

/** Serves one connection until it ends. Of these buffers only pages that are written become memory. */
static void converse(struct visitor *visitor) {
    unsigned char inbox[INBOX + 1];
    char outbox[OUTBOX];
    const int fd = visitor->fd;
    for (size_t had = 0;;) {
        // Idle is told before `stopping` is read, and `see_off` does it the other way round: one sees the other.
        atomic_store(&visitor->idle, had == 0);
        const bool is_over = had == 0 && atomic_load(&stopping);
        const ssize_t got = recv(fd, inbox + had, INBOX - had, is_over ? MSG_DONTWAIT : 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && !is_over) return count_error(errno);
        if (got <= 0) return; // the peer's half is closed and all it asked for is answered; or nothing is in flight
        atomic_store_explicit(&visitor->idle, false, memory_order_relaxed);
        const size_t length = had + got;
        const struct answered done = answer(inbox, length, outbox);
        if (!send_all(fd, outbox, done.out)) return;
        if (!done.keep_alive) return linger(fd, inbox);
        had = length - done.taken;
        if (done.taken > 0) memmove(inbox, inbox + done.taken, had);
    }
}

/** The life of a thread. It alone closes its descriptor: could another, the number might by then be someone else's. */
static void *live(void *fd) {
    struct visitor self = {.fd = (intptr_t)fd, .next = &visitors};
    pthread_mutex_lock(&door); // of a plain mutex this cannot fail
    self.previous = visitors.previous;
    visitors.previous = self.previous->next = &self;
    pthread_mutex_unlock(&door);
    converse(&self);
    pthread_mutex_lock(&door);
    self.previous->next = self.next;
    self.next->previous = self.previous;
    close(self.fd); // a failure of close(2) leaves nothing that could be done
    if (--threads == 0) pthread_cond_signal(&left);
    pthread_mutex_unlock(&door);
    return NULL;
}

// ---- The architecture: the main thread accepts, and makes a thread for each connection -----------------------------

/** Gives a connection its thread. One that cannot be made (EAGAIN: a limit of threads or memory) refuses only this. */
static void start_thread(int fd, const pthread_attr_t *detached) {
    pthread_t id;
    pthread_mutex_lock(&door);
    threads++;
    pthread_mutex_unlock(&door);
    const int error = pthread_create(&id, detached, live, (void *)(intptr_t)fd);
    if (error == 0) return;
    count_error(error);
    close(fd);
    pthread_mutex_lock(&door);
    threads--;
    pthread_mutex_unlock(&door);
}

/** Wakes those that wait for nothing, and waits until all have ended or STOP_MS are over: exit(3) ends the others. */
static void see_off(void) {
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

static void serve(void) {
    pthread_attr_t detached; // nobody waits for a single thread; its stack is of the default size, 8 MiB
    pthread_attr_init(&detached); // in glibc neither can fail
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    while (!atomic_load(&stopping)) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted++;
            start_thread(fd, &detached);
        } else if (errno != EINTR && errno != ECONNABORTED && !atomic_load(&stopping)) {
            count_error(errno); // EMFILE, ENFILE, ENOMEM: those that come wait until another has left
            nanosleep(&(struct timespec){.tv_nsec = TURN_MS * 1000000}, NULL); // shorter if a signal comes
        }
    }
    close(listener);
    see_off();
}

/** Ends a blocked accept4(2) with EINVAL, and the next one too: so the signal is never missed. In whichever thread. */
static void stop_accepting(int signal) {
    const int error = errno;
    stop_soon(signal);
    shutdown(listener, SHUT_RD); // cannot fail for a listener
    errno = error;
}

int main(int argc, char **argv) {
    struct options options = read_options("c-threads", argc, argv);
    listener = listen_on(&options, 0);
    hear_signals(stop_accepting);
    say_ready("c-threads", &options);
    serve();
    say_stopped();
}
