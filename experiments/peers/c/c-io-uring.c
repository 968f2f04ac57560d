// io_uring by its system calls, as in experiments/io-uring.ts: one thread hands work over and collects the results.
#define EXPERIMENT "c-io-uring"
#include "lab.h"
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// Newer than some <linux/io_uring.h>. A kernel that does not know them says so: see `open_ring`.
enum {
    PBUF_RING_INC = 2,          // 6.12: a buffer is filled piece by piece, by one receive after the other
    CQE_F_BUF_MORE = 1 << 4,    // 6.12: more pieces of this buffer will come
    FEAT_MIN_TIMEOUT = 1 << 15, // 6.12: a call may wait a little for several completions
};

enum {
    DESCRIPTORS = 1 << 20, // size of the table; fs.nr_open allows as many. Only the pages in use are memory
    SUBMISSIONS = 1024,    // a power of two; once all are filled, they are submitted at once
    COMPLETIONS = 4096,    // a power of two; a full queue loses nothing, but ends multishots
    // For all that is received (a power of two), and bytes of each. None free: ENOBUFS, and the receive is armed again.
    // From 6.12 on they are filled piece by piece, so few serve many requests; before, each serves one receive.
    BUFFERS = 16,
    BUFFER = 65536,
    OLD_BUFFERS = 256,
    OLD_BUFFER = 4096,
    GAP = 64, // bytes from one to the next: at the same offset in a page they would share one set of a cache
    // From 6.13 on one call runs so much of the work that makes completions, or as much as it is asked to wait for. So
    // where a turn brought as many, the next one waits a little for as many again: otherwise there are more calls.
    USUAL_BATCH = 20,
    MAX_BATCH = 256,
    MIN_WAIT_US = 20,
    MAX_CARRIED = 16384,   // bytes of requests that wait; then no more is received until they are answered
};

// ---- Connection: an entry of the table, and bytes of its own only while there are any ------------------------------

//   OPEN: receiving ──► answering ──► one answer: sent from where it stands; only a failure comes back
//            ▲  │             └─────► several, or the last: SENDING, and what is received meanwhile is carried
//            │  └──► end of input           │
//            └────────── completed ◄────────┴──► the last: shutdown, LINGERING ──► end of input, or late: closed
enum phase { CLOSED, OPEN, CLOSING, LINGERING };
enum state {
    RECEIVING = 1, SENDING = 2, CONTINUING = 4, CANCELLING = 8, // in flight: closed only when nothing is
    IN_FLIGHT = 15,
    UNREAD = 16, // carried bytes may be whole requests
    ENDED = 32,  // no more input will come
};

/** A queue in the order of time: a ring that starts and ends at itself. */
struct link {
    struct link *previous, *next;
};

struct connection {
    struct link link;     // in one queue at most
    struct kept carried;  // the start of a head, or requests that wait for a send to complete
    struct kept copied;   // the answers in flight, unless they are a constant
    long due_ms;          // when the head must be complete, or the lingering ends
    int searched;         // bytes of `carried` that hold no end of a head; 0 if that is not known
    int sending_length;
    unsigned quick_turn;  // the turn of the last quick answer
    unsigned char phase, state;
};

static struct connection *connections; // by descriptor
static struct link heads = {&heads, &heads};       // a head is incomplete
static struct link lingers = {&lingers, &lingers};
static int sends;           // in flight, of which a completion will come
static char outbox[OUTBOX]; // shared by all: an idle connection owns no buffer
static bool is_paused;      // no descriptor or memory was left, so none is accepted for a while
static unsigned turn = 1;   // counts up when all completions of the turn before are handled

static int descriptor_of(const struct connection *connection) { return connection - connections; }

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
    return queue->next == queue ? NULL : (struct connection *)queue->next;
}

// ---- The rings, and what is submitted --------------------------------------------------------------------------------

static struct {
    int index; // of the ring among those registered by this thread: spares each call a search by descriptor
    _Atomic unsigned *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    struct io_uring_buf_ring *lent; // the buffers that the kernel may fill
    unsigned tail;                  // of the submissions, before the kernel is told
    unsigned short lent_tail;       // of the buffers, before the kernel is told
    int buffers, buffer_bytes;      // lent
    bool is_6_12;                   // or newer: of that release are several features
} ring;

static char *received;
static int filled[OLD_BUFFERS]; // bytes of each that earlier receives have filled

