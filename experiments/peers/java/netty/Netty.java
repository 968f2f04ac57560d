import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelConfig;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandler.Sharable;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelOutboundBuffer;
import io.netty.channel.ChannelPromise;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.FixedRecvByteBufAllocator;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollChannelOption;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.group.DefaultChannelGroup;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.channel.socket.DuplexChannel;
import io.netty.channel.socket.SocketChannel;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.DefaultHttpHeadersFactory;
import io.netty.handler.codec.http.EmptyHttpHeaders;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpDecoderConfig;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpRequestDecoder;
import io.netty.handler.codec.http.HttpResponseEncoder;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.ReadOnlyHttpHeaders;
import io.netty.handler.codec.http.TooLongHttpHeaderException;
import io.netty.handler.codec.http.TooLongHttpLineException;
import io.netty.util.concurrent.EventExecutor;
import io.netty.util.concurrent.GlobalEventExecutor;
import io.netty.util.concurrent.ScheduledFuture;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Netty: event loops over epoll, and for each connection a pipeline of handlers, its HTTP codec among them. */
final class Netty {
    private static final ByteBuf HELLO =
        Unpooled.unreleasableBuffer(Unpooled.directBuffer().writeBytes("Hello World".getBytes(StandardCharsets.US_ASCII)));
    private static final ChannelGroup connections = new DefaultChannelGroup(GlobalEventExecutor.INSTANCE);

    private static final Object LATE = new Object(); // the event that a head takes too long

    private Netty() {}

    // ---- Answers: constants, which the encoder makes bytes of ------------------------------------------------------

    private static final HttpHeaders HELLO_HEADERS = headers("11"), REFUSAL_HEADERS = headers("0");
    private static final HttpHeaders LAST_HELLO_HEADERS = headers("11", HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
    private static final HttpHeaders LAST_REFUSAL_HEADERS = headers("0", HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
    private static final HttpHeaders NOT_ALLOWED_HEADERS = headers("0", HttpHeaderNames.ALLOW, "GET");
    private static final HttpHeaders LAST_NOT_ALLOWED_HEADERS =
        headers("0", HttpHeaderNames.ALLOW, "GET", HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);

    private static HttpHeaders headers(String length, CharSequence... more) {
        CharSequence[] all = new CharSequence[more.length + 2];
        all[0] = HttpHeaderNames.CONTENT_LENGTH;
        all[1] = length;
        System.arraycopy(more, 0, all, 2, more.length);
        return new ReadOnlyHttpHeaders(false, all);
    }

    private static FullHttpResponse answerTo(HttpResponseStatus status, boolean isLast) {
        boolean isHello = status == HttpResponseStatus.OK;
        HttpHeaders headers = isHello ? isLast ? LAST_HELLO_HEADERS : HELLO_HEADERS
            : status == HttpResponseStatus.METHOD_NOT_ALLOWED ? isLast ? LAST_NOT_ALLOWED_HEADERS : NOT_ALLOWED_HEADERS
            : isLast ? LAST_REFUSAL_HEADERS : REFUSAL_HEADERS;
        ByteBuf body = isHello ? HELLO.duplicate() : Unpooled.EMPTY_BUFFER;
        return new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status, body, headers, EmptyHttpHeaders.INSTANCE);
    }

    // ---- Connection: a pipeline of four handlers -------------------------------------------------------------------

    /** Counts bytes on their way, and those that the connection keeps. */
    private static final class Counter extends ChannelDuplexHandler {
        @Override
        public void channelRead(ChannelHandlerContext context, Object bytes) throws Exception {
            Lab.bytesIn.getAndAdd(((ByteBuf) bytes).readableBytes());
            super.channelRead(context, bytes);
        }

        @Override
        public void write(ChannelHandlerContext context, Object bytes, ChannelPromise sent) throws Exception {
            Lab.bytesOut.getAndAdd(((ByteBuf) bytes).readableBytes());
            super.write(context, bytes, sent);
        }
    }

    /** The decoder of HttpServerCodec. That bounds the request line and the fields each alone; this, the whole head. */
    private static final class Decoder extends HttpRequestDecoder {
        private int headBytes; // taken of a head whose end has not come
        private int kept; // its bytes of Lab.keptBytes
        private ScheduledFuture<?> due; // refuses a head that takes too long; null: none has begun

        Decoder() {
            super(new HttpDecoderConfig()
                .setMaxInitialLineLength(Lab.MAX_HEAD)
                .setMaxHeaderSize(Lab.MAX_HEAD)
                .setHeadersFactory(DefaultHttpHeadersFactory.headersFactory().withValidation(false)));
        }

        @Override
        protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) throws Exception {
            int from = in.readerIndex(), before = out.size();
            super.decode(context, in, out);
            headBytes += in.readerIndex() - from;
            if (out.size() == before) return;
            boolean isTooLong = headBytes > Lab.MAX_HEAD;
            headBytes = 0;
            if (due != null) due.cancel(false);
            due = null;
            // Of one that is malformed the decoder has thrown away all that came behind it too.
            if (!isTooLong || !(out.get(before) instanceof HttpRequest request) || request.decoderResult().isFailure()) return;
            request.setDecoderResult(DecoderResult.failure(new TooLongHttpHeaderException()));
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) throws Exception {
            super.channelReadComplete(context);
            int partial = actualReadableBytes();
            boolean hasBegun = headBytes > 0 || partial > 0;
            if (hasBegun && due == null) startClock(context);
            ChannelOutboundBuffer unsent = context.channel().unsafe().outboundBuffer();
            keep(context, partial + (unsent == null ? 0 : (int) unsent.totalPendingWriteBytes()));
        }

        private void startClock(ChannelHandlerContext context) {
            due = context.executor().schedule(() -> {
                if (context.channel().config().isAutoRead()) context.fireUserEventTriggered(LATE);
                else startClock(context); // it waits for this server, not for the peer
            }, Lab.HEAD_MS, TimeUnit.MILLISECONDS);
        }

        private void keep(ChannelHandlerContext context, int bytes) {
            int change = bytes - kept;
            kept = bytes;
            try {
                Lab.keep(change);
            } catch (IOException error) {
                Lab.countError(error);
                context.close();
            }
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) throws Exception {
            if (due != null) due.cancel(false);
            keep(context, 0);
            Lab.closed.getAndIncrement();
            super.channelInactive(context);
        }

        boolean isBusy() {
            return kept > 0 || headBytes > 0;
        }
    }

