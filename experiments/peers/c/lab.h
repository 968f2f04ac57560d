// What the servers in C share: limits, counts, the end by a signal, the listener, the protocol and the command line.
// Define EXPERIMENT, the name, and include it first. It speaks the same minimal HTTP/1.1 as the experiments in TypeScript, byte for byte.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// ---- Limits ------------------------------------------------------------------------------------------------------

enum {
    BACKLOG = 4096,       // connections in the accept queue; the kernel cuts it to net.core.somaxconn
    MAX_HEAD = 8192,      // bytes of a request head; a longer one is answered 431
    INBOX = 16384,        // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
    PADDING = 8,          // bytes behind an input: the parser ends at a NUL there, and reads words of 8 bytes
    OUTBOX = 96 * 1024,   // bytes of answers to one INBOX: 1024 heads of 16 bytes, at most 66 bytes each
    MAX_ANSWER = 128,     // bytes of one answer at most
    MIN_KEPT = 256,       // bytes of the first buffer for a partial head; it doubles
    MAX_KEPT_BYTES = 64 << 20, // of all connections together, partial and unsent; beyond, a connection is dropped
    MAX_WORK_US = 100000,
    BURN_US = 25000,      // CPU that requests burn until the loop looks at signals, clocks and the listener again
    TURN_MS = 50,         // the longest wait: so late a signal is noticed that arrived just before the call
    HEAD_MS = 10000,      // from the first byte of a head to its last; then 408
    LINGER_MS = 1000,     // how long a connection may go on sending after its last answer was taken by the socket
    STOP_MS = 1000,       // how long what is in flight may take after SIGTERM
    QUIET_MS = 10,        // without an event, after SIGTERM, until nothing is taken to be in flight
    KEYS = 600,           // of counts of errors: an errno of Linux is below 200, a status is not
    KEPT_TOO_MUCH = 599,  // the key of connections dropped because of MAX_KEPT_BYTES
};

// A peer that vanished, or that does not read: the kernel ends its connection, without code in the loop.
enum {
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 10,
    KEEPALIVE_PROBES = 6,
    USER_TIMEOUT_MS = 30000, // bytes sent but not acknowledged, or a window that stays closed, for so long
};

// ---- Counts, and how it ends -------------------------------------------------------------------------------------

// With COUNTS_ARE_SHARED threads add to them: a locked instruction, some twenty cycles. Else it is a plain addition.
typedef _Atomic unsigned long counter;
static counter accepted, served, bytes_in, bytes_out, errors[KEYS];
static _Atomic long open_connections, kept_bytes;
static atomic_bool stopping, wants_stats;

#ifdef COUNTS_ARE_SHARED
#define ADD(counter, number) atomic_fetch_add_explicit(&(counter), number, memory_order_relaxed)
#else
#define GET(counter) atomic_load_explicit(&(counter), memory_order_relaxed)
#define ADD(counter, number) atomic_store_explicit(&(counter), GET(counter) + (number), memory_order_relaxed)
#endif

static inline void count_error(int status_or_errno) { ADD(errors[status_or_errno], 1); }

/** Ends with what was tried, the errno by name, and what to do about it. */
static inline void fail(const char *action, int error, const char *remedy) {
    fprintf(stderr, "Cannot %s: %s (%d), %s\n", action, strerrorname_np(error), error, remedy);
    exit(1);
}

/** Returns the result of a system call, or ends if it failed. */
static inline int must(int result, const char *action) {
    if (result < 0) fail(action, errno, "see the manual page of the call");
    return result;
}

/** Returns memory, or ends if there is none. Linux overcommits, so this happens at a limit (ulimit -v) only. */
static inline void *must_have(void *memory) {
    if (memory == NULL) fail("allocate memory", ENOMEM, "raise the limit of this process (ulimit -v)");
    return memory;
}