enum { STATUS_SHIFT = 40, KIND_SHIFT = 32 }; // in user_data: the status of a quick answer, the kind, the descriptor
enum kind { ACCEPT, RECEIVE, SEND, QUICK, CONTINUE, CANCEL };

static uint64_t tag(enum kind kind, int fd) { return (uint64_t)kind << KIND_SHIFT | (unsigned)fd; }

/** One system call: submissions out, completions in. Returns 0 or an errno. */
static int enter(unsigned wait_for, int wait_ms) {
    const struct __kernel_timespec time = {.tv_nsec = wait_ms * 1000000L};
    // The third value is `min_wait_usec`, which an old <linux/io_uring.h> calls `pad`.
    const unsigned min_wait_us = wait_for > 1 ? MIN_WAIT_US : 0;
    const struct io_uring_getevents_arg wait = {0, 0, min_wait_us, (uintptr_t)&time};
    const unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | IORING_ENTER_REGISTERED_RING;
    const unsigned filled_entries = ring.tail - atomic_load_explicit(ring.sq_head, memory_order_relaxed);
    atomic_store_explicit(ring.sq_tail, ring.tail, memory_order_release);
    const long result = syscall(SYS_io_uring_enter, ring.index, filled_entries, wait_for, flags, &wait, sizeof wait);
    return result < 0 ? errno : 0;
}

/** Fills the next entry. If none is free, all are submitted at once. */
static void submit(struct io_uring_sqe entry) {
    if (ring.tail - atomic_load_explicit(ring.sq_head, memory_order_relaxed) == SUBMISSIONS) {
        const int error = enter(0, 0);
        const unsigned left = ring.tail - atomic_load_explicit(ring.sq_head, memory_order_relaxed);
        if (left == SUBMISSIONS) fail("submit to the ring", error, "see io_uring_enter(2)");
    }
    ring.sqes[ring.tail++ & (SUBMISSIONS - 1)] = entry;
}

static void ask_to_accept(int listener) {
    submit((struct io_uring_sqe){
        .opcode = IORING_OP_ACCEPT,
        .ioprio = IORING_ACCEPT_MULTISHOT,
        .fd = listener,
        .accept_flags = SOCK_CLOEXEC,
        .user_data = tag(ACCEPT, listener),
    });
}

static void ask_to_receive(struct connection *connection) {
    const int fd = descriptor_of(connection);
    connection->state |= RECEIVING;
    submit((struct io_uring_sqe){
        .opcode = IORING_OP_RECV,
        .flags = IOSQE_BUFFER_SELECT,
        .ioprio = IORING_RECV_MULTISHOT,
        .fd = fd,
        .user_data = tag(RECEIVE, fd),
    });
}

/** One at a time. With MSG_WAITALL it completes when all is sent, or with an error. */
static void ask_to_send(struct connection *connection, const char *bytes, int length) {
    const int fd = descriptor_of(connection);
    connection->state |= SENDING;
    connection->sending_length = length;
    sends++;
    submit((struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .fd = fd,
        .addr = (uintptr_t)bytes,
        .len = length,
        .msg_flags = MSG_NOSIGNAL | MSG_WAITALL,
        .user_data = tag(SEND, fd),
    });
}

/**
 * Sends a constant without a completion if the socket takes all of it: half of all completions are spared. It does not
 * wait, so it is over when the next call returns. If the socket is full, the completion says how much it has taken.
 */
static void ask_to_send_quickly(struct connection *connection, int status, struct text text) {
    const int fd = descriptor_of(connection);
    connection->quick_turn = turn;
    ADD(bytes_out, text.length);
    submit((struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .flags = IOSQE_CQE_SKIP_SUCCESS,
        .fd = fd,
        .addr = (uintptr_t)text.bytes,
        .len = text.length,
        .msg_flags = MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT,
        .user_data = (uint64_t)status << STATUS_SHIFT | tag(QUICK, fd),
    });
}

/** Asks for a completion behind those of what was submitted before. */
static void ask_to_continue(struct connection *connection) {
    const int fd = descriptor_of(connection);
    connection->state |= CONTINUING;
    submit((struct io_uring_sqe){.opcode = IORING_OP_NOP, .user_data = tag(CONTINUE, fd)});
}

