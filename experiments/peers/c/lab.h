// What the servers in C share: limits, counts, the end by a signal, the listener, the protocol and the command line.
// Include it first. It speaks the same minimal HTTP/1.1 as the experiments in TypeScript, byte for byte.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// ---- Limits ------------------------------------------------------------------------------------------------------

enum {
    BACKLOG = 4096,       // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
    MAX_HEAD = 8192,      // bytes of a request head; a longer one is answered 431
    INBOX = 16384,        // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
    OUTBOX = 96 * 1024,   // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each
    MAX_WORK_US = 100000,
    TURN_MS = 50,         // the longest wait: so late may a signal be heard that came just before the call
    LINGER_MS = 1000,     // how long a connection that was answered for the last time may go on sending
    STOP_MS = 1000,       // how long what is in flight may take after SIGTERM
    KEYS = 512,           // of counts of errors: an errno of Linux is below 200, a status is not
};

// ---- Counts, and how it ends -------------------------------------------------------------------------------------

// Threads may share them. One addition for the answers of one read is some twenty cycles, nothing beside the recv(2).
static _Atomic unsigned long accepted, served, errors[KEYS];
static atomic_bool stopping;

static inline void count_error(int status_or_errno) {
    atomic_fetch_add_explicit(&errors[status_or_errno], 1, memory_order_relaxed);
}

/** Ends with what was tried, the errno by name, and what to do about it. */
static inline void fail(const char *action, int error, const char *remedy) {
    fprintf(stderr, "Cannot %s: %s (%d), %s\n", action, strerrorname_np(error), error, remedy);
    exit(1);
}

/** Passes the result of a system call on; ends if it failed. */
static inline int must(int result, const char *action) {
    if (result < 0) fail(action, errno, "see the manual page of the call");
    return result;
}

/** Passes memory on; ends if there is none. Linux gives it on credit, so this is seen at a limit (ulimit -v) only. */
static inline void *must_have(void *memory) {
    if (memory == NULL) fail("allocate memory", ENOMEM, "raise the limit of this process (ulimit -v)");
    return memory;
}

static inline void stop_soon(int signal) {
    (void)signal;
    if (atomic_exchange(&stopping, true)) _exit(1); // the second signal does not wait
}

/** Without SA_RESTART: a call that waits when a signal comes returns with EINTR, and the loop looks at `stopping`. */
static inline void hear_signals(void (*handler)(int)) {
    const struct sigaction action = {.sa_handler = handler};
    must(sigaction(SIGTERM, &action, NULL), "handle SIGTERM");
    must(sigaction(SIGINT, &action, NULL), "handle SIGINT");
}

/** Milliseconds since some moment, to the tick of the kernel (1 to 10 ms): a read of shared memory, no system call. */
static inline long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); // fails for an unknown clock only
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
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

