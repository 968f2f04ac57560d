import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import jdk.net.ExtendedSocketOptions;

/** A thread for each connection, with the streams of java.net: a thread of the system, or a virtual one. */
final class Threads {
    private static final int LAST_LOOKS = 3; // after a signal: so many in a row must find nobody who waits
    private static final int SLICE = 16384; // bytes of answers handed to the socket at a time: each is progress

    // ---- Connection: a thread, and the buffers that it owns --------------------------------------------------------

    private final class Visitor implements Runnable {
        private final Socket socket;
        private final ByteArrayOutputStream outbox = new ByteArrayOutputStream(); // grows to OUTBOX at most
        private final Lab.Answerer answerer = new Lab.Answerer(outbox::writeBytes);
        private final byte[] inbox = new byte[Lab.INBOX + 1];
        private long dueMs; // when the head that has begun must be complete; 0: none has
        private int kept; // its bytes of keptBytes
        private volatile boolean isInFlight; // SIGTERM has to wait for it
        private volatile long writingSinceMs; // 0: it does not write

        Visitor(Socket socket) {
            this.socket = socket;
        }

        @Override
        public void run() {
            try (socket) {
                socket.setTcpNoDelay(true); // a listener of Java does not take these two
                socket.setKeepAlive(true);
                converse(socket.getInputStream(), socket.getOutputStream());
            } catch (IOException error) {
                if (!(error instanceof SocketTimeoutException)) Lab.countError(error);
            } finally {
                Lab.keptBytes.getAndAdd(-kept);
                visitors.remove(this);
                Lab.closed.getAndIncrement();
            }
        }

        /** A client that does not read its answers is not read either: write(2) blocks this thread, and no other. */
        private void converse(InputStream in, OutputStream out) throws IOException {
            for (int length = 0;;) {
                int got;
                try {
                    got = in.read(inbox, length, Lab.INBOX - length);
                } catch (SocketTimeoutException isLate) {
                    refuseLate(in, out);
                    return;
                }
                if (got < 0) return; // the peer's half is closed, and all it had asked for is answered
                isInFlight = true;
                Lab.bytesIn.getAndAdd(got);
                length = answer(out, length + got);
                if (answerer.isLast) {
                    linger(in);
                    return;
                }
                if (dueMs != 0 && dueMs <= Lab.nowMs()) {
                    refuseLate(in, out);
                    return;
                }
                isInFlight = length > 0;
            }
        }

        private void refuseLate(InputStream in, OutputStream out) throws IOException {
            Lab.countStatus(408);
            send(out, Lab.answerTo(408, true).bytes);
            linger(in);
        }

        /** Answers the whole requests in the inbox, and returns how many bytes of an unfinished head are left. */
        private int answer(OutputStream out, int length) throws IOException {
            int at = 0;
            do {
                at = answerer.answer(inbox, at, length, true);
                if (answerer.last == null) continue;
                if (answerer.before > 0) {
                    outbox.writeBytes(answerer.last.bytes);
                    keep(length - at + outbox.size());
                    send(out, outbox.toByteArray());
                    outbox.reset();
                } else send(out, answerer.last.bytes);
            } while (answerer.hasWork);
            if (answerer.isLast) return 0;
            int rest = length - at;
            if (rest > 0 && at > 0) System.arraycopy(inbox, at, inbox, 0, rest);
            keep(rest);
            if (rest > 0 || dueMs != 0) setDue(rest > 0, at > 0);
            return rest;
        }

        /** Bounds the next read by when the head that has begun must be complete. */
        private void setDue(boolean hasBegun, boolean isNew) throws IOException {
            long nowMs = Lab.nowMs();
            if (!hasBegun) dueMs = 0;
            else if (isNew || dueMs == 0) dueMs = nowMs + Lab.HEAD_MS;
            socket.setSoTimeout(dueMs == 0 ? 0 : (int) Math.max(dueMs - nowMs, 1));
        }

        private void keep(int bytes) throws IOException {
            int change = bytes - kept;
            kept = bytes;
            Lab.keep(change);
        }

        private void send(OutputStream out, byte[] bytes) throws IOException {
            for (int at = 0; at < bytes.length; at += SLICE) {
                int length = Math.min(bytes.length - at, SLICE);
                writingSinceMs = Lab.nowMs();
                out.write(bytes, at, length);
                Lab.bytesOut.getAndAdd(length);
            }
            writingSinceMs = 0;
        }

        /**
         * Ends a connection that only waits. Its thread finds the end behind what it has taken or is about to take:
         * whether a read has just returned cannot be seen from here.
         */
        void endIfIdle() {
            try {
                if (!isInFlight && socket.getInputStream().available() == 0) socket.shutdownInput();
            } catch (IOException isOver) {
                return; // its thread will hear of it, or has
            }
        }

        /** Closes the socket where its peer has taken nothing for too long: a write that blocks fails then. */
        void endIfStuck(long nowMs) throws IOException {
            long sinceMs = writingSinceMs;
            if (sinceMs != 0 && nowMs - sinceMs > Lab.PROGRESS_MS) socket.close();
        }

        /**
         * Waits for the end of a connection whose last answer the socket has taken. With input unread close(2) would send
         * RST, and the peer might lose that answer: so what it still sends is thrown away until it closes its half.
         */
        private void linger(InputStream in) throws IOException {
            keep(0);
            socket.shutdownOutput();
            long untilMs = Lab.nowMs() + Lab.LINGER_MS;
            for (long leftMs; (leftMs = untilMs - Lab.nowMs()) > 0;) {
                socket.setSoTimeout((int) leftMs);
                int got = in.read(inbox, 0, Lab.INBOX); // what it throws when the time is over ends the connection
                if (got < 0) return;
                Lab.bytesIn.getAndAdd(got);
            }
        }
    }