/** Maps zeroed memory of which only the pages that are written exist. */
static inline void *map(size_t length) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    return must_have(memory == MAP_FAILED ? NULL : memory);
}

static inline void stop_soon(int signal) {
    (void)signal;
    if (atomic_exchange(&stopping, true)) _exit(1); // the second signal does not wait
}

static inline void say_stats_soon(int signal) {
    (void)signal;
    atomic_store(&wants_stats, true);
}

/** Without SA_RESTART: a call that waits when a signal arrives returns EINTR, and the loop looks at `stopping`. */
static inline void handle_signals(void (*stop)(int)) {
    const struct sigaction stop_action = {.sa_handler = stop};
    const struct sigaction stats_action = {.sa_handler = say_stats_soon};
    must(sigaction(SIGTERM, &stop_action, NULL), "handle SIGTERM");
    must(sigaction(SIGINT, &stop_action, NULL), "handle SIGINT");
    must(sigaction(SIGUSR1, &stats_action, NULL), "handle SIGUSR1");
}

/** Monotonic milliseconds, to the tick of the kernel (1 to 10 ms): a read of shared memory, no system call. */
static inline long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); // fails for an unknown clock only
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// ---- Bytes kept for a connection -----------------------------------------------------------------------------------

/** Bytes that wait: the start of a head whose end is missing, or answers that the socket did not take. */
struct kept {
    char *bytes; // NULL as long as there are none
    int length, capacity;
};

static inline void release(struct kept *kept) {
    if (kept->bytes == NULL) return;
    free(kept->bytes);
    ADD(kept_bytes, -(long)kept->capacity);
    *kept = (struct kept){0};
}

/** Appends bytes. Returns false if all connections together would keep too much. */
static inline bool keep(struct kept *kept, const void *bytes, int length) {
    const int needed = kept->length + length;
    if (needed > kept->capacity) {
        int capacity = kept->capacity > MIN_KEPT ? kept->capacity : MIN_KEPT;
        while (capacity < needed) capacity *= 2;
        const long all = atomic_load_explicit(&kept_bytes, memory_order_relaxed) + capacity - kept->capacity;
        if (all > MAX_KEPT_BYTES) return false;
        kept->bytes = must_have(realloc(kept->bytes, capacity + PADDING));
        ADD(kept_bytes, (long)capacity - kept->capacity);
        kept->capacity = capacity;
    }
    memcpy(kept->bytes + kept->length, bytes, length);
    kept->length = needed;
    return true;
}

/** Removes bytes from the start. */
static inline void consume(struct kept *kept, int length) {
    kept->length -= length;
    if (kept->length == 0) return release(kept);
    memmove(kept->bytes, kept->bytes + length, kept->length);
}

// ---- Protocol: the minimal HTTP/1.1 that all experiments speak -----------------------------------------------------

/** What `parse_head` found: the status to answer, the CPU to burn before, and whether the connection stays. */
struct request {
    int status, work_us;
    bool keep_alive;
};

struct text {
    const char *bytes;
    size_t length;
};
#define TEXT(literal) ((struct text){literal, sizeof(literal) - 1})
#define ANSWER(line, fields, body) TEXT("HTTP/1.1 " line "\r\n" fields "\r\n" body)
#define EMPTY "Content-Length: 0\r\n"
#define CLOSE "Connection: close\r\n"

/** The last answer of a connection says that it is the last, so that no client sends another request behind it. */
static inline struct text answer_of(int status, bool keep_alive) {
    switch (status) {
    case 200:
        if (keep_alive) return ANSWER("200 OK", "Content-Length: 11\r\n", "Hello World");
        return ANSWER("200 OK", "Content-Length: 11\r\n" CLOSE, "Hello World");
    case 404:
        if (keep_alive) return ANSWER("404 Not Found", EMPTY, "");
        return ANSWER("404 Not Found", EMPTY CLOSE, "");
    case 405:
        if (keep_alive) return ANSWER("405 Method Not Allowed", "Allow: GET\r\n" EMPTY, "");
        return ANSWER("405 Method Not Allowed", "Allow: GET\r\n" EMPTY CLOSE, "");
    case 408: return ANSWER("408 Request Timeout", EMPTY CLOSE, "");
    case 431: return ANSWER("431 Request Header Fields Too Large", EMPTY CLOSE, "");
    case 505: return ANSWER("505 HTTP Version Not Supported", EMPTY CLOSE, "");
    default: return ANSWER("400 Bad Request", EMPTY CLOSE, "");
    }
}

