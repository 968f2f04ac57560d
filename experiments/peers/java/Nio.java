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
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.function.Consumer;

/** One thread and one Selector, which on Linux is epoll: the loop of experiments/epoll.ts in Java. */
final class Nio {
    private static final int ACCEPTS = 64; // connections accepted in a row, so that a flood cannot starve the old ones
    private static final int WORK_MS = 10; // how long requests for work are served in a row

    // ---- Connection: what hangs at its key, and the bytes left over only while there are any -----------------------

    private static final class Connection {
        final SocketChannel channel;
        final SelectionKey key;
        byte[] partial; // the start of a head whose end has not come, or a request for work that waits; or null
        ByteBuffer unsent; // answers the socket did not take yet, or null
        boolean isLast; // it was answered for the last time
        boolean isCarried; // a request waits for its turn, and the connection is not read
        long dueMs; // when its head must be complete, its peer has to take something, or its linger is over
        int kept; // its bytes of keptBytes

        Connection(SocketChannel channel, Selector selector) throws IOException {
            this.channel = channel;
            key = channel.register(selector, SelectionKey.OP_READ, this);
        }
    }

    // Shared by all, so that an idle connection owns no buffer. Direct ones lie outside of the heap, where the kernel
    // reads and writes them; into an array it would take another copy, as the collector might move that meanwhile.
    private final ByteBuffer received = ByteBuffer.allocateDirect(Lab.INBOX);
    private final ByteBuffer outbox = ByteBuffer.allocateDirect(Lab.OUTBOX);
    private final byte[] inbox = new byte[Lab.INBOX + 1];
    private final Lab.Answerer answerer = new Lab.Answerer(outbox::put);
    private final ArrayDeque<Connection> carried = new ArrayDeque<>();
    // Those whose time runs, in the order of their deadlines: each set has one length of time, and a new one comes last.
    private final LinkedHashSet<Connection> partial = new LinkedHashSet<>();
    private final LinkedHashSet<Connection> unsent = new LinkedHashSet<>();
    private final LinkedHashSet<Connection> lingering = new LinkedHashSet<>();
    private long nowMs;

    private void close(Connection connection) {
        partial.remove(connection);
        unsent.remove(connection);
        lingering.remove(connection);
        Lab.keptBytes.getAndAdd(-connection.kept);
        connection.kept = 0;
        Lab.closed.getAndIncrement();
        try {
            connection.channel.close(); // the descriptor is given back with the next select, when the key is gone
        } catch (IOException error) {
            Lab.countError(error); // nothing is left that could be done
        }
    }

    private void drop(Connection connection, IOException error) {
        Lab.countError(error);
        close(connection);
    }

    /** Starts the clock of a connection, or starts it anew. */
    private void await(LinkedHashSet<Connection> those, Connection connection, int ms) {
        those.remove(connection);
        those.add(connection);
        connection.dueMs = nowMs + ms;
    }

    private void keep(Connection connection) throws IOException {
        int kept = (connection.partial == null ? 0 : connection.partial.length)
            + (connection.unsent == null ? 0 : connection.unsent.capacity());
        int change = kept - connection.kept;
        connection.kept = kept;
        Lab.keep(change);
    }

    /** Does what is due on one connection. A failure ends this connection only. */
    private void onReady(Connection connection) {
        try {
            if (connection.unsent != null) onWritable(connection);
            else if (!connection.isCarried) onReadable(connection);
        } catch (IOException error) {
            drop(connection, error);
        }
    }

    /** Takes what has come, answers the whole requests in it, and sends the answers in one call. */
    private void onReadable(Connection connection) throws IOException {
        int length = connection.partial == null ? 0 : connection.partial.length;
        int got = connection.channel.read(received.clear().limit(Lab.INBOX - length));
        if (got < 0) {
            close(connection); // the peer's half is closed, and all it had asked for is answered
            return;
        }
        Lab.bytesIn.getAndAdd(got);
        if (connection.isLast) return; // thrown away, the last answer is out
        if (length > 0) System.arraycopy(connection.partial, 0, inbox, 0, length);
        received.flip().get(inbox, length, got);
        answer(connection, length + got, false);
    }

