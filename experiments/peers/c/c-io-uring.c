// io_uring through liburing, as in experiments/io-uring.ts: one thread hands the work over and collects the results.
#include "lab.h"
#include <fcntl.h>
#include <liburing.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// Newer than some <linux/io_uring.h>. The kernel refuses with EINVAL what it does not know: see `open_ring`.
enum {
    SETUP_NO_SQARRAY = 1 << 16, // 6.6: submissions are taken in the order of their places
    PBUF_RING_INC = 2,          // 6.12: a buffer is filled piece by piece, by one receive after the other
    CQE_F_BUF_MORE = 1 << 4,    // 6.12: and more pieces of it will come
};

enum {
    DESCRIPTORS = 1 << 20, // size of the table; fs.nr_open allows as many. Only the pages in use are memory
    SUBMISSIONS = 1024,    // a power of two; if they are all taken, they are submitted at once
    COMPLETIONS = 4096,    // a power of two; a full queue loses nothing, but ends multishots
    BUFFERS = 64,          // for all that is received (a power of two); none free: ENOBUFS, and it is armed again
    BUFFER = 16384,        // bytes of each
    STRIDE = BUFFER + 64,  // from one to the next: at the same offset in a page they would fall into one set of a cache
    MAX_CARRIED = 16384,   // bytes of requests that wait; then no more is received until they are answered
    MAX_WAITED_FOR = 256,  // completions that one call may wait for
    BURN_US = 25000,       // CPU that requests burn until the loop looks at signals, clocks and the listener again
};

// user_data: the descriptor, above it the kind, and above that the status of a quick answer.
enum kind { ACCEPT, RECEIVE, SEND, QUICK, CONTINUE, CANCEL };

// ---- Connection: an entry of the table, and bytes of its own only while there are any ------------------------------

//   OPEN: receiving ──► answering ──► one answer: sent from where it stands, and nothing is heard of it if it is taken
//            ▲  │             └─────► several, or the last: SENDING, and what is received meanwhile is carried
//            │  └──► end of input      │
//            └──────── completed ◄─────┴──► of the last: shutdown, LINGERING ──► end of input, or late: closed
enum phase { CLOSED, OPEN, CLOSING, LINGERING };
enum {
    RECEIVING = 1, SENDING = 2, CONTINUING = 4, CANCELLING = 8, // in flight; it is closed only when nothing is
    UNREAD = 16, // carried bytes may be whole requests
    ENDED = 32,  // nothing more will come
    IN_FLIGHT = RECEIVING | SENDING | CONTINUING | CANCELLING,
};

/** A queue in the order of time: a ring that starts and ends at itself. */
struct link {
    struct link *previous, *next;
};

struct connection {
    struct link link;    // in one queue at most
    struct kept carried; // the start of a head, or requests that wait for a send to complete
    struct kept sending; // a copy of the answers in flight; not of a single one
    long due_ms;         // when the head must be complete, or the lingering ends
    int searched;        // bytes of `carried` that hold no end of a head; 0 if that is not known
    int sending_length;
    unsigned quick_turn; // the turn of the last quick answer
    unsigned char phase, state;
};

static struct connection *connections; // by descriptor
static struct link heads = {&heads, &heads};       // a head is incomplete
static struct link lingers = {&lingers, &lingers};
static int sends;           // in flight, of which a completion will come
static char outbox[OUTBOX]; // shared by all: an idle connection owns no buffer
static bool is_paused;      // no descriptor or memory was left, so none is accepted for a while

static struct io_uring ring;
static struct io_uring_buf_ring *lent; // the buffers that the kernel may fill
static char *buffers;
static int filled[BUFFERS]; // bytes of each that were received before
static int given_back;      // buffers used up in this turn
static unsigned turn = 1;   // of the loop, while all completions of the turn before were handled

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

// ---- Submissions: each takes an entry of the queue ------------------------------------------------------------------

/** One system call: submissions out, and if completions are waited for, completions in. Returns 0 or an errno. */
static int enter(unsigned wait_for, int wait_ms) {
    const struct __kernel_timespec time = {.tv_nsec = wait_ms * 1000000L};
    const struct io_uring_getevents_arg wait = {.ts = (uintptr_t)&time};
    const unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | ring_flags;
    const unsigned ready = ring.sq.sqe_tail - *ring.sq.khead;
    io_uring_smp_store_release(ring.sq.ktail, ring.sq.sqe_tail);
    const long result = syscall(SYS_io_uring_enter, ring.enter_ring_fd, ready, wait_for, flags, &wait, sizeof wait);
    return result < 0 ? errno : 0;
}
