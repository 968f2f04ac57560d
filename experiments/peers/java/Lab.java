import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import jdk.net.ExtendedSocketOptions;
import sun.misc.Signal;

/** What the Java servers share: limits, counts, the end by a signal, the protocol, and the lines on stdout. */
final class Lab {
    static final int BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
    static final int MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
    static final int INBOX = 16384; // bytes taken by one read, more than MAX_HEAD so that an oversized head is seen as such
    static final int OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each
    static final long MAX_KEPT_BYTES = 64 << 20; // of all connections, partial heads and unsent answers; beyond, one is dropped
    static final int MAX_WORK_US = 100_000;
    static final int TURN_MS = 50; // the longest wait, and the pause where no descriptor is left
    static final int HEAD_MS = 10_000; // from the first byte of a head to its last
    static final int LINGER_MS = 1000; // how long a peer may go on sending after the socket took the last answer
    static final int STOP_MS = 1000; // how long what is in flight may take after SIGTERM
    static final int QUIET_MS = 10; // after SIGTERM: between two looks at what is in flight
    static final int PROGRESS_MS = 30_000; // how long a peer may take nothing. Java knows no TCP_USER_TIMEOUT
    static final int KEEPALIVE_IDLE_S = 60, KEEPALIVE_INTERVAL_S = 10, KEEPALIVE_PROBES = 6; // probes of a silent peer

    private Lab() {}

    // ---- Counts, and how it ends -----------------------------------------------------------------------------------

    static final AtomicLong accepted = new AtomicLong(), closed = new AtomicLong(), served = new AtomicLong();
    static final AtomicLong bytesIn = new AtomicLong(), bytesOut = new AtomicLong(), keptBytes = new AtomicLong();
    static AtomicLong delivered; // of a server that pushes; null: of one that answers
    static volatile boolean stopping;
    private static final Map<String, Long> errors = new ConcurrentSkipListMap<>();

    static long nowMs() {
        return System.nanoTime() / 1_000_000; // CLOCK_MONOTONIC, read from shared memory: no system call
    }

    /** All connections together would keep too many bytes. */
    static final class KeptException extends IOException {
        private static final long serialVersionUID = 1;

        KeptException() {
            super("MAX_KEPT_BYTES");
        }
    }

    /** Keeps more or fewer bytes for a connection. */
    static void keep(long change) throws KeptException {
        if (change != 0 && keptBytes.addAndGet(change) > MAX_KEPT_BYTES && change > 0) throw new KeptException();
    }

    /** Forgets what a server has counted while it asked itself, so that its classes were loaded. */
    static void forgetCounts() {
        for (AtomicLong count : new AtomicLong[] {accepted, closed, served, bytesIn, bytesOut}) count.set(0);
    }

    static void countStatus(int status) {
        if (status == 200) served.getAndIncrement();
        else countError(Integer.toString(status));
    }

    /** An error of the kernel. Java passes on only what strerror(3) says of it, in the language of the locale. */
    private record Errno(String message, String name, int number) {}

    private static final Errno[] ERRNOS = {
        new Errno("Cannot allocate memory", "ENOMEM", 12),
        new Errno("Permission denied", "EACCES", 13),
        new Errno("Invalid argument", "EINVAL", 22),
        new Errno("Too many open files in system", "ENFILE", 23),
        new Errno("Too many open files", "EMFILE", 24),
        new Errno("File too large", "EFBIG", 27),
        new Errno("No space left on device", "ENOSPC", 28),
        new Errno("Broken pipe", "EPIPE", 32),
        new Errno("Address already in use", "EADDRINUSE", 98),
        new Errno("Cannot assign requested address", "EADDRNOTAVAIL", 99),
        new Errno("Software caused connection abort", "ECONNABORTED", 103),
        new Errno("Connection reset", "ECONNRESET", 104),
        new Errno("No buffer space available", "ENOBUFS", 105),
        new Errno("Connection timed out", "ETIMEDOUT", 110),
    };