// The characters of a method or a field name (RFC 9110, section 5.6.2). NUL is none: see `parse_head`.
static const bool IS_TOKEN[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
    ['%'] = true, ['&'] = true, ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
    ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true,
};

typedef const unsigned char *position;

static inline bool is_space(unsigned char byte) { return byte == ' ' || byte == '\t'; }
static inline bool is_digit(unsigned char byte) { return byte >= '0' && byte <= '9'; }
static inline bool is_name(position name, const char *wanted, size_t length) {
    return strncasecmp((const char *)name, wanted, length) == 0;
}

/** Whether one item of the list `Connection` is close. */
static inline bool says_close(position value, position end) {
    for (position comma; value <= end; value = comma + 1) {
        comma = memchr(value, ',', end - value);
        if (comma == NULL) comma = end;
        position first = value, last = comma;
        while (first < last && is_space(first[0])) first++;
        while (last > first && is_space(last[-1])) last--;
        if (last - first == 5 && is_name(first, "close", 5)) return true;
    }
    return false;
}

/** Reads the value of Content-Length, which must be digits. Returns false if it is not; a body closes the connection. */
static inline bool read_length(position value, position end, struct request *request) {
    while (value < end && is_space(value[0])) value++;
    while (end > value && is_space(end[-1])) end--;
    if (value == end) return false;
    for (; value < end; value++) {
        if (!is_digit(value[0])) return false;
        if (value[0] != '0') request->keep_alive = false; // bodies are never read, so behind one nothing can follow
    }
    return true;
}

/** Looks at a field whose name has the length of one that decides about the connection. Returns false if it is wrong. */
static inline bool read_field(position name, position colon, position end, struct request *request) {
    switch (colon - name) {
    case 10:
        if (is_name(name, "connection", 10) && says_close(colon + 1, end)) request->keep_alive = false;
        return true;
    case 14: return !is_name(name, "content-length", 14) || read_length(colon + 1, end, request);
    case 17:
        if (is_name(name, "transfer-encoding", 17)) request->keep_alive = false;
    }
    return true;
}

/** Skips a field value: to the first control character that is no tab. Takes 8 bytes at a time, as most are long. */
static inline position skip_value(position at) {
    const uint64_t ones = ~0ULL / 255; // 0x01 in each byte
    for (uint64_t word;; at += sizeof word) {
        memcpy(&word, at, sizeof word);
        if (((word - 0x20 * ones) & ~word & 0x80 * ones) == 0) continue; // no byte of it is below 0x20
        while (at[0] >= ' ' || at[0] == '\t') at++;
        return at;
    }
}

/** Walks the fields and the blank line, returns what is behind them; NULL if they are malformed or incomplete. */
static inline position parse_fields(position at, struct request *request) {
    while (at[0] != '\r') {
        position name = at;
        while (IS_TOKEN[at[0]]) at++;
        if (at == name || at[0] != ':') return NULL;
        position colon = at;
        at = skip_value(at);
        if (at[0] != '\r' || at[1] != '\n') return NULL;
        const unsigned char initial = name[0] | 0x20; // lower case
        if ((initial == 'c' || initial == 't') && !read_field(name, colon, at, request)) return NULL;
        at += 2;
    }
    return at[1] == '\n' ? at + 2 : NULL;
}

