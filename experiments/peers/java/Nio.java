import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.function.Consumer;

/** One thread and one Selector, which on Linux is epoll: the loop of experiments/epoll.ts in Java. */
final class Nio {
    private static final int ACCEPTS = 64; // connections accepted in a row, so that a flood cannot starve the old ones

    // ---- Connection: what hangs at its key, and the bytes left over only while there are any -----------------------

    private static final class Connection {
        final SocketChannel channel;
        final SelectionKey key;
        byte[] partial; // the start of a head whose end has not come, or null
        ByteBuffer unsent; // answers the socket did not take yet, or null
        long leaveAtMs; // once it was answered for the last time: when it is closed at the latest; else 0

        Connection(SocketChannel channel, Selector selector) throws IOException {
            this.channel = channel;
            key = channel.register(selector, SelectionKey.OP_READ, this);
        }
    }

    // Shared by all, so that an idle connection owns no buffer. Direct ones lie outside of the heap, where the kernel
    // reads and writes them; into an array it would take another copy, as the collector might move that meanwhile.
    private final ByteBuffer received = ByteBuffer.allocateDirect(Lab.INBOX);
    private final ByteBuffer outbox = ByteBuffer.allocateDirect(Lab.OUTBOX);
    private final byte[] inbox = new byte[Lab.INBOX];
    private final Lab.Answerer answerer = new Lab.Answerer(outbox::put);
    private final ArrayDeque<Connection> leaving = new ArrayDeque<>(); // in the order of their time; closed ones too
    private int inFlight; // connections with a part of a head, with answers not sent, or about to leave
    private long nowMs;

    private static boolean isInFlight(Connection connection) {
        return connection.partial != null || connection.unsent != null || connection.leaveAtMs != 0;
    }

    private void close(Connection connection) {
        try {
            connection.channel.close(); // the descriptor is given back with the next select, when the key is gone
        } catch (IOException error) {
            Lab.countError(error); // nothing is left that could be done
        }
    }

    /** Does what is due on one connection. A failure ends this connection only. */
    private void onReady(Connection connection) {
        boolean was = isInFlight(connection);
        try {
            if (connection.unsent == null) onReadable(connection);
            else flush(connection, connection.unsent);
        } catch (IOException error) {
            Lab.countError(error);
            close(connection);
        }
        boolean is = connection.channel.isOpen() && isInFlight(connection);
        if (is != was) inFlight += is ? 1 : -1;
    }

    /** Takes what has come, answers every whole request in it, and sends the answers in one call. */
    private void onReadable(Connection connection) throws IOException {
        int had = connection.partial == null ? 0 : connection.partial.length;
        int got = connection.channel.read(received.clear().limit(Lab.INBOX - had));
        if (got < 0) close(connection); // the peer's half is closed, and all it had asked for is answered
        else if (connection.leaveAtMs == 0) { // else: thrown away, the last answer is out
            if (had > 0) System.arraycopy(connection.partial, 0, inbox, 0, had);
            received.flip().get(inbox, had, got);
            answer(connection, had + got);
        }
    }

    private void answer(Connection connection, int length) throws IOException {
        outbox.clear();
        int taken = answerer.answer(inbox, length);
        connection.partial = null;
        if (!answerer.keepAlive) {
            // With input unread close(2) would send RST, and the peer might lose this: linger until it closes its half.
            connection.leaveAtMs = nowMs + Lab.LINGER_MS;
            leaving.add(connection);
        } else if (taken < length) connection.partial = Arrays.copyOfRange(inbox, taken, length);
        if (outbox.flip().hasRemaining()) flush(connection, outbox);
    }

    /** Sends answers. What the socket does not take waits until it is writable, and till then it is not read. */
    private void flush(Connection connection, ByteBuffer answers) throws IOException {
        connection.channel.write(answers);
        if (answers.hasRemaining()) {
            if (answers != outbox) return;
            connection.unsent = ByteBuffer.allocateDirect(answers.remaining()).put(answers).flip();
            connection.key.interestOps(SelectionKey.OP_WRITE);
            return;
        }
        if (connection.unsent != null) {
            connection.unsent = null;
            connection.key.interestOps(SelectionKey.OP_READ);
        }
        if (connection.leaveAtMs != 0) connection.channel.shutdownOutput();
    }

