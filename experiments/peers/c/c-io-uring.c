// io_uring through liburing, as in experiments/io-uring.ts: one thread hands the work over and collects the results.
#include "lab.h"
#include <liburing.h>
#include <sys/mman.h>

enum {
    SUBMISSIONS = 1024, // a power of two; of completions twice as many: a full queue loses nothing, but ends multishots
    BUFFERS = 512,      // for all that is received (a power of two); none free: ENOBUFS, and it is asked for anew
    BUFFER = 4096,      // bytes in each
    SLOT = MAX_HEAD + BUFFER, // in front of a buffer there is room for the start of a head, which came before
};

enum kind { ACCEPT, RECEIVE, SEND, CANCEL };                    // user_data: the descriptor, and above it one of these
enum { RECEIVING = 1, SENDING = 2, CANCELLING = 4, ENDED = 8 }; // in flight; ENDED: nothing more will come

// ---- Connection: what stands in the table at its descriptor, and the bytes left over only while there are any ------

struct connection {
    unsigned char *partial;  // the start of a head whose end has not come, or NULL
    char *sending, *waiting; // answers in flight, and those behind them, as one send might overtake the other
    int partial_length, waiting_length;
    int previous, next; // those that leave, in a ring in the order of their time; its start is 0, no connection
    int state;
    long leave_at_ms;   // once it was answered for the last time: when it is closed at the latest; else 0
};

static struct connection *connections; // by descriptor
static int table_size;
static int partials, sends, leavings; // how many have such
static char outbox[OUTBOX];           // shared by all: an idle connection owns no buffer
static bool paused;                   // no descriptor is left, so none is accepted for a while

static struct io_uring ring;
static struct io_uring_buf_ring *lent; // the buffers that the kernel may fill
static unsigned char *slots;
static int given_back; // buffers used up in this turn

// Each of these takes an entry of the submission queue. One is always free: see `exchange`.

static __u64 tag(enum kind kind, int fd) { return (__u64)kind << 32 | (unsigned)fd; }

static void ask_to_accept(int listener) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, tag(ACCEPT, listener));
}

static void ask_to_receive(int fd) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
    sqe->buf_group = 0;
    io_uring_sqe_set_data64(sqe, tag(RECEIVE, fd));
    connections[fd].state |= RECEIVING;
}

/** One send at a time. With MSG_WAITALL it completes when all is sent, or with an error. */
static void ask_to_send(int fd, char *bytes, int length) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_send(sqe, fd, bytes, length, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(sqe, tag(SEND, fd));
    connections[fd].sending = bytes;
    connections[fd].state |= SENDING;
    sends++;
}

/** What is cancelled completes for itself. Where the kernel, just at work on it, found nothing, it is asked again. */
static void ask_to_cancel(enum kind kind, int fd) {
    if (connections[fd].state & CANCELLING) return;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_cancel64(sqe, tag(kind, fd), 0);
    io_uring_sqe_set_data64(sqe, tag(CANCEL, fd));
    connections[fd].state |= CANCELLING;
}

/** Makes the table reach to this descriptor. It never shrinks: 56 bytes for each that was open at the same time. */
static void make_room(int fd) {
    if (fd < table_size) return;
    const int size = fd < 512 ? 1024 : 2 * fd;
    connections = must_have(realloc(connections, size * sizeof *connections));
    memset(connections + table_size, 0, (size - table_size) * sizeof *connections);
    table_size = size;
}

static void *duplicate(const void *bytes, size_t length) { return memcpy(must_have(malloc(length)), bytes, length); }