/** What is cancelled completes too. Where the kernel, at work on it, finds nothing, it is asked again later. */
static void ask_to_cancel(enum kind kind, int fd) {
    if (kind == RECEIVE) connections[fd].state |= CANCELLING;
    submit((struct io_uring_sqe){
        .opcode = IORING_OP_ASYNC_CANCEL,
        .addr = tag(kind, fd),
        .user_data = tag(CANCEL, fd),
    });
}

// ---- Answering ---------------------------------------------------------------------------------------------------------

/** Only when the kernel is at work on it no more: close(2) does not reach a socket in use. */
static void close_connection(struct connection *connection) {
    leave_queue(connection);
    release(&connection->carried);
    release(&connection->copied);
    connection->phase = CLOSED;
    ADD(open_connections, -1);
    close(descriptor_of(connection)); // a failure of close(2) leaves nothing that could be done
}

/** Throws away what comes, and has the kernel end what is in flight; the completions lead to the close. */
static void abandon(struct connection *connection) {
    leave_queue(connection);
    release(&connection->carried);
    connection->state &= ~UNREAD;
    connection->phase = LINGERING;
    shutdown(descriptor_of(connection), SHUT_RDWR); // fails only where the peer is gone
}

static void drop(struct connection *connection, int error) {
    count_error(error);
    connection->state |= ENDED;
    abandon(connection);
}

/** Sends answers: a single one from where it stands, several from a copy. */
static void send_answers(struct connection *connection, const struct answered *done) {
    const bool is_constant = done->out.bytes != outbox;
    if (is_constant && done->keep_alive && !done->is_cut_short) {
        return ask_to_send_quickly(connection, done->status, done->out);
    }
    if (is_constant) return ask_to_send(connection, done->out.bytes, done->out.length);
    if (!keep(&connection->copied, outbox, done->out.length)) return drop(connection, KEPT_TOO_MUCH);
    ask_to_send(connection, connection->copied.bytes, done->out.length);
}

/** Answers the whole requests of the input, which is `carried` or stands in a buffer, and carries the rest. */
static void answer_input(struct connection *connection, char *input, int length) {
    struct kept *carried = &connection->carried;
    const struct answered done = answer(input, length, connection->searched, outbox);
    const int rest = done.keep_alive ? length - done.taken : 0;
    const bool is_same_head = done.taken == 0 && connection->searched > 0;
    connection->searched = done.is_cut_short ? 0 : rest;
    connection->state &= ~UNREAD;
    if (is_same_head) return; // still incomplete, and due when it was
    leave_queue(connection);
    if (!done.keep_alive) connection->phase = CLOSING;
    if (input == carried->bytes) consume(carried, length - rest);
    else if (rest > 0 && !keep(carried, input + done.taken, rest)) return drop(connection, KEPT_TOO_MUCH);
    if (rest > 0 && done.is_cut_short) connection->state |= UNREAD;
    if (done.out.length > 0) send_answers(connection, &done);
    if (carried->length > 0 && !(connection->state & SENDING)) enter_queue(&heads, connection, now_ms() + HEAD_MS);
}

/** Answers what was received, or carries it: answers must not overtake others that the socket has not taken yet. */
static void take_input(struct connection *connection, char *input, int length) {
    struct kept *carried = &connection->carried;
    const bool must_wait = connection->state & (SENDING | UNREAD) || connection->quick_turn == turn;
    if (!must_wait && carried->length == 0) return answer_input(connection, input, length);
    if (!keep(carried, input, length)) return drop(connection, KEPT_TOO_MUCH);
    if (!must_wait) return answer_input(connection, carried->bytes, carried->length);
    connection->state |= UNREAD;
    if (!(connection->state & (SENDING | CONTINUING))) ask_to_continue(connection);
    const bool can_cancel = (connection->state & (RECEIVING | CANCELLING)) == RECEIVING;
    if (carried->length >= MAX_CARRIED && can_cancel) ask_to_cancel(RECEIVE, descriptor_of(connection));
}