/** The path of a target in origin form (/a?b) or absolute form (http://host/a?b), without its query. */
static inline struct text path_of(struct text target) {
    const bool has_scheme = target.length > 7 && strncasecmp(target.bytes, "http://", 7) == 0;
    const char *authority = target.bytes + 7, *end = target.bytes + target.length;
    const size_t host = has_scheme ? strcspn(authority, "/? ") : 0; // behind a target stands a space
    if (host > 0) target = (struct text){authority + host, end - authority - host};
    const char *query = memchr(target.bytes, '?', target.length);
    if (query != NULL) target.length = query - target.bytes;
    return host > 0 && target.length == 0 ? TEXT("/") : target;
}

static inline int status_of(struct text method, struct text target, int *work_us) {
    if (method.length != 3 || memcmp(method.bytes, "GET", 3) != 0) return 405;
    const struct text path = path_of(target);
    if (path.length == 1 && path.bytes[0] == '/') return 200;
    if (path.length < 7 || path.length > 12 || memcmp(path.bytes, "/work/", 6) != 0) return 404;
    int us = 0;
    for (size_t i = 6; i < path.length; i++) {
        if (!is_digit(path.bytes[i])) return 404;
        us = us * 10 + path.bytes[i] - '0';
    }
    if (us > MAX_WORK_US) return 404;
    *work_us = us;
    return 200;
}

/** Takes a request line apart and returns what is behind it; NULL if it is malformed or incomplete. */
static inline position parse_request_line(position at, struct request *request) {
    struct text method = {(const char *)at, 0};
    while (IS_TOKEN[at[0]]) at++;
    method.length = (const char *)at - method.bytes;
    if (method.length == 0 || *at++ != ' ') return NULL;
    struct text target = {(const char *)at, 0};
    while (at[0] >= '!' && at[0] <= '~') at++;
    target.length = (const char *)at - target.bytes;
    if (target.length == 0 || strncmp((const char *)at, " HTTP/", 6) != 0) return NULL;
    at += 6;
    if (!is_digit(at[0]) || at[1] != '.' || !is_digit(at[2]) || at[3] != '\r' || at[4] != '\n') return NULL;
    if (at[0] != '1') *request = (struct request){.status = 505};
    else request->status = status_of(method, target, &request->work_us);
    if (at[2] == '0') request->keep_alive = false; // HTTP/1.0
    return at + 5;
}

/** Finds the blank line at the end of a head; NULL if it is not there. */
static inline position find_blank_line(position from, position end) {
    return memmem(from, end - from, "\r\n\r\n", 4);
}

/**
 * Parses the head at the start of the input in one pass, and returns its bytes; 0 as long as its end is missing.
 * Behind the input stand NULs: no part of a head may contain one, so every loop ends there without counting.
 * The first `searched` bytes are known to hold no blank line: a head that arrives byte by byte is parsed once.
 */
static inline size_t parse_head(position input, size_t length, size_t searched, struct request *request) {
    static const char ROOT[] = "GET / HTTP/1.1\r\n"; // the usual request line: two comparisons of 8 bytes
    const size_t root = sizeof ROOT - 1;
    const size_t empty_line = input[0] == '\r' && input[1] == '\n' ? 2 : 0; // some clients send one behind a body
    position start = input + empty_line, end = input + length;
    position from = searched > empty_line + 3 ? input + searched - 3 : start;
    if (searched == 0 || find_blank_line(from, end) != NULL) {
        *request = (struct request){.status = 200, .keep_alive = true};
        const bool is_root = length >= empty_line + root && memcmp(start, ROOT, root) == 0;
        position at = is_root ? start + root : parse_request_line(start, request);
        if (at != NULL) at = parse_fields(at, request);
        if (at != NULL && at - input <= MAX_HEAD) return at - input;
    }
    // Rare: it is incomplete, too long or malformed. What stands behind is refused too, as the connection closes.
    position blank = find_blank_line(from, end);
    const bool is_too_long = blank == NULL ? length >= MAX_HEAD : blank + 4 - input > MAX_HEAD;
    if (blank == NULL && !is_too_long) return 0;
    *request = (struct request){.status = is_too_long ? 431 : 400};
    return length;
}