    private static final class Answerer extends SimpleChannelInboundHandler<HttpObject> {
        private boolean isLeaving; // it was answered for the last time, or nothing more is to come
        private boolean hasEnded; // the peer has closed its half
        private ArrayDeque<HttpRequest> queue; // requests behind one that asks for work, and are not read any more; or null

        @Override
        public void channelActive(ChannelHandlerContext context) {
            connections.add(context.channel());
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, HttpObject message) {
            if (isLeaving || !(message instanceof HttpRequest request)) return; // a body is read away
            if (queue != null) queue.add(request);
            else if (Lab.workUs(request.uri()) <= 0) answer(context, request);
            else {
                queue = new ArrayDeque<>();
                queue.add(request);
                context.channel().config().setAutoRead(false);
                context.executor().execute(() -> work(context));
            }
        }

        /** Serves a request for work, and leaves the others to later turns of the loop, which serves others in between. */
        private void work(ChannelHandlerContext context) {
            HttpRequest request = queue.poll();
            if (request == null || isLeaving || !context.channel().isActive()) {
                queue = null;
                if (hasEnded) closeWhenSent(context);
                else setReading(context);
                return;
            }
            answer(context, request);
            context.flush();
            context.executor().execute(() -> work(context));
        }

        private void answer(ChannelHandlerContext context, HttpRequest request) {
            HttpResponseStatus status = statusOf(request);
            Lab.countStatus(status.code());
            boolean isBroken = status == HttpResponseStatus.BAD_REQUEST
                || status == HttpResponseStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                || status == HttpResponseStatus.HTTP_VERSION_NOT_SUPPORTED;
            boolean isOld = request.protocolVersion().minorVersion() == 0;
            boolean isOver = Lab.stopping && (queue == null || queue.isEmpty());
            boolean isLast = isBroken || isOld || isOver || !HttpUtil.isKeepAlive(request);
            context.write(answerTo(status, isLast));
            if (isLast) leave(context);
        }