    private void answer(Connection connection, int length, boolean mayWork) throws IOException {
        outbox.clear();
        int used = answerer.answer(inbox, 0, length, mayWork);
        connection.isLast = answerer.isLast;
        boolean hasRest = used < length && !answerer.isLast;
        if (hasRest || connection.partial != null) setPartial(connection, hasRest, used, length);
        if (answerer.hasWork) {
            connection.isCarried = true;
            connection.key.interestOps(0);
        }
        if (answerer.last == null) {
            if (connection.isCarried) carried.add(connection);
            return;
        }
        ByteBuffer answers = answerer.last.direct.rewind();
        if (answerer.before > 0) answers = outbox.put(answers).flip();
        flush(connection, answers);
    }

    /** Keeps what is left of the inbox. The time of a head starts with its first byte, and goes on as it grows. */
    private void setPartial(Connection connection, boolean hasRest, int used, int length) throws IOException {
        boolean isNew = connection.partial == null || used > 0;
        connection.partial = hasRest ? Arrays.copyOfRange(inbox, used, length) : null;
        if (!hasRest || answerer.hasWork) partial.remove(connection); // work waits for this server, not for the peer
        else if (isNew || !partial.contains(connection)) await(partial, connection, Lab.HEAD_MS);
        keep(connection);
    }

    /** Sends answers. What the socket does not take waits until it is writable, and till then it is not read. */
    private void flush(Connection connection, ByteBuffer answers) throws IOException {
        Lab.bytesOut.getAndAdd(connection.channel.write(answers));
        if (answers.hasRemaining()) {
            connection.unsent = ByteBuffer.allocateDirect(answers.remaining()).put(answers).flip();
            connection.key.interestOps(SelectionKey.OP_WRITE);
            partial.remove(connection); // it is not read, so its time does not run
            await(unsent, connection, Lab.PROGRESS_MS);
            keep(connection);
        } else proceed(connection);
    }

    private void onWritable(Connection connection) throws IOException {
        int sent = connection.channel.write(connection.unsent);
        Lab.bytesOut.getAndAdd(sent);
        if (connection.unsent.hasRemaining()) {
            if (sent > 0) await(unsent, connection, Lab.PROGRESS_MS);
            return;
        }
        connection.unsent = null;
        unsent.remove(connection);
        keep(connection);
        connection.key.interestOps(connection.isCarried ? 0 : SelectionKey.OP_READ);
        if (connection.partial != null && !connection.isCarried) await(partial, connection, Lab.HEAD_MS);
        proceed(connection);
    }

    /** Goes on once the socket has taken all answers. */
    private void proceed(Connection connection) throws IOException {
        if (connection.isCarried) carried.add(connection);
        if (!connection.isLast) return;
        // With input unread close(2) would send RST, and the peer might lose the answer: linger until it closes its half.
        await(lingering, connection, Lab.LINGER_MS);
        connection.channel.shutdownOutput();
    }

    /** Serves requests for work, in turn, for WORK_MS. */
    private void serveCarried() {
        long untilMs = Lab.nowMs() + WORK_MS;
        for (Connection connection; Lab.nowMs() < untilMs && (connection = carried.poll()) != null;) {
            if (!connection.channel.isOpen()) continue;
            connection.isCarried = false;
            int length = connection.partial.length;
            System.arraycopy(connection.partial, 0, inbox, 0, length);
            try {
                answer(connection, length, true);
                if (connection.channel.isOpen() && !connection.isCarried && connection.unsent == null) {
                    connection.key.interestOps(SelectionKey.OP_READ);
                }
            } catch (IOException error) {
                drop(connection, error);
            }
        }
    }

