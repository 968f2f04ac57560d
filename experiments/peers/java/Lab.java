import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import sun.misc.Signal;

/** What the Java servers share: limits, counts, the end by a signal, the protocol, and the lines on stdout. */
final class Lab {
    static final int BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
    static final int MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
    static final int INBOX = 16384; // bytes taken by one read, more than MAX_HEAD so that an oversized head is seen as such
    static final int OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each
    static final int MAX_WORK_US = 100_000;
    static final int TURN_MS = 50; // the longest wait, and the pause where no descriptor is left
    static final int LINGER_MS = 1000; // how long who was answered for the last time may go on sending
    static final int STOP_MS = 1000; // how long what is in flight may take after SIGTERM

    private Lab() {}

    // ---- Counts, and how it ends -----------------------------------------------------------------------------------

    static final AtomicLong accepted = new AtomicLong(), served = new AtomicLong();
    static volatile boolean stopping;
    private static final Map<String, Long> errors = new ConcurrentSkipListMap<>();

    /** An error of the kernel. Java passes on only what strerror(3) says of it, in the language of the locale. */
    private record Errno(String message, String name, int number) {}

    private static final Errno[] ERRNOS = {
        new Errno("Permission denied", "EACCES", 13),
        new Errno("Invalid argument", "EINVAL", 22),
        new Errno("Too many open files in system", "ENFILE", 23),
        new Errno("Too many open files", "EMFILE", 24),
        new Errno("Broken pipe", "EPIPE", 32),
        new Errno("Address already in use", "EADDRINUSE", 98),
        new Errno("Cannot assign requested address", "EADDRNOTAVAIL", 99),
        new Errno("Connection reset", "ECONNRESET", 104),
        new Errno("Connection timed out", "ETIMEDOUT", 110),
    };

    private static Errno errnoOf(Throwable error) {
        String message = String.valueOf(error.getMessage());
        for (Errno errno : ERRNOS) if (message.contains(errno.message)) return errno;
        return new Errno(message, error.getClass().getSimpleName(), 0);
    }

    static void countError(Throwable error) {
        countError(errnoOf(error).name);
    }

    static void countError(String key) {
        errors.merge(key, 1L, Long::sum);
    }

    /** Calls `stop` at the first SIGTERM or SIGINT, in a thread of its own; the second one does not wait. */
    static void onSignal(Runnable stop) {
        for (String name : new String[] {"TERM", "INT"}) {
            Signal.handle(new Signal(name), signal -> {
                synchronized (errors) {
                    if (stopping) Runtime.getRuntime().halt(1);
                    stopping = true;
                }
                stop.run();
            });
        }
    }

    /** Prints the last line and ends, whatever threads there are: without this SIGTERM would give exit code 143. */
    static void sayStoppedAndExit() {
        String names = errors.toString().replaceAll("([\\w]+)=", "\"$1\":").replace(" ", ""); // {a=1, b=2}
        say("{\"event\":\"stopped\",\"accepted\":" + accepted + ",\"served\":" + served + ",\"errors\":" + names + "}");
        Runtime.getRuntime().halt(0);
    }

    // ---- Protocol: the minimal HTTP/1.1 that all experiments speak -------------------------------------------------

    private static final byte[] ROOT = bytes("GET / HTTP/1.1\r\n"); // recognised as a whole, with vector instructions
    private static final boolean[] IS_TOKEN = new boolean[256]; // of a method or a field name (RFC 9110, section 5.6.2)

    static {
        for (char c = '!'; c <= '~'; c++) IS_TOKEN[c] = "\"(),/:;<=>?@[\\]{}".indexOf(c) < 0;
    }