static _Thread_local long burnt_us; // since the turn began

/** Whether the rest of a turn has to wait: enough was burnt, or a signal to stop has just come. */
static inline bool is_turn_over(bool is_draining) {
    return burnt_us > BURN_US || (!is_draining && atomic_load_explicit(&stopping, memory_order_relaxed));
}

/** Burns CPU time of this thread; time in which the thread does not run is not counted. */
static inline void burn(int us) {
    struct timespec now;
    long until_ns = 0;
    burnt_us += us;
    for (;;) {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); // fails for an unknown clock only
        const long at_ns = now.tv_sec * 1000000000 + now.tv_nsec;
        if (until_ns == 0) until_ns = at_ns + us * 1000L;
        if (at_ns >= until_ns) return;
    }
}

/** What `answer` did. */
struct answered {
    size_t taken;      // bytes of the input
    struct text out;   // the answers: a constant if it is a single one, else they stand in the outbox
    int status;        // of the last one
    bool keep_alive;
    bool is_cut_short; // more whole requests may follow in the input
};

/**
 * Answers the whole requests of the input, behind which there is room for PADDING bytes; the start of a head is left.
 * A request that burnt CPU is the last of this turn: others wait too, and so does a signal.
 */
static inline struct answered answer(char *input, size_t length, size_t searched, char *outbox) {
    struct answered done = {.keep_alive = true};
    unsigned long greetings = 0;
    char behind[PADDING]; // the next piece may stand there already
    memcpy(behind, input + length, PADDING);
    memset(input + length, 0, PADDING);
    while (done.taken < length && done.keep_alive && !done.is_cut_short) {
        struct request request;
        const size_t head = parse_head((position)input + done.taken, length - done.taken, searched, &request);
        if (head == 0) break;
        searched = 0;
        done.taken += head;
        if (request.work_us > 0) burn(request.work_us);
        const bool is_end = done.taken == length && atomic_load_explicit(&stopping, memory_order_relaxed);
        done.keep_alive = request.keep_alive && !is_end;
        const struct text text = answer_of(request.status, done.keep_alive);
        done.status = request.status;
        if (done.out.length == 0) done.out = text;
        else {
            if (done.out.bytes != outbox) memcpy(outbox, done.out.bytes, done.out.length); // it is no single one
            memcpy(outbox + done.out.length, text.bytes, text.length);
            done.out = (struct text){outbox, done.out.length + text.length};
        }
        if (request.status == 200) greetings++;
        else count_error(request.status);
        done.is_cut_short = request.work_us > 0 || done.out.length > OUTBOX - MAX_ANSWER;
    }
    memcpy(input + length, behind, PADDING);
    if (greetings > 0) ADD(served, greetings);
    return done;
}

// ---- Command line, listener, and the lines on stdout ---------------------------------------------------------------

struct options {
    const char *host;
    int port;
    struct sockaddr_in address;
};