static void forget_partial(struct connection *connection) {
    if (connection->partial == NULL) return;
    free(connection->partial);
    connection->partial = NULL;
    partials--;
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

/** Only when the kernel is at work on it no more: close(2) does not reach a socket in use. */
static void close_connection(int fd) {
    struct connection *connection = &connections[fd];
    forget_partial(connection);
    if (connection->leave_at_ms != 0) {
        connections[connection->previous].next = connection->next;
        connections[connection->next].previous = connection->previous;
        leavings--;
    }
    *connection = (struct connection){0};
    close(fd); // a failure of close(2) leaves nothing that could be done
}

/** What comes next: an answer, the farewell, another receive, or the close. */
static void proceed(int fd) {
    struct connection *connection = &connections[fd];
    if (connection->state & SENDING) return;
    if (connection->waiting != NULL) {
        ask_to_send(fd, connection->waiting, connection->waiting_length);
        connection->waiting = NULL;
        return;
    }
    if (connection->leave_at_ms != 0) shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv will tell
    if (connection->state & RECEIVING) return;
    if (connection->state & ENDED) close_connection(fd);
    else ask_to_receive(fd); // after ENOBUFS too: every buffer is back before the next call
}

/**
 * Sends answers, or puts them behind a send in flight. Then nothing more is received: what came before the kernel heard
 * of that is bounded by the buffers of a few turns, and so are the answers to it.
 */
static void reply(int fd, size_t length) {
    struct connection *connection = &connections[fd];
    if (!(connection->state & SENDING)) return ask_to_send(fd, duplicate(outbox, length), length);
    const int had = connection->waiting != NULL ? connection->waiting_length : 0;
    connection->waiting = must_have(realloc(connection->waiting, had + length));
    memcpy(connection->waiting + had, outbox, length);
    connection->waiting_length = had + length;
    if (connection->state & RECEIVING) ask_to_cancel(RECEIVE, fd);
}

static void answer_input(int fd, unsigned char *input, int length) {
    struct connection *connection = &connections[fd];
    if (connection->partial != NULL) {
        input -= connection->partial_length;
        length += connection->partial_length;
        memcpy(input, connection->partial, connection->partial_length);
        forget_partial(connection);
    }
    const struct answered done = answer(input, length, outbox);
    if (!done.keep_alive) leave(fd);
    else if (done.taken < (size_t)length) {
        connection->partial_length = length - done.taken;
        connection->partial = duplicate(input + done.taken, connection->partial_length);
        partials++;
    }
    if (done.out > 0) reply(fd, done.out);
}

// ---- The architecture: two rings shared with the kernel, and one system call ---------------------------------------

// A receive buffer is lent to bytes that have come, not to a connection that waits:
//   in its ring ──► filled by the kernel ──► named in the flags of a completion ──► read in place by parse_head ──┐
//        ▲──── give_back, which the kernel sees after the batch ◄──── the start of a head is copied to `partial` ◄┘

static unsigned char *buffer_at(int buffer) { return slots + (size_t)buffer * SLOT + MAX_HEAD; }

static void give_back(int buffer) {
    io_uring_buf_ring_add(lent, buffer_at(buffer), BUFFER, buffer, io_uring_buf_ring_mask(BUFFERS), given_back++);
}

static void on_accepted(int listener, int result, unsigned flags) {
    if (result >= 0) {
        accepted++;
        make_room(result);
        ask_to_receive(result);
    }
    if ((flags & IORING_CQE_F_MORE) || atomic_load(&stopping)) return;
    if (result >= 0 || result == -ECONNABORTED) ask_to_accept(listener);
    else {
        count_error(-result); // EMFILE, ENFILE: asked again at once it would spin
        paused = true;
    }
}

/** Takes what a buffer holds. Without F_MORE the receive is over: end of input, an error, no buffer, or cancelled. */
static void on_received(int fd, int result, unsigned flags) {
    struct connection *connection = &connections[fd];
    if (result > 0) {
        const int buffer = flags >> IORING_CQE_BUFFER_SHIFT;
        if (!(connection->state & ENDED) && connection->leave_at_ms == 0) answer_input(fd, buffer_at(buffer), result);
        give_back(buffer);
    } else if (result != -ENOBUFS && result != -ECANCELED) {
        if (result < 0) count_error(-result); // it ends this connection only
        connection->state |= ENDED;
    }
    if (flags & IORING_CQE_F_MORE) return;
    connection->state &= ~RECEIVING;
    proceed(fd);
}

static void on_sent(int fd, int result) {
    struct connection *connection = &connections[fd];
    free(connection->sending);
    connection->sending = NULL;
    connection->state &= ~SENDING;
    sends--;
    if (result < 0) { // if it is only short, an error came in between, and the receive will tell of it
        if (!(connection->state & ENDED)) count_error(-result);
        connection->state |= ENDED;
        free(connection->waiting);
        connection->waiting = NULL;
        shutdown(fd, SHUT_RDWR); // the receive ends too, if it has not ended by the error
    }
    proceed(fd);
}

static void on_completed(const struct io_uring_cqe *cqe) {
    const int fd = (unsigned)cqe->user_data;
    switch ((enum kind)(cqe->user_data >> 32)) {
    case ACCEPT: return on_accepted(fd, cqe->res, cqe->flags);
    case RECEIVE: return on_received(fd, cqe->res, cqe->flags);
    case SEND: return on_sent(fd, cqe->res);
    case CANCEL: connections[fd].state &= ~CANCELLING;
    }
}

/** One turn, one system call: submissions out, completions in. Returns how many came. */
static unsigned exchange(int wait_ms) {
    struct __kernel_timespec wait = {.tv_nsec = wait_ms * 1000000L};
    struct io_uring_cqe *cqe;
    const int result = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &wait, NULL);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
        fail("enter the ring", -result, "see io_uring_enter(2)"); // those others mean: later
    }
    unsigned head, came = 0;
    const unsigned most = io_uring_sq_space_left(&ring) / 4; // what they ask for must fit the submission queue
    given_back = 0;
    io_uring_for_each_cqe(&ring, head, cqe) {
        if (came == most) break;
        on_completed(cqe);
        came++;
    }
    io_uring_cq_advance(&ring, came);
    io_uring_buf_ring_advance(lent, given_back);
    return came;
}

