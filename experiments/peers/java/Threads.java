import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ExecutionException;

/** A thread for each connection, with the streams of java.net: a virtual one where Java has those, else one of the system. */
final class Threads {
    // ---- Connection: a thread, and the buffers that it owns --------------------------------------------------------

    private final class Visitor implements Runnable {
        final Socket socket;
        volatile boolean idle = true; // it waits for a request of which nothing has come
        private final ByteArrayOutputStream outbox = new ByteArrayOutputStream(); // grows to OUTBOX at most
        private final Lab.Answerer answerer = new Lab.Answerer(outbox::writeBytes);

        Visitor(Socket socket) {
            this.socket = socket;
        }

        @Override
        public void run() {
            try (socket) {
                socket.setTcpNoDelay(true);
                converse(socket.getInputStream(), socket.getOutputStream());
            } catch (IOException error) {
                Lab.countError(error);
            } finally {
                leave(this);
            }
        }

        /** A client that does not read its answers is not read either: write(2) blocks this thread, and no other. */
        private void converse(InputStream in, OutputStream out) throws IOException {
            byte[] inbox = new byte[Lab.INBOX];
            for (int had = 0;;) {
                // Idle is told before `stopping` is read, and `seeOff` does it the other way round: one sees the other.
                idle = had == 0;
                if (had == 0 && Lab.stopping && in.available() == 0) return;
                int got = in.read(inbox, had, Lab.INBOX - had);
                if (got < 0) return; // the peer's half is closed, and all it had asked for is answered
                idle = false;
                int length = had + got, taken = answerer.answer(inbox, length);
                outbox.writeTo(out); // in one call
                outbox.reset();
                if (!answerer.keepAlive) {
                    linger(in, inbox);
                    return;
                }
                had = length - taken;
                if (taken > 0) System.arraycopy(inbox, taken, inbox, 0, had);
            }
        }

        /** With input unread close(2) would send RST, and the peer might lose the answer: read until it closes its half. */
        private void linger(InputStream in, byte[] scratch) throws IOException {
            socket.shutdownOutput();
            long until = System.nanoTime() / 1_000_000 + Lab.LINGER_MS;
            for (long left; (left = until - System.nanoTime() / 1_000_000) > 0;) {
                socket.setSoTimeout((int) left);
                try {
                    if (in.read(scratch) < 0) return;
                } catch (SocketTimeoutException timeIsOver) {
                    return;
                }
            }
        }
    }

    // ---- The architecture: the main thread accepts, and each connection is given a thread --------------------------

    private final Set<Visitor> visitors = new HashSet<>(); // all that are there; its monitor guards it
    private final ServerSocket listener = new ServerSocket();
    private final Executor threads = hasVirtualThreads() ? virtualThreads() : task -> new Thread(task).start();

    private Threads(InetSocketAddress address) throws IOException {
        try {
            listener.bind(address, Lab.BACKLOG);
        } catch (IOException error) {
            Lab.cannotBind(address, error);
        }
    }

    private static boolean hasVirtualThreads() {
        return Runtime.version().feature() >= 21;
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
            return (Executor) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error); // every Java from 21 on has it
        }
    }

    private void leave(Visitor visitor) {
        synchronized (visitors) {
            visitors.remove(visitor);
            if (visitors.isEmpty()) visitors.notifyAll();
        }
    }

    /** Gives a connection its thread. One that cannot be made, at a limit of threads or memory, refuses only this. */
    private void admit(Socket socket) throws IOException {
        Visitor visitor = new Visitor(socket);
        synchronized (visitors) {
            visitors.add(visitor);
        }
        try {
            threads.execute(visitor);
        } catch (OutOfMemoryError noThread) { // so says Java where pthread_create(3) says EAGAIN
            Lab.countError("EAGAIN");
            leave(visitor);
            socket.close();
        }
    }

    /** Accepts until a signal closes the listener. */
    private void accept() throws InterruptedException {
        while (!Lab.stopping) {
            try {
                Socket socket = listener.accept(); // goes on by itself after EINTR
                Lab.accepted.getAndIncrement();
                admit(socket);
            } catch (IOException error) {
                if (Lab.stopping) return;
                Lab.countError(error); // EMFILE, ENFILE: those that come wait until another has left
                Thread.sleep(Lab.TURN_MS);
            }
        }
    }

    /** Wakes those that wait for nothing, and waits until all have ended or STOP_MS are over. */
    private void seeOff() throws InterruptedException {
        long until = System.nanoTime() / 1_000_000 + Lab.STOP_MS;
        synchronized (visitors) {
            for (Visitor visitor : visitors) if (visitor.idle) wake(visitor);
            for (long left; !visitors.isEmpty() && (left = until - System.nanoTime() / 1_000_000) > 0;) {
                visitors.wait(left);
            }
        }
    }

    /** A blocked read(2) returns 0. */
    private static void wake(Visitor visitor) {
        try {
            visitor.socket.shutdownInput();
        } catch (IOException isGone) {
            // Its peer was faster, or it is closed: then it waits no more.
        }
    }

    private void stopAccepting() {
        try {
            listener.close();
        } catch (IOException error) {
            Lab.countError(error); // it is closed all the same
        }
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        Threads server = new Threads(Lab.readAddress("java-threads", args));
        Lab.warmUp();
        Lab.onSignal(server::stopAccepting);
        Lab.sayReady("java-threads", (InetSocketAddress) server.listener.getLocalSocketAddress());
        System.err.println("Threads: " + (hasVirtualThreads() ? "virtual" : "of the system"));
        server.accept();
        server.seeOff();
        Lab.sayStoppedAndExit();
    }
}