/** Goes on when something has completed: with requests that wait, the linger, another receive, or the close. */
static void proceed(struct connection *connection) {
    if (connection->state & (SENDING | CONTINUING)) return;
    if (connection->quick_turn == turn) return ask_to_continue(connection); // it is in the queue, not yet sent
    if (connection->state & UNREAD) {
        answer_input(connection, connection->carried.bytes, connection->carried.length);
        return proceed(connection); // UNREAD is gone, or SENDING is set
    }
    if (connection->phase == CLOSING) {
        // With input unread close(2) would send RST, and the peer might lose the answer: linger until it closes its half.
        connection->phase = LINGERING;
        shutdown(descriptor_of(connection), SHUT_WR); // fails only where the peer is gone: the receive will tell
        enter_queue(&lingers, connection, now_ms() + LINGER_MS);
    } else if (connection->carried.length > 0 && connection->link.next == NULL) {
        enter_queue(&heads, connection, now_ms() + HEAD_MS); // it was not received while it was sent to
    }
    if ((connection->state & IN_FLIGHT) != 0) return;
    if (connection->state & ENDED) close_connection(connection);
    else ask_to_receive(connection); // after ENOBUFS too: every buffer is back before the next call
}

// ---- The architecture: two rings shared with the kernel, and one system call ---------------------------------------

// A receive buffer is lent to bytes that have come, not to a connection that waits, and is filled piece by piece:
//   in its ring ──► filled by the kernel ──► named in the flags of a completion ──► read in place by parse_head ──┐
//        ▲──── give_back, which the kernel sees after the batch ◄──── the start of a head is copied to `carried` ◄┘

static char *buffer_at(int buffer) { return received + (size_t)buffer * (ring.buffer_bytes + GAP); }

static void give_back(int buffer) {
    struct io_uring_buf *entry = &ring.lent->bufs[ring.lent_tail++ & (ring.buffers - 1)];
    entry->addr = (uintptr_t)buffer_at(buffer);
    entry->len = ring.buffer_bytes;
    entry->bid = buffer; // what stands behind it is in the first entry the tail of the ring
}

static void on_accepted(int listener, int result, unsigned flags) {
    if (result >= DESCRIPTORS) {
        count_error(EMFILE);
        close(result);
    } else if (result >= 0) {
        ADD(accepted, 1);
        ADD(open_connections, 1);
        connections[result] = (struct connection){.phase = OPEN};
        ask_to_receive(&connections[result]);
    }
    if ((flags & IORING_CQE_F_MORE) || result == -ECANCELED) return;
    if (result >= 0 || is_of_one_connection(-result)) {
        if (!atomic_load(&stopping)) ask_to_accept(listener);
        return;
    }
    count_error(-result); // EMFILE, ENFILE, ENOMEM, ENOBUFS: asked again at once it would spin
    is_paused = true;
}

/** Takes a piece of a buffer. Without F_MORE the receive is over: end of input, an error, no buffer, or cancelled. */
static void on_received(struct connection *connection, int result, unsigned flags) {
    if (result > 0) {
        const int buffer = flags >> IORING_CQE_BUFFER_SHIFT;
        ADD(bytes_in, result);
        if (connection->phase == OPEN) {
            take_input(connection, buffer_at(buffer) + filled[buffer], result);
        }
        filled[buffer] += result;
        if (!(flags & CQE_F_BUF_MORE)) {
            filled[buffer] = 0;
            give_back(buffer);
        }
    } else if (result == 0) connection->state |= ENDED;
    else if (result != -ENOBUFS && result != -ECANCELED) {
        if (!(connection->state & ENDED)) drop(connection, -result); // this connection only
    }
    if (flags & IORING_CQE_F_MORE) return;
    connection->state &= ~RECEIVING;
    proceed(connection);
}

static void on_sent(struct connection *connection, int result) {
    connection->state &= ~SENDING;
    sends--;
    release(&connection->copied);
    if (result > 0) ADD(bytes_out, result);
    if (result < 0 && !(connection->state & ENDED)) drop(connection, -result);
    else if (result < connection->sending_length) abandon(connection); // by an error, which the receive will tell
    proceed(connection);
}

/** The socket did not take all of a quick answer: the rest is sent as others are. */
static void on_quick_failed(struct connection *connection, int result, int status) {
    const struct text text = answer_of(status, true);
    const int taken = result > 0 ? result : 0;
    ADD(bytes_out, taken - (long)text.length);
    if (connection->phase != OPEN) return; // it was abandoned
    leave_queue(connection);
    if (result >= 0 || result == -EAGAIN) ask_to_send(connection, text.bytes + taken, text.length - taken);
    else drop(connection, -result);
}