    private static final byte[] VERSION = bytes("HTTP/1.");
    private static final Pattern CLOSES = Pattern.compile(
        "(connection:(.*,)?\\s*close\\s*(,.*)?|transfer-encoding:.*|content-length:(?!\\s*0\\s*$).*)", Pattern.DOTALL);

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }

    private static final byte[] HELLO = bytes("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World");
    private static final Map<Integer, byte[]> REFUSALS = Map.of(
        400, bytes("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        404, bytes("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        405, bytes("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n"),
        431, bytes("HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));

    /** The microseconds of CPU to burn before the answer; -1 where there is nothing at this target. */
    static int workUs(String target) {
        if (target.equals("/")) return 0;
        String digits = target.startsWith("/work/") ? target.substring("/work/".length()) : "";
        if (digits.isEmpty() || digits.length() > 6) return -1;
        for (int i = 0; i < digits.length(); i++) if (digits.charAt(i) < '0' || digits.charAt(i) > '9') return -1;
        int us = Integer.parseInt(digits);
        return us <= MAX_WORK_US ? us : -1;
    }

    /** Parses and answers what one connection sends, or one after the other on one thread. Not for several threads. */
    static final class Answerer {
        /** Whether the connection stays after what was answered last. */
        boolean keepAlive;

        private final Consumer<byte[]> outbox;
        private int status, workUs;

        Answerer(Consumer<byte[]> outbox) {
            this.outbox = outbox;
        }

        /** Answers every whole request into the outbox, and returns the bytes taken: the start of a head is left. */
        int answer(byte[] input, int length) {
            int at = 0, greetings = 0;
            keepAlive = true;
            while (at < length && keepAlive) {
                int head = parseHead(input, at, length);
                if (head == 0) break;
                at += head;
                if (workUs > 0) burn(workUs);
                outbox.accept(status == 200 ? HELLO : REFUSALS.get(status));
                if (status == 200) greetings++;
                else countError(Integer.toString(status));
                if (stopping) keepAlive = false;
            }
            if (greetings > 0) served.getAndAdd(greetings);
            return at;
        }

        /** Refuses all input that is there, whatever it is: the connection will close. */
        private int refuse(int status, int length) {
            this.status = status;
            workUs = 0;
            keepAlive = false;
            return length;
        }

        /** Parses the head that starts at `from` and returns its bytes; 0 as long as its end is missing. */
        private int parseHead(byte[] in, int from, int to) {
            int end = from + 3; // the last byte of the blank line
            while (end < to && !(in[end] == '\n' && in[end - 1] == '\r' && in[end - 2] == '\n' && in[end - 3] == '\r')) {
                end++;
            }
            if (end - from >= MAX_HEAD) return refuse(431, to - from);
            if (end >= to) return 0;
            status = 200;
            workUs = 0;
            int at = from + ROOT.length;
            if (at > end || !Arrays.equals(in, from, at, ROOT, 0, ROOT.length)) at = parseRequestLine(in, from);
            return at > 0 && parseFields(in, at, end - 1) ? end + 1 - from : refuse(400, to - from);
        }

        /** Parses a request line, behind which there is a line end, and returns where the next one starts; 0: malformed. */
        private int parseRequestLine(byte[] in, int from) {
            int at = from;
            while (IS_TOKEN[in[at] & 255]) at++;
            boolean isGet = at - from == 3 && in[from] == 'G' && in[from + 1] == 'E' && in[from + 2] == 'T';
            if (at == from || in[at] != ' ') return 0;
            int target = ++at;
            while (in[at] > ' ' && in[at] <= '~') at++;
            if (at == target || in[at] != ' ') return 0;
            int us = workUs(text(in, target, at));
            for (byte expected : VERSION) if (in[++at] != expected) return 0;
            byte minor = in[++at];
            if (minor != '0' && minor != '1' || in[++at] != '\r' || in[++at] != '\n') return 0;
            if (minor == '0') keepAlive = false;
            status = !isGet ? 405 : us >= 0 ? 200 : 404;
            if (status == 200) workUs = us;
            return at + 1;
        }

        /** Walks the header fields up to the blank line; false if one is malformed. */
        private boolean parseFields(byte[] in, int at, int end) {
            while (at < end) {
                int name = at;
                while (IS_TOKEN[in[at] & 255]) at++;
                if (at == name || in[at] != ':') return false;
                while ((in[at] & 255) >= ' ' || in[at] == '\t') at++;
                if (in[at] != '\r' || in[at + 1] != '\n') return false;
                int initial = in[name] | 0x20; // lower case: Connection, Content-Length, Transfer-Encoding
                if ((initial == 'c' || initial == 't') && closes(text(in, name, at))) keepAlive = false;
                at += 2;
            }
            return true;
        }

        /** Tells whether a field ends the connection. Bodies are never read, so behind one nothing can follow. */
        private static boolean closes(String field) {
            return CLOSES.matcher(field.toLowerCase(Locale.ROOT)).matches();
        }

        private static String text(byte[] input, int from, int to) {
            return new String(input, from, to - from, StandardCharsets.ISO_8859_1);
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
        System.err.println("Listening. Try: curl -i http://" + text(address) + "/");
    }

    private static String text(InetSocketAddress address) {
        return address.getAddress().getHostAddress() + ":" + address.getPort();
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