    private static Errno errnoOf(Throwable error) {
        String message = String.valueOf(error.getMessage());
        for (Errno errno : ERRNOS) if (message.contains(errno.message)) return errno;
        if (error instanceof KeptException) return new Errno(message, message, 0);
        return new Errno(message, error.getClass().getSimpleName(), 0);
    }

    /** Errors of one connection, or of the network it comes from, which accept(2) passes on, by their texts. */
    private static final List<String> PASSING = List.of(
        "Software caused connection abort", "Network is down", "Protocol error", "Protocol not available",
        "Host is down", "Machine is not on the network", "No route to host", "Operation not supported",
        "Network is unreachable");

    static boolean isPassing(IOException error) {
        String message = String.valueOf(error.getMessage());
        return PASSING.stream().anyMatch(message::contains);
    }

    static void countError(Throwable error) {
        countError(errnoOf(error).name);
    }

    static void countError(String key) {
        errors.merge(key, 1L, Long::sum);
    }

    /** The machine waits 300 ms with its end for threads that are in a system call. What gets them out of it may be set here. */
    static volatile Runnable beforeHalt = () -> {};

    /** Calls `stop` at the first SIGTERM or SIGINT, in a thread of its own; the second one does not wait. */
    static void onSignal(Runnable stop) {
        for (String name : new String[] {"TERM", "INT"}) {
            Signal.handle(new Signal(name), signal -> {
                synchronized (errors) {
                    if (stopping) {
                        beforeHalt.run();
                        Runtime.getRuntime().halt(1);
                    }
                    stopping = true;
                }
                stop.run();
            });
        }
        Signal.handle(new Signal("USR1"), signal -> sayCounts("stats", "\"open\":" + (accepted.get() - closed.get()) + ","));
    }

    private static boolean hasEnded; // nothing comes behind the last line, also if another thread has heard SIGUSR1

    private static synchronized void sayCounts(String event, String more) {
        if (hasEnded) return;
        hasEnded = event.equals("stopped");
        String names = errors.toString().replaceAll("([\\w]+)=", "\"$1\":").replace(" ", ""); // {a=1, b=2}
        say("{\"event\":\"" + event + "\"," + more + "\"accepted\":" + accepted + ",\"served\":" + served
            + (delivered == null ? "" : ",\"delivered\":" + delivered) + ",\"bytes_in\":" + bytesIn + ",\"bytes_out\":" + bytesOut + ",\"errors\":" + names + "}");
    }

    /** Prints the last line and ends, whatever threads there are: without this SIGTERM would give exit code 143. */
    static void sayStoppedAndExit() {
        sayCounts("stopped", "");
        Runtime.getRuntime().halt(0);
    }

    // ---- Protocol: the minimal HTTP/1.1 that all experiments speak -------------------------------------------------

    /** The bytes of an answer, in the heap and outside of it, where the kernel takes them from. */
    static final class Answer {
        final byte[] bytes;
        final ByteBuffer direct;

        private Answer(String text) {
            bytes = bytes(text);
            direct = ByteBuffer.allocateDirect(bytes.length).put(bytes).flip();
        }
    }

    private static final Map<Integer, Answer> KEPT = new HashMap<>(), LAST = new HashMap<>();
    private static final Answer HELLO, LAST_HELLO;