        private static HttpResponseStatus statusOf(HttpRequest request) {
            if (!request.decoderResult().isSuccess()) {
                Throwable cause = request.decoderResult().cause();
                boolean isTooLong = cause instanceof TooLongHttpHeaderException || cause instanceof TooLongHttpLineException;
                return isTooLong ? HttpResponseStatus.REQUEST_HEADER_FIELDS_TOO_LARGE : HttpResponseStatus.BAD_REQUEST;
            }
            if (request.protocolVersion().majorVersion() != 1) return HttpResponseStatus.HTTP_VERSION_NOT_SUPPORTED;
            if (!request.method().equals(HttpMethod.GET)) return HttpResponseStatus.METHOD_NOT_ALLOWED;
            int workUs = Lab.workUs(request.uri());
            if (workUs < 0) return HttpResponseStatus.NOT_FOUND;
            if (workUs > 0) Lab.burnHere(workUs);
            return HttpResponseStatus.OK;
        }

        /**
         * With input unread close(2) would send RST, and the peer might lose this: linger until it closes its half. The
         * time starts when the socket has taken the last byte.
         */
        private void leave(ChannelHandlerContext context) {
            isLeaving = true;
            DuplexChannel channel = (DuplexChannel) context.channel();
            channel.writeAndFlush(Unpooled.EMPTY_BUFFER).addListener(sent -> {
                channel.shutdownOutput();
                channel.eventLoop().schedule(() -> channel.close(), Lab.LINGER_MS, TimeUnit.MILLISECONDS);
                setReading(context);
            });
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush(); // the answers of one read in one call
        }

        /** A client that does not read its answers is not read either. */
        @Override
        public void channelWritabilityChanged(ChannelHandlerContext context) {
            setReading(context);
        }

        private void setReading(ChannelHandlerContext context) {
            context.channel().config().setAutoRead(queue == null && context.channel().isWritable());
        }

        @Override
        public void userEventTriggered(ChannelHandlerContext context, Object event) {
            if (isLeaving) return;
            if (event == LATE) {
                Lab.countStatus(HttpResponseStatus.REQUEST_TIMEOUT.code());
                context.write(answerTo(HttpResponseStatus.REQUEST_TIMEOUT, true));
                leave(context);
                return;
            }
            hasEnded |= event instanceof ChannelInputShutdownEvent;
            if (queue == null && hasEnded) closeWhenSent(context);
        }

        boolean isBusy() {
            return isLeaving || queue != null;
        }

        /** Ends a connection on which nothing more will be asked. */
        private void closeWhenSent(ChannelHandlerContext context) {
            isLeaving = true;
            context.writeAndFlush(Unpooled.EMPTY_BUFFER).addListener(sent -> context.close());
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            Lab.countError(error);
            context.close();
        }
    }