    // ---- The architecture: the main thread accepts, and each connection is given a thread --------------------------

    private final Set<Visitor> visitors = ConcurrentHashMap.newKeySet(); // all that are there
    private final ServerSocket listener = new ServerSocket();
    private final Executor threads;

    private Threads(InetSocketAddress address, Executor threads) throws IOException {
        this.threads = threads;
        listener.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, Lab.KEEPALIVE_IDLE_S); // accepted sockets inherit these
        listener.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, Lab.KEEPALIVE_INTERVAL_S);
        listener.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, Lab.KEEPALIVE_PROBES);
        try {
            listener.bind(address, Lab.BACKLOG);
        } catch (IOException error) {
            Lab.cannotBind(address, error);
        }
    }

    /** By its name, as this is compiled for Java 17. Work goes to threads of the system, one a core, as is advised. */
    private static Executor virtualThreads() {
        ExecutorService workers = Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors());
        Lab.worker = us -> {
            try {
                workers.submit(() -> Lab.burnHere(us)).get();
            } catch (InterruptedException | ExecutionException error) {
                throw new IllegalStateException(error); // nobody interrupts, and the work cannot fail
            }
        };
        try {
            Executor threads = (Executor) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
            waitOnce(threads);
            return threads;
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error); // every Java from 21 on has it, and the launcher has looked
        }
    }

    /** Has a virtual thread wait for input: the runtime opens what it waits with on first use, and later no descriptor may be left. */
    private static void waitOnce(Executor threads) {
        CompletableFuture.runAsync(() -> {
            try (ServerSocket probe = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                    Socket client = new Socket(probe.getInetAddress(), probe.getLocalPort());
                    Socket socket = probe.accept()) {
                socket.setSoTimeout(1);
                socket.getInputStream().read();
            } catch (SocketTimeoutException expected) {
                return; // nothing was sent
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }, threads).join();
    }

    /** Gives a connection its thread. One that cannot be made, at a limit of threads or memory, refuses only this. */
    private void admit(Socket socket) throws IOException {
        Visitor visitor = new Visitor(socket);
        visitors.add(visitor);
        try {
            threads.execute(visitor);
        } catch (OutOfMemoryError noThread) { // so says Java where pthread_create(3) says EAGAIN
            Lab.countError("EAGAIN");
            Lab.closed.getAndIncrement();
            visitors.remove(visitor);
            socket.close();
        }
    }

    /**
     * Accepts until a signal comes, then what has completed its handshake: close(2) would reset it. That fits into the queue;
     * more may come all the time. Whether anybody waits is asked more than once: the time limit counts from before accept()
     * takes its lock, and a thread that is held up there gives up without a look.
     */
    private void accept() throws IOException, InterruptedException {
        listener.setSoTimeout(Lab.TURN_MS);
        int taken = 0; // after the signal
        int quiet = 0; // times in a row that nobody waited
        while (quiet < LAST_LOOKS && taken < Lab.BACKLOG) {
            boolean isStopping = Lab.stopping;
            try {
                if (isStopping) listener.setSoTimeout(1);
                Socket socket = listener.accept(); // goes on by itself after EINTR
                Lab.accepted.getAndIncrement();
                admit(socket);
                quiet = 0;
                if (isStopping) taken++;
            } catch (SocketTimeoutException nobodyWaits) {
                if (isStopping) quiet++;
            } catch (IOException error) {
                if (Lab.isPassing(error)) continue;
                Lab.countError(error); // EMFILE, ENFILE, ENOBUFS, ENOMEM: those that come wait until another has left
                Thread.sleep(Lab.TURN_MS);
                if (isStopping) quiet++;
            }
        }
        listener.close();
    }

    /** Waits until no connection is left, or STOP_MS are over. */
    private void seeOff() throws InterruptedException {
        for (long until = Lab.nowMs() + Lab.STOP_MS; !visitors.isEmpty() && Lab.nowMs() < until;) {
            for (Visitor visitor : visitors) visitor.endIfIdle();
            Thread.sleep(Lab.QUIET_MS);
        }
    }

    /** What one more thread does: it ends those that write and get nowhere. */
    private void endStuck() {
        try {
            for (;;) {
                Thread.sleep(1000);
                for (Visitor visitor : visitors) visitor.endIfStuck(Lab.nowMs());
            }
        } catch (InterruptedException | IOException error) {
            throw new IllegalStateException(error); // nobody interrupts, and a failed close(2) closes all the same
        }
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        boolean isVirtual = Boolean.getBoolean("lab.virtual");
        String experiment = isVirtual ? "java-virtual-threads" : "java-threads";
        Executor threads = isVirtual ? virtualThreads() : task -> new Thread(task).start();
        Threads server = new Threads(Lab.readAddress(experiment, args), threads);
        Lab.warmUp();
        Thread watch = new Thread(server::endStuck);
        watch.setDaemon(true);
        watch.start();
        Lab.onSignal(() -> {});
        Lab.sayReady(experiment, (InetSocketAddress) server.listener.getLocalSocketAddress());
        server.accept();
        server.seeOff();
        Lab.sayStoppedAndExit();
    }
}