static inline struct text answer_of(int status) {
    switch (status) {
    case 200: return TEXT("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World");
    case 404: return TEXT("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    case 405: return TEXT("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n");
    case 431:
        return TEXT("HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    default: return TEXT("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}

// The characters of a method or a field name (RFC 9110, section 5.6.2). NUL is none: see `parse_head`.
static const bool IS_TOKEN[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
    ['%'] = true, ['&'] = true, ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
    ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true,
};

static inline bool is_space(unsigned char byte) { return byte == ' ' || byte == '\t'; }

/** Tells whether an item, with white space around it, is the word, in any case. */
static inline bool is_word(const unsigned char *item, const unsigned char *end, const char *word) {
    while (item < end && is_space(item[0])) item++;
    while (end > item && is_space(end[-1])) end--;
    const size_t length = strlen(word);
    return (size_t)(end - item) == length && strncasecmp((const char *)item, word, length) == 0;
}

/** Tells whether a field ends the connection. Bodies are never read, so behind one nothing can follow. */
static inline bool ends_connection(const unsigned char *name, const unsigned char *colon, const unsigned char *end) {
    const unsigned char *value = colon + 1;
    if (is_word(name, colon, "Transfer-Encoding")) return true;
    if (is_word(name, colon, "Content-Length")) return !is_word(value, end, "0");
    if (!is_word(name, colon, "Connection")) return false;
    for (const unsigned char *comma; value <= end; value = comma + 1) {
        comma = memchr(value, ',', end - value);
        if (comma == NULL) comma = end;
        if (is_word(value, comma, "close")) return true;
    }
    return false;
}

/** Walks the fields and the blank line, returns what is behind them; NULL if they are malformed or not all there. */
static inline const unsigned char *parse_fields(const unsigned char *at, struct request *request) {
    while (at[0] != '\r') {
        const unsigned char *name = at;
        while (IS_TOKEN[at[0]]) at++;
        if (at == name || at[0] != ':') return NULL;
        const unsigned char *colon = at;
        while (at[0] >= ' ' || at[0] == '\t') at++;
        if (at[0] != '\r' || at[1] != '\n') return NULL;
        const unsigned char initial = name[0] | 0x20; // lower case
        if ((initial == 'c' || initial == 't') && ends_connection(name, colon, at)) request->keep_alive = false;
        at += 2;
    }
    return at[1] == '\n' ? at + 2 : NULL;
}

static inline int status_of(struct text method, struct text target, int *work_us) {
    if (method.length != 3 || memcmp(method.bytes, "GET", 3) != 0) return 405;
    if (target.length == 1 && target.bytes[0] == '/') return 200;
    if (target.length < 7 || target.length > 12 || memcmp(target.bytes, "/work/", 6) != 0) return 404;
    int us = 0;
    for (size_t i = 6; i < target.length; i++) {
        if (target.bytes[i] < '0' || target.bytes[i] > '9') return 404;
        us = us * 10 + target.bytes[i] - '0';
    }
    if (us > MAX_WORK_US) return 404;
    *work_us = us;
    return 200;
}

/** Takes a request line apart and returns what is behind it; NULL if it is malformed or not all there. */
static inline const unsigned char *parse_request_line(const unsigned char *at, struct request *request) {
    struct text method = {(const char *)at, 0};
    while (IS_TOKEN[at[0]]) at++;
    method.length = (const char *)at - method.bytes;
    if (method.length == 0 || *at++ != ' ') return NULL;
    struct text target = {(const char *)at, 0};
    while (at[0] >= '!' && at[0] <= '~') at++;
    target.length = (const char *)at - target.bytes;
    if (target.length == 0 || strncmp((const char *)at, " HTTP/1.", 8) != 0) return NULL;
    at += 8;
    if ((at[0] != '0' && at[0] != '1') || at[1] != '\r' || at[2] != '\n') return NULL;
    if (at[0] == '0') request->keep_alive = false;
    request->status = status_of(method, target, &request->work_us);
    return at + 3;
}

/**
 * Parses the head at the start of the input in one pass, and returns its bytes; 0 as long as its end is missing.
 * Behind the input stands a NUL: no part of a head may contain one, so every loop ends there without counting.
 */
static inline size_t parse_head(const unsigned char *input, size_t length, struct request *request) {
    static const char ROOT[] = "GET / HTTP/1.1\r\n"; // what nearly everybody asks for: two comparisons of 8 bytes
    *request = (struct request){.status = 200, .keep_alive = true};
    const bool is_root = length >= sizeof ROOT - 1 && memcmp(input, ROOT, sizeof ROOT - 1) == 0;
    const unsigned char *end = is_root ? input + sizeof ROOT - 1 : parse_request_line(input, request);
    if (end != NULL) end = parse_fields(end, request);
    if (end != NULL && end - input <= MAX_HEAD) return end - input;
    // Rare: it is not all there, too long or malformed. What else is there is refused too, as the connection closes.
    const unsigned char *blank = memmem(input, length, "\r\n\r\n", 4);
    const bool too_long = blank == NULL ? length >= MAX_HEAD : blank + 4 - input > MAX_HEAD;
    if (blank == NULL && !too_long) return 0;
    *request = (struct request){.status = too_long ? 431 : 400};
    return length;
}

/** Burns CPU time of this thread; time in which the thread does not run is not counted. */
static inline void burn(int us) {
    struct timespec now;
    long until = 0;
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); // fails for an unknown clock only
        const long at = now.tv_sec * 1000000000 + now.tv_nsec;
        if (until == 0) until = at + us * 1000L;
        if (at >= until) return;
    } while (true);
}

/** What `answer` did: bytes taken from the input, bytes put into the outbox, and whether the connection stays. */
struct answered {
    size_t taken, out;
    bool keep_alive;
};

/** Answers every whole request of the input, behind which there is room for a byte, and the start of a head is left. */
static inline struct answered answer(unsigned char *input, size_t length, char *outbox) {
    struct answered done = {.keep_alive = true};
    unsigned long greetings = 0;
    input[length] = 0;
    while (done.taken < length && done.keep_alive) {
        struct request request;
        const size_t head = parse_head(input + done.taken, length - done.taken, &request);
        if (head == 0) break;
        done.taken += head;
        if (request.work_us > 0) burn(request.work_us);
        const struct text text = answer_of(request.status);
        memcpy(outbox + done.out, text.bytes, text.length);
        done.out += text.length;
        if (request.status == 200) greetings++;
        else count_error(request.status);
        done.keep_alive = request.keep_alive && !atomic_load_explicit(&stopping, memory_order_relaxed);
    }
    if (greetings > 0) atomic_fetch_add_explicit(&served, greetings, memory_order_relaxed);
    return done;
}

// ---- Command line, listener, and the two lines on stdout -----------------------------------------------------------

struct options {
    const char *host;
    int port;
    struct sockaddr_in address;
};

static inline struct options read_options(const char *experiment, int argc, char **argv) {
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
        fprintf(stderr, "Usage: %s [--port N] [--host ADDRESS]\n", experiment);
        exit(2);
    }
    options.address.sin_port = htons(options.port);
    return options;
}

/** Creates the listening socket. `type` says whether accept(2) blocks (0) or not (SOCK_NONBLOCK). */
static inline int listen_on(struct options *options, int type) {
    const int one = 1;
    socklen_t length = sizeof options->address;
    const int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type, 0), "create a socket");
    must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), "set SO_REUSEADDR");
    // Accepted sockets inherit TCP_NODELAY from the listener on Linux: one call instead of one for each connection.
    must(setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "set TCP_NODELAY");
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

static inline void say_ready(const char *experiment, const struct options *options) {
    printf("{\"event\":\"ready\",\"experiment\":\"%s\",\"port\":%d,\"pid\":%d}\n", experiment, options->port, getpid());
    fflush(stdout); // where nobody reads it, nobody waits for it
    fprintf(stderr, "Listening. Try: curl -i http://%s:%d/\n", options->host, options->port);
}

static inline void say_stopped(void) {
    printf("{\"event\":\"stopped\",\"accepted\":%lu,\"served\":%lu,\"errors\":{", accepted, served);
    const char *separator = "";
    for (int key = 0; key < KEYS; key++) {
        if (errors[key] == 0) continue;
        if (key < 200) printf("%s\"%s\":%lu", separator, strerrorname_np(key), errors[key]);
        else printf("%s\"%d\":%lu", separator, key, errors[key]);
        separator = ",";
    }
    printf("}}\n");
}