    /** Where no descriptor is left, accepting pauses. Netty's own pause is a second, and the log it keeps needs a file. */
    @Sharable
    private static final class Accepter extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object connection) throws Exception {
            Lab.accepted.getAndIncrement();
            super.channelRead(context, connection);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            if (error instanceof IOException passing && Lab.isPassing(passing)) return;
            Lab.countError(error);
            ChannelConfig listener = context.channel().config();
            listener.setAutoRead(false);
            context.executor().schedule(() -> listener.setAutoRead(true), Lab.TURN_MS, TimeUnit.MILLISECONDS);
        }
    }

    // ---- The architecture: event loops, each with connections of its own -------------------------------------------

    private static ChannelFuture listen(EventLoopGroup loops, InetSocketAddress address) throws InterruptedException {
        return new ServerBootstrap()
            .group(loops)
            .channel(EpollServerSocketChannel.class)
            .option(ChannelOption.SO_BACKLOG, Lab.BACKLOG)
            .handler(new Accepter())
            .childOption(ChannelOption.TCP_NODELAY, true) // a listener of Netty takes none of these
            .childOption(ChannelOption.SO_KEEPALIVE, true)
            .childOption(EpollChannelOption.TCP_KEEPIDLE, Lab.KEEPALIVE_IDLE_S)
            .childOption(EpollChannelOption.TCP_KEEPINTVL, Lab.KEEPALIVE_INTERVAL_S)
            .childOption(EpollChannelOption.TCP_KEEPCNT, Lab.KEEPALIVE_PROBES)
            .childOption(EpollChannelOption.TCP_USER_TIMEOUT, Lab.PROGRESS_MS)
            .childOption(ChannelOption.ALLOW_HALF_CLOSURE, true)
            .childOption(ChannelOption.RECVBUF_ALLOCATOR, new FixedRecvByteBufAllocator(Lab.INBOX))
            .childHandler(new ChannelInitializer<SocketChannel>() {
                @Override
                protected void initChannel(SocketChannel channel) {
                    channel.pipeline().addLast(new Counter(), new Decoder(), new HttpResponseEncoder(), new Answerer());
                }
            })
            .bind(address)
            .await();
    }

    /**
     * Accepts what has completed its handshake, since close(2) would reset it. A turn of the loop accepts a few.
     */
    private static void acceptWaiting(EventLoopGroup loops) throws InterruptedException {
        long before;
        do {
            before = Lab.accepted.get();
            waitForTurn(loops);
        } while (Lab.accepted.get() != before);
    }

    /**
     * Waits for a turn of each loop, or no longer than what is in flight may take. A task may run in the turn that is on;
     * one that is scheduled runs in the next, behind a look at the descriptors.
     */
    private static void waitForTurn(EventLoopGroup loops) throws InterruptedException {
        for (EventExecutor loop : loops) {
            for (int i = 0; i < 2; i++) loop.schedule(() -> {}, 1, TimeUnit.MILLISECONDS).await(Lab.STOP_MS);
        }
    }

    /**
     * Waits until nothing is in flight, or STOP_MS are over: between two looks, a turn of the loops before each, no byte
     * has come and no connection was busy.
     */
    private static void seeOff(EventLoopGroup loops) throws InterruptedException {
        long untilMs = Lab.nowMs() + Lab.STOP_MS, before = -1;
        for (int quiet = 0; quiet < 2 && Lab.nowMs() < untilMs;) {
            Thread.sleep(Lab.QUIET_MS);
            waitForTurn(loops);
            long now = Lab.bytesIn.get();
            quiet = now == before && connections.stream().noneMatch(Netty::isBusy) ? quiet + 1 : 0;
            before = now;
        }
    }

    private static boolean isBusy(Channel connection) {
        Decoder decoder = connection.pipeline().get(Decoder.class);
        Answerer answerer = connection.pipeline().get(Answerer.class);
        return !connection.isWritable() || (decoder != null && decoder.isBusy()) || (answerer != null && answerer.isBusy());
    }

    private static void waitForever() {
        try {
            new CountDownLatch(1).await();
        } catch (InterruptedException error) {
            throw new IllegalStateException(error); // nobody interrupts
        }
    }

    /** Asks itself once: a class is loaded when it is first used, which must not be when no descriptor is left for it. */
    private static void warmUp(InetSocketAddress address, EventLoopGroup loops) throws IOException, InterruptedException {
        try (Socket client = new Socket(address.getAddress(), address.getPort())) {
            client.getOutputStream().write("GET / HTTP/1.0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            client.getInputStream().readAllBytes(); // up to the end of the connection
        }
        connections.newCloseFuture().await();
        waitForTurn(loops); // in which its handlers hear of the end
        acceptWaiting(loops); // the way out has only a second, of which its classes would take a part
        seeOff(loops);
        Lab.forgetCounts();
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        InetSocketAddress address = Lab.readAddress("java-netty", args);
        if (!Epoll.isAvailable()) {
            System.err.println("java-netty cannot run here: Netty's native part does not load: "
                + Epoll.unavailabilityCause().getMessage());
            System.exit(69);
        }
        EventLoopGroup loops =
            new MultiThreadIoEventLoopGroup(Runtime.getRuntime().availableProcessors(), EpollIoHandler.newFactory());
        ChannelFuture bound = listen(loops, address);
        if (!bound.isSuccess()) Lab.cannotBind(address, bound.cause());
        warmUp((InetSocketAddress) bound.channel().localAddress(), loops);
        CountDownLatch stop = new CountDownLatch(1);
        Lab.beforeHalt = () -> loops.forEach(loop -> loop.execute(Netty::waitForever));
        Lab.onSignal(stop::countDown);
        Lab.sayReady("java-netty", (InetSocketAddress) bound.channel().localAddress());
        stop.await();
        acceptWaiting(loops);
        bound.channel().close().await(); // it cannot fail
        seeOff(loops);
        Lab.sayStoppedAndExit();
    }
}