static void on_completed(const struct io_uring_cqe *cqe) {
    const int fd = (unsigned)cqe->user_data;
    struct connection *connection = &connections[fd];
    switch ((enum kind)(cqe->user_data >> KIND_SHIFT & 0xff)) {
    case ACCEPT: return on_accepted(fd, cqe->res, cqe->flags);
    case RECEIVE: return on_received(connection, cqe->res, cqe->flags);
    case SEND: return on_sent(connection, cqe->res);
    case QUICK: return on_quick_failed(connection, cqe->res, cqe->user_data >> STATUS_SHIFT);
    case CONTINUE: connection->state &= ~CONTINUING; return proceed(connection);
    case CANCEL:
        connection->state &= ~CANCELLING;
        if (connection->phase != CLOSED) proceed(connection); // CLOSED: that was the listener
    }
}

/** One turn, one system call. Returns how many completions were handled. */
static unsigned exchange(int wait_ms, bool is_draining) {
    static unsigned came; // in the turn before
    const unsigned batch = came < MAX_BATCH ? came : MAX_BATCH;
    const int error = enter(ring.is_6_12 && batch >= USUAL_BATCH ? batch : 1, wait_ms);
    if (error != 0 && error != ETIME && error != EINTR && error != EAGAIN && error != EBUSY) { // those mean: later
        fail("enter the ring", error, "see io_uring_enter(2)");
    }
    const unsigned start = atomic_load_explicit(ring.cq_head, memory_order_relaxed);
    const unsigned end = atomic_load_explicit(ring.cq_tail, memory_order_acquire);
    unsigned head = start;
    for (burnt_us = 0; head != end && !is_turn_over(is_draining); head++) {
        on_completed(&ring.cqes[head & (COMPLETIONS - 1)]);
    }
    atomic_store_explicit(ring.cq_head, head, memory_order_release);
    atomic_store_explicit((_Atomic unsigned short *)&ring.lent->tail, ring.lent_tail, memory_order_release);
    const bool has_more = atomic_load_explicit(ring.sq_flags, memory_order_relaxed) & IORING_SQ_CQ_OVERFLOW;
    if (head == end && !has_more) turn++;
    return came = head - start;
}

/** Ends what took too long. The delay of a queue is the same for all, so the first is due first. */
static void end_late(long now) {
    for (struct connection *late; (late = first_of(&heads)) != NULL && late->due_ms <= now;) {
        const struct text text = answer_of(408, false);
        leave_queue(late);
        release(&late->carried);
        late->searched = 0;
        late->state &= ~UNREAD;
        late->phase = CLOSING;
        count_error(408);
        ask_to_send(late, text.bytes, text.length);
    }
    for (struct connection *late; (late = first_of(&lingers)) != NULL && late->due_ms <= now;) {
        late->state |= ENDED; // what the receive tells now is of no concern
        abandon(late);
    }
}

/** Accepts those whose handshake is done: close(2) would reset them. Ends the request that waits for more. */
static void stop_accepting(int listener) {
    must(fcntl(listener, F_SETFL, O_NONBLOCK), "make the listener non-blocking");
    for (int i = 0; i < BACKLOG; i++) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) on_accepted(listener, fd, 0);
        else if (!is_of_one_connection(errno)) break;
    }
    ask_to_cancel(ACCEPT, listener); // the kernel holds the listener as long as this is in flight
    close(listener);
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
static void serve(int listener) {
    long turn_at_ms = now_ms(), stop_at_ms = 0;
    ask_to_accept(listener);
    for (;;) {
        const bool is_draining = stop_at_ms > 0;
        const unsigned came = exchange(is_draining ? QUIET_MS : TURN_MS, is_draining);
        const bool is_in_flight = came > 0 || sends > 0 || first_of(&heads) != NULL || first_of(&lingers) != NULL;
        const long now = now_ms();
        if (is_draining && (now >= stop_at_ms || !is_in_flight)) return;
        if (!is_draining && atomic_load(&stopping)) {
            stop_accepting(listener);
            stop_at_ms = now + STOP_MS;
        }
        if (atomic_load_explicit(&wants_stats, memory_order_relaxed)) say_stats();
        if (now - turn_at_ms < TURN_MS) continue;
        turn_at_ms = now;
        end_late(now);
        if (is_paused && stop_at_ms == 0) {
            is_paused = false;
            ask_to_accept(listener);
        }
    }
}