/** Ends those that linger for too long: the send or the receive completes, and the connection is closed. */
static void end_lingering(long now) {
    for (int fd = connections[0].next; fd != 0 && connections[fd].leave_at_ms <= now; fd = connections[fd].next) {
        struct connection *connection = &connections[fd];
        if (io_uring_sq_space_left(&ring) < SUBMISSIONS / 2) return; // the others in the next turn
        free(connection->waiting);
        connection->waiting = NULL;
        connection->state |= ENDED;
        ask_to_cancel(connection->state & SENDING ? SEND : RECEIVE, fd);
    }
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
static void serve(int listener) {
    long turn_at_ms = now_ms(), stop_at_ms = 0;
    ask_to_accept(listener);
    for (;;) {
        const unsigned came = exchange(stop_at_ms > 0 ? 1 : TURN_MS);
        const long now = now_ms();
        if (stop_at_ms > 0 && (now >= stop_at_ms || (came == 0 && sends + partials + leavings == 0))) return;
        if (stop_at_ms == 0 && atomic_load(&stopping)) {
            ask_to_cancel(ACCEPT, listener); // the kernel holds the listener as long as this is in flight
            close(listener);
            stop_at_ms = now + STOP_MS;
        }
        if (now - turn_at_ms < TURN_MS) continue;
        turn_at_ms = now;
        end_lingering(now);
        if (paused && stop_at_ms == 0) {
            paused = false;
            ask_to_accept(listener);
        }
    }
}

static void *map(size_t length) {
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return must_have(memory == MAP_FAILED ? NULL : memory);
}

/** Ends with EX_UNAVAILABLE of <sysexits.h> where the kernel has no such ring, or gives none. */
static void open_ring(void) {
    const int error = -io_uring_queue_init(SUBMISSIONS, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (error != 0) {
        const bool is_old = error == EINVAL;
        const char *reason = is_old ? "Linux 6.1 is needed" : "the kernel has none, or a sysctl or seccomp forbids it";
        fprintf(stderr, "c-io-uring cannot run here: io_uring: %s (%d), %s.\n", strerrorname_np(error), error, reason);
        exit(69);
    }
    io_uring_register_ring_fd(&ring); // spares each call a search by descriptor; without it goes on, a little dearer
    slots = map((size_t)BUFFERS * SLOT + 1); // a NUL may stand behind the last one
    lent = map(BUFFERS * sizeof(struct io_uring_buf));
    struct io_uring_buf_reg lending = {.ring_addr = (uintptr_t)lent, .ring_entries = BUFFERS, .bgid = 0};
    const int refused = -io_uring_register_buf_ring(&ring, &lending, 0);
    if (refused != 0) fail("lend the buffers", refused, "see io_uring_register(2)");
    for (int buffer = 0; buffer < BUFFERS; buffer++) give_back(buffer);
    io_uring_buf_ring_advance(lent, BUFFERS);
}

int main(int argc, char **argv) {
    struct options options = read_options("c-io-uring", argc, argv);
    open_ring();
    const int listener = listen_on(&options, 0); // io_uring waits on a blocking socket, and gives EAGAIN on another
    make_room(listener);
    hear_signals(stop_soon);
    say_ready("c-io-uring", &options);
    serve(listener);
    say_stopped();
}