    // ---- The architecture: one selector, one loop ------------------------------------------------------------------

    private final Selector selector;
    private final ServerSocketChannel listener;
    private final SelectionKey listenerKey;

    private Nio(InetSocketAddress address) throws IOException {
        selector = Selector.open();
        listener = ServerSocketChannel.open();
        try {
            listener.bind(address, Lab.BACKLOG); // SO_REUSEADDR is set already: Java does that by itself on Linux
        } catch (IOException error) {
            Lab.cannotBind(address, error);
        }
        listener.configureBlocking(false);
        listenerKey = listener.register(selector, SelectionKey.OP_ACCEPT);
    }

    /** Accepts what waits. Where no descriptor is left it stops asking for a while: else the selector would spin. */
    private void acceptAll() {
        for (int i = 0; i < ACCEPTS; i++) {
            SocketChannel channel;
            try {
                channel = listener.accept(); // goes on by itself after EINTR
            } catch (IOException error) {
                if (!String.valueOf(error.getMessage()).contains("Too many open files")) continue; // ECONNABORTED
                Lab.countError(error);
                listenerKey.interestOps(0);
                return;
            }
            if (channel == null) return;
            Lab.accepted.getAndIncrement();
            admit(channel);
        }
    }

    private void admit(SocketChannel channel) {
        try {
            channel.configureBlocking(false);
            channel.setOption(StandardSocketOptions.TCP_NODELAY, true); // a listener of Java does not take this option
            new Connection(channel, selector);
        } catch (IOException error) {
            Lab.countError(error); // this connection only
            try {
                channel.close();
            } catch (IOException ignored) {
                // Counted is the first error; nothing is left that could be done.
            }
        }
    }

    private void onKey(SelectionKey key) {
        if (key.attachment() instanceof Connection connection) onReady(connection);
        else acceptAll();
    }

    private void closeThoseWhoseTimeIsOver() {
        for (Connection first; (first = leaving.peek()) != null && first.leaveAtMs <= nowMs; leaving.remove()) {
            if (!first.channel.isOpen()) continue; // it has left by itself, and was counted then
            close(first);
            inFlight--;
        }
    }

    /** Serves until a signal comes, then until nothing is in flight any more or STOP_MS are over. */
    private void serve() throws IOException {
        Consumer<SelectionKey> onKey = this::onKey;
        long turnAtMs = nowMs = System.nanoTime() / 1_000_000, stopAtMs = Long.MAX_VALUE;
        for (;;) {
            int ready = selector.select(onKey, stopAtMs < Long.MAX_VALUE ? 1 : Lab.TURN_MS);
            nowMs = System.nanoTime() / 1_000_000; // a read of shared memory, no system call
            if (nowMs >= stopAtMs || (stopAtMs < Long.MAX_VALUE && ready == 0 && inFlight == 0)) return;
            if (Lab.stopping && stopAtMs == Long.MAX_VALUE) {
                listener.close();
                stopAtMs = nowMs + Lab.STOP_MS;
            }
            if (nowMs - turnAtMs < Lab.TURN_MS) continue;
            turnAtMs = nowMs;
            closeThoseWhoseTimeIsOver();
            if (stopAtMs == Long.MAX_VALUE && listenerKey.interestOps() == 0) {
                listenerKey.interestOps(SelectionKey.OP_ACCEPT);
            }
        }
    }

    public static void main(String[] args) throws IOException {
        Nio nio = new Nio(Lab.readAddress("java-nio", args));
        Lab.warmUp();
        Lab.onSignal(nio.selector::wakeup);
        Lab.sayReady("java-nio", (InetSocketAddress) nio.listener.getLocalAddress());
        nio.serve();
        Lab.sayStoppedAndExit();
    }
}