    static {
        String hello = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
        HELLO = new Answer(hello);
        LAST_HELLO = new Answer(hello.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        for (String line : new String[] {
            "400 Bad Request",
            "404 Not Found",
            "405 Method Not Allowed\r\nAllow: GET",
            "408 Request Timeout",
            "431 Request Header Fields Too Large",
            "505 HTTP Version Not Supported",
        }) {
            int status = Integer.parseInt(line.substring(0, 3));
            String start = "HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n";
            KEPT.put(status, new Answer(start + "\r\n"));
            LAST.put(status, new Answer(start + "Connection: close\r\n\r\n"));
        }
    }

    static Answer answerTo(int status, boolean isLast) {
        if (status == 200) return isLast ? LAST_HELLO : HELLO;
        return (isLast ? LAST : KEPT).get(status);
    }

    private static final byte[] ROOT = bytes("GET / HTTP/1.1\r\n"); // recognised as a whole, with vector instructions
    private static final byte[] CONNECTION = bytes("connection"), CLOSE = bytes("close");
    private static final byte[] CONTENT_LENGTH = bytes("content-length"), TRANSFER_ENCODING = bytes("transfer-encoding");
    private static final Pattern REQUEST_LINE = // any other request line is worth a regular expression
        Pattern.compile("([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\\.([0-9])\r\n");
    private static final Pattern ABSOLUTE = Pattern.compile("http://[^/?]+", Pattern.CASE_INSENSITIVE);
    private static final boolean[] IS_TOKEN = new boolean[256]; // of a method or a field name (RFC 9110, section 5.6.2)
    private static final int INCOMPLETE = 0, MALFORMED = 0; // no head and no line ends at 0

    static {
        for (char c = '!'; c <= '~'; c++) IS_TOKEN[c] = "\"(),/:;<=>?@[\\]{}".indexOf(c) < 0;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }

    /** The microseconds of CPU to burn before the answer; -1 where there is nothing at this target. */
    static int workUs(String target) {
        Matcher absolute = ABSOLUTE.matcher(target);
        if (absolute.lookingAt()) { // RFC 9112, section 3.2.2
            target = target.substring(absolute.end());
            if (!target.startsWith("/")) target = "/" + target;
        }
        int query = target.indexOf('?');
        String path = query < 0 ? target : target.substring(0, query);
        if (path.equals("/")) return 0;
        String digits = path.startsWith("/work/") ? path.substring("/work/".length()) : "";
        if (digits.isEmpty() || digits.length() > 6) return -1;
        for (int i = 0; i < digits.length(); i++) if (digits.charAt(i) < '0' || digits.charAt(i) > '9') return -1;
        int us = Integer.parseInt(digits);
        return us <= MAX_WORK_US ? us : -1;
    }

    /** Parses and answers what one connection sends, or one after the other on one thread. Not for several threads. */
    static final class Answerer {
        /** The last of the answers, sent from where it stands if there is no other; null: no request was whole. */
        Answer last;
        /** How many bytes of other answers stand before it, in the outbox. */
        int before;
        /** Whether the connection is to be closed behind them. */
        boolean isLast;
        /** Whether the next request asks for work. */
        boolean hasWork;

        private final Consumer<byte[]> outbox;
        private int status, workUs;
        private boolean keepAlive;

        Answerer(Consumer<byte[]> outbox) {
            this.outbox = outbox;
        }

        /**
         * Answers the whole requests from `at` on, up to the second one that asks for work: then the turn of its
         * connection is over. Without `mayWork` it stops before the first of them. `input` has room for one byte behind
         * `length`. Returns where it has stopped.
         */
        int answer(byte[] input, int at, int length, boolean mayWork) {
            last = null;
            before = 0;
            isLast = false;
            hasWork = false;
            while (at < length && !isLast) {
                int head = parseHead(input, at, length);
                if (head == INCOMPLETE) break;
                if (workUs > 0) {
                    hasWork = !mayWork;
                    if (hasWork) break;
                    burn(workUs);
                    mayWork = false;
                }
                at += head;
                isLast = !keepAlive || (stopping && at == length);
                if (last != null) {
                    outbox.accept(last.bytes);
                    before += last.bytes.length;
                }
                last = answerTo(status, isLast);
                countStatus(status);
            }
            return at;
        }

        /** Parses the head that starts at `from` and returns its bytes; INCOMPLETE as long as its end is missing. */
        private int parseHead(byte[] in, int from, int to) {
            in[to] = 0; // no byte of a head is NUL, so every loop below ends here without a look at `to`
            status = 200;
            workUs = 0;
            keepAlive = true;
            boolean hasEmptyLine = to - from >= 2 && in[from] == '\r' && in[from + 1] == '\n'; // RFC 9112, section 2.2
            int start = hasEmptyLine ? from + 2 : from, at = start + ROOT.length;
            if (at > to || !Arrays.equals(in, start, at, ROOT, 0, ROOT.length)) at = parseRequestLine(in, start, to);
            if (at != MALFORMED) at = parseFields(in, at);
            if (at != MALFORMED && at - from <= MAX_HEAD) return at - from;
            // Rare: its end has not come, it is too long, or malformed. Then all input is refused, as the connection closes.
            int blank = blankLineEnd(in, start, to);
            boolean isTooLong = blank == 0 ? to - from >= MAX_HEAD : blank - from > MAX_HEAD;
            if (blank == 0 && !isTooLong) return INCOMPLETE;
            status = isTooLong ? 431 : 400;
            workUs = 0;
            keepAlive = false;
            return to - from;
        }

        /** Returns the end of the first blank line, 0 if there is none. */
        private static int blankLineEnd(byte[] in, int from, int to) {
            for (int at = from + 3; at < to; at++) {
                if (in[at] == '\n' && in[at - 1] == '\r' && in[at - 2] == '\n' && in[at - 3] == '\r') return at + 1;
            }
            return 0;
        }

        /** Parses any request line but the usual one, and returns where the next line starts. */
        private int parseRequestLine(byte[] in, int from, int to) {
            int end = from;
            while (end < to && in[end] != '\n') end++;
            if (end == to) return MALFORMED;
            Matcher line = REQUEST_LINE.matcher(new String(in, from, ++end - from, StandardCharsets.ISO_8859_1));
            if (!line.matches()) return MALFORMED;
            boolean isOne = line.group(3).equals("1");
            int us = workUs(line.group(2));
            status = !isOne ? 505 : !line.group(1).equals("GET") ? 405 : us < 0 ? 404 : 200;
            if (status == 200) workUs = us;
            keepAlive = isOne && !line.group(4).equals("0");
            return end;
        }

        /** Walks the fields and the blank line, and returns its end. Only what decides whether the connection stays is read. */
        private int parseFields(byte[] in, int at) {
            while (in[at] != '\r') {
                int name = at;
                while (IS_TOKEN[in[at] & 255]) at++;
                int colon = at;
                if (colon == name || in[colon] != ':') return MALFORMED;
                do at++; while ((in[at] & 255) >= ' ' || in[at] == '\t');
                if (in[at] != '\r' || in[at + 1] != '\n') return MALFORMED;
                int length = colon - name;
                if (length == CONNECTION.length && isWord(in, name, CONNECTION)) {
                    if (hasClose(in, colon + 1, at)) keepAlive = false;
                } else if (length == CONTENT_LENGTH.length && isWord(in, name, CONTENT_LENGTH)) {
                    if (!isNumber(in, colon + 1, at)) return MALFORMED;
                } else if (length == TRANSFER_ENCODING.length && isWord(in, name, TRANSFER_ENCODING)) {
                    keepAlive = false; // bodies are never read, so behind one no request can follow
                }
                at += 2;
            }
            return in[at + 1] == '\n' ? at + 2 : MALFORMED;
        }

        /** Whether a token is the word, in any case: bit 0x20 tells a small letter from a capital. */
        private static boolean isWord(byte[] in, int at, byte[] word) {
            for (int i = 0; i < word.length; i++) if ((in[at + i] | 0x20) != word[i]) return false;
            return true;
        }

        private static boolean isSpace(byte c) {
            return c == ' ' || c == '\t';
        }

        /** Whether `close` is an item of a list. */
        private static boolean hasClose(byte[] in, int from, int to) {
            for (int at = from; at < to; at++) {
                while (isSpace(in[at])) at++;
                int item = at;
                while (at < to && in[at] != ',') at++;
                int end = at;
                while (end > item && isSpace(in[end - 1])) end--;
                if (end - item == CLOSE.length && isWord(in, item, CLOSE)) return true;
            }
            return false;
        }

        /** Whether a Content-Length is digits and nothing else. If it is not zero there is a body, and nothing follows. */
        private boolean isNumber(byte[] in, int from, int to) {
            while (isSpace(in[from])) from++;
            while (to > from && isSpace(in[to - 1])) to--;
            for (int at = from; at < to; at++) {
                if (in[at] < '0' || in[at] > '9') return false;
                if (in[at] != '0') keepAlive = false;
            }
            return to > from;
        }
    }

    /** The clock of `burn`: its classes are loaded with the first /work. */
    private static final class Clock {
        static final ThreadMXBean threads = ManagementFactory.getThreadMXBean();
    }

    /** Burns CPU time of this thread, which is none of the virtual ones: those have no clock of their own. */
    static void burnHere(int us) {
        long until = Clock.threads.getCurrentThreadCpuTime() + us * 1000L;
        while (Clock.threads.getCurrentThreadCpuTime() < until);
    }

    /** Where work is done; set before the first connection if not by the thread that answers. */
    static volatile Consumer<Integer> worker = Lab::burnHere;

    private static void burn(int us) {
        worker.accept(us);
    }

    // ---- Options of sockets ------------------------------------------------------------------------------------------

    /** Sets what accepted sockets inherit on Linux, and what a listener of Java takes. */
    static void setOptions(ServerSocketChannel listener) throws IOException {
        listener.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
        listener.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, KEEPALIVE_INTERVAL_S);
        listener.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, KEEPALIVE_PROBES);
    }

    // ---- Command line, and the lines on stdout ---------------------------------------------------------------------

    /**
     * Lets bytes go once through a socket. Java loads a class when it is first used, and that of sockets opens two
     * descriptors of its own then: this has to be over before there are none left.
     */
    static void warmUp() throws IOException {
        InetSocketAddress any = new InetSocketAddress("127.0.0.1", 0);
        try (ServerSocketChannel listener = ServerSocketChannel.open().bind(any);
                SocketChannel client = SocketChannel.open(listener.getLocalAddress());
                SocketChannel server = listener.accept()) {
            client.write(ByteBuffer.wrap(ROOT));
            server.read(ByteBuffer.allocate(ROOT.length));
        }
    }

    /** The address to listen on, from --host and --port; ends with the usage if there is anything else. */
    static InetSocketAddress readAddress(String experiment, String[] args) {
        String host = "127.0.0.1";
        int port = 8080;
        boolean right = args.length % 2 == 0;
        for (int i = 0; right && i < args.length; i += 2) {
            if (args[i].equals("--host")) host = args[i + 1];
            else if (args[i].equals("--port") && args[i + 1].matches("\\d{1,5}")) port = Integer.parseInt(args[i + 1]);
            else right = false;
        }
        if (right && port <= 65535) return new InetSocketAddress(host, port);
        System.err.println("Usage: " + experiment + " [--port N] [--host ADDRESS]");
        System.exit(2);
        throw new AssertionError(); // for the compiler, which does not know that exit does not return
    }

    static void cannotBind(InetSocketAddress address, Throwable error) {
        Errno errno = errnoOf(error);
        System.err.println("Cannot bind " + text(address) + ": " + errno.name + " (" + errno.number
            + "), choose another --port (0: any) or --host");
        System.exit(1);
    }

    static void sayReady(String experiment, InetSocketAddress address) {
        say("{\"event\":\"ready\",\"experiment\":\"" + experiment + "\",\"port\":" + address.getPort() + ",\"pid\":"
            + ProcessHandle.current().pid() + "}");
        String url = text(address) + "/";
        System.err.println("Listening. Try: " + (delivered == null ? "curl -i http://" + url : "new WebSocket(\"ws://" + url + "\")"));
    }

    private static String text(InetSocketAddress address) {
        return address.getAddress().getHostAddress() + ":" + address.getPort();
    }

    private static final FileOutputStream STDOUT = new FileOutputStream(FileDescriptor.out);

    /** Prints a line. Where it cannot be written, as on a full disk, that is counted: System.out would keep it to itself. */
    private static void say(String line) {
        try {
            STDOUT.write((line + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            countError(error);
        }
    }
}