static inline struct options read_options(int argc, char **argv) {
    static const struct option known[] = {
        {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},
        {0},
    };
    struct options options = {.host = "127.0.0.1", .port = 8080, .address.sin_family = AF_INET};
    bool right = true;
    for (int key; (key = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        char *end = "";
        if (key == 'h') options.host = optarg;
        else if (key == 'p') options.port = strtol(optarg, &end, 10);
        right = right && key != '?' && *end == '\0';
    }
    right = right && optind == argc && options.port >= 0 && options.port <= 65535;
    if (!right || inet_pton(AF_INET, options.host, &options.address.sin_addr) != 1) {
        fprintf(stderr, "Usage: " EXPERIMENT " [--port N] [--host ADDRESS]\n");
        exit(2);
    }
    options.address.sin_port = htons(options.port);
    return options;
}

static inline void set_option(int fd, int level, int option, int value, const char *action) {
    must(setsockopt(fd, level, option, &value, sizeof value), action);
}

/** Accepted sockets inherit these from the listener on Linux: a few calls here instead of a few for each connection. */
static inline void set_inherited_options(int listener) {
    set_option(listener, IPPROTO_TCP, TCP_NODELAY, 1, "set TCP_NODELAY");
    set_option(listener, SOL_SOCKET, SO_KEEPALIVE, 1, "set SO_KEEPALIVE");
    set_option(listener, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S, "set TCP_KEEPIDLE");
    set_option(listener, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S, "set TCP_KEEPINTVL");
    set_option(listener, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES, "set TCP_KEEPCNT");
    set_option(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS, "set TCP_USER_TIMEOUT");
}

/** Creates the listening socket. `type` says whether accept(2) blocks (0) or not (SOCK_NONBLOCK). */
static inline int listen_on(struct options *options, int type) {
    socklen_t length = sizeof options->address;
    const int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type, 0), "create a socket");
    set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1, "set SO_REUSEADDR");
    set_inherited_options(listener);
    if (bind(listener, (struct sockaddr *)&options->address, length) < 0) {
        char action[64];
        const int error = errno;
        snprintf(action, sizeof action, "bind %s:%d", options->host, options->port);
        fail(action, error, "choose another --port (0: any) or --host");
    }
    must(listen(listener, BACKLOG), "listen");
    must(getsockname(listener, (struct sockaddr *)&options->address, &length), "read the bound port");
    options->port = ntohs(options->address.sin_port);
    return listener;
}

/** Whether accept(2) failed by an error of the network that belongs to one connection: the next may be well. */
static inline bool is_of_one_connection(int error) {
    switch (error) {
    case EINTR: case ECONNABORTED: case EPROTO: case ENOPROTOOPT: case EOPNOTSUPP:
    case ENETDOWN: case ENETUNREACH: case EHOSTDOWN: case EHOSTUNREACH: case ENONET: return true;
    default: return false;
    }
}

static inline void say_ready(const struct options *options) {
    const char *line = "{\"event\":\"ready\",\"experiment\":\"" EXPERIMENT "\",\"port\":%d,\"pid\":%d}\n";
    printf(line, options->port, getpid());
    fflush(stdout); // where nobody reads it, nobody waits for it
    fprintf(stderr, "Listening. Try: curl -i http://%s:%d/\n", options->host, options->port);
}

/** Ends a line that was begun with the counts. Where it cannot be written, as on a full disk, that is counted. */
static inline void say_counts(void) {
    printf(",\"accepted\":%lu,\"served\":%lu", accepted, served);
    printf(",\"bytes_in\":%lu,\"bytes_out\":%lu,\"errors\":{", bytes_in, bytes_out);
    const char *separator = "";
    for (int key = 0; key < KEYS; key++) {
        if (errors[key] == 0) continue;
        if (key == KEPT_TOO_MUCH) printf("%s\"MAX_KEPT_BYTES\":%lu", separator, errors[key]);
        else if (key < 200) printf("%s\"%s\":%lu", separator, strerrorname_np(key), errors[key]);
        else printf("%s\"%d\":%lu", separator, key, errors[key]);
        separator = ",";
    }
    printf("}}\n");
    if (fflush(stdout) == 0) return;
    count_error(errno);
    __fpurge(stdout); // else it would keep the line, and write it before the next one
}

/** Prints the line that SIGUSR1 asks for. */
static inline void say_stats(void) {
    atomic_store(&wants_stats, false);
    printf("{\"event\":\"stats\",\"open\":%ld", open_connections);
    say_counts();
}

static inline void say_stopped(void) {
    printf("{\"event\":\"stopped\"");
    say_counts();
}