    /** Ends those whose time is over. */
    private void endLate() {
        for (Connection first; (first = firstLate(lingering)) != null;) close(first);
        for (Connection first; (first = firstLate(unsent)) != null;) {
            Lab.countError("ETIMEDOUT");
            close(first);
        }
        for (Connection first; (first = firstLate(partial)) != null;) {
            Lab.countStatus(408);
            first.isLast = true;
            first.partial = null;
            partial.remove(first);
            try {
                keep(first);
                flush(first, Lab.answerTo(408, true).direct.rewind());
            } catch (IOException error) {
                drop(first, error);
            }
        }
    }

    private Connection firstLate(LinkedHashSet<Connection> those) {
        Iterator<Connection> all = those.iterator();
        if (!all.hasNext()) return null;
        Connection first = all.next();
        return first.dueMs <= nowMs ? first : null;
    }

    // ---- The architecture: one selector, one loop ------------------------------------------------------------------

    private final Selector selector;
    private final ServerSocketChannel listener;
    private final SelectionKey listenerKey;

    private Nio(InetSocketAddress address) throws IOException {
        selector = Selector.open();
        listener = ServerSocketChannel.open();
        Lab.setOptions(listener);
        try {
            listener.bind(address, Lab.BACKLOG); // SO_REUSEADDR is set already: Java does that by itself on Linux
        } catch (IOException error) {
            Lab.cannotBind(address, error);
        }
        listener.configureBlocking(false);
        listenerKey = listener.register(selector, SelectionKey.OP_ACCEPT);
    }

    /** Accepts what waits. Where no descriptor is left it stops asking for a while: else the selector would spin. */
    private void acceptSome(int bound) {
        for (int i = 0; i < bound; i++) {
            SocketChannel channel;
            try {
                channel = listener.accept(); // goes on by itself after EINTR
            } catch (IOException error) {
                if (Lab.isPassing(error)) continue;
                Lab.countError(error); // EMFILE, ENFILE, ENOBUFS, ENOMEM
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
            channel.setOption(StandardSocketOptions.TCP_NODELAY, true); // a listener of Java does not take these two
            channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
            new Connection(channel, selector);
        } catch (IOException error) {
            Lab.countError(error); // this connection only
            Lab.closed.getAndIncrement();
            try {
                channel.close();
            } catch (IOException ignored) {
                // Counted is the first error; nothing is left that could be done.
            }
        }
    }

    private void onKey(SelectionKey key) {
        if (key.attachment() instanceof Connection connection) onReady(connection);
        else acceptSome(ACCEPTS);
    }

    private boolean isInFlight() {
        return !carried.isEmpty() || !partial.isEmpty() || !unsent.isEmpty() || !lingering.isEmpty();
    }

    private int select(Consumer<SelectionKey> onKey) throws IOException {
        if (!carried.isEmpty()) return selector.selectNow(onKey);
        return selector.select(onKey, Lab.stopping ? Lab.QUIET_MS : Lab.TURN_MS);
    }

    /** Serves until a signal comes, then until nothing is in flight any more or STOP_MS are over. */
    private void serve() throws IOException {
        Consumer<SelectionKey> onKey = this::onKey;
        long tickMs = nowMs = Lab.nowMs(), stopAtMs = Long.MAX_VALUE;
        for (;;) {
            int ready = select(onKey);
            nowMs = Lab.nowMs();
            if (!carried.isEmpty()) serveCarried();
            if (nowMs >= stopAtMs || (stopAtMs < Long.MAX_VALUE && ready == 0 && !isInFlight())) return;
            if (Lab.stopping && stopAtMs == Long.MAX_VALUE) {
                acceptSome(Lab.BACKLOG); // close(2) would reset those whose handshake is done
                listener.close();
                stopAtMs = nowMs + Lab.STOP_MS;
            }
            if (nowMs - tickMs < Lab.TURN_MS) continue;
            tickMs = nowMs;
            endLate();
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