/** Ends with EX_UNAVAILABLE of <sysexits.h> and one sentence, which names the cause. */
static void refuse_to_run(const char *action, int error) {
    char reason[160] = "see io_uring_setup(2)";
    struct rlimit locked = {0};
    getrlimit(RLIMIT_MEMLOCK, &locked); // fails for an unknown limit only
    if (error == EINVAL) strcpy(reason, "Linux 6.1 is needed");
    else if (error == ENOSYS) strcpy(reason, "the kernel has none, or seccomp hides it");
    else if (error == EPERM) strcpy(reason, "kernel.io_uring_disabled or seccomp forbids it");
    else if (error == ENOMEM && locked.rlim_cur == RLIM_INFINITY) strcpy(reason, "no memory is left");
    else if (error == ENOMEM) {
        const char *text = "the rings of one user may lock %lu KiB (memlock): raise it with ulimit -l";
        snprintf(reason, sizeof reason, text, (unsigned long)locked.rlim_cur / 1024);
    }
    const char *name = strerrorname_np(error);
    fprintf(stderr, EXPERIMENT " cannot run here: io_uring, %s: %s (%d), %s.\n", action, name, error, reason);
    exit(69);
}

/** Opens a ring and returns its descriptor. */
static int set_up(struct io_uring_params *params) {
    const unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    *params = (struct io_uring_params){.flags = flags, .cq_entries = COMPLETIONS};
    const int fd = syscall(SYS_io_uring_setup, SUBMISSIONS, params);
    if (fd < 0) refuse_to_run("set up", errno);
    return fd;
}

static char *map_ring(int fd, size_t length, off_t offset) {
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    if (memory == MAP_FAILED) refuse_to_run("map the rings", errno);
    return memory;
}

static void lend_buffers(int fd) {
    ring.buffers = ring.is_6_12 ? BUFFERS : OLD_BUFFERS;
    ring.buffer_bytes = ring.is_6_12 ? BUFFER : OLD_BUFFER;
    received = map((size_t)ring.buffers * (ring.buffer_bytes + GAP));
    ring.lent = map(ring.buffers * sizeof(struct io_uring_buf));
    for (int buffer = 0; buffer < ring.buffers; buffer++) give_back(buffer);
    ring.lent->tail = ring.lent_tail;
    // The group is 0; the last value is `flags`, which an old <linux/io_uring.h> calls `pad`.
    const unsigned short flags = ring.is_6_12 ? PBUF_RING_INC : 0;
    struct io_uring_buf_reg lending = {(uintptr_t)ring.lent, ring.buffers, 0, flags, {0}};
    if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_PBUF_RING, &lending, 1) < 0) {
        refuse_to_run("lend the buffers", errno);
    }
}

static void open_ring(void) {
    struct io_uring_params params;
    const int fd = set_up(&params);
    const size_t cq_end = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    const size_t sq_end = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    char *rings = map_ring(fd, cq_end > sq_end ? cq_end : sq_end, IORING_OFF_SQ_RING);
    ring.sqes = (void *)map_ring(fd, params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring.cqes = (void *)(rings + params.cq_off.cqes);
    ring.sq_head = (void *)(rings + params.sq_off.head);
    ring.sq_tail = (void *)(rings + params.sq_off.tail);
    ring.sq_flags = (void *)(rings + params.sq_off.flags);
    ring.cq_head = (void *)(rings + params.cq_off.head);
    ring.cq_tail = (void *)(rings + params.cq_off.tail);
    unsigned *array = (void *)(rings + params.sq_off.array);
    for (unsigned i = 0; i < SUBMISSIONS; i++) array[i] = i; // submissions are taken in the order of their entries
    struct io_uring_rsrc_update update = {.offset = -1U, .data = fd};
    if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_RING_FDS, &update, 1) < 0) refuse_to_run("register it", errno);
    ring.index = update.offset;
    ring.is_6_12 = params.features & FEAT_MIN_TIMEOUT;
    lend_buffers(fd);
}

int main(int argc, char **argv) {
    struct options options = read_options(argc, argv);
    connections = map(DESCRIPTORS * sizeof *connections);
    open_ring();
    const int listener = listen_on(&options, 0); // io_uring waits on a blocking socket, and gives EAGAIN on another
    handle_signals(stop_soon);
    say_ready(&options);
    serve(listener);
    say_stopped();
}
