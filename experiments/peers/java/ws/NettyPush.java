import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelConfig;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelFutureListener;
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
import io.netty.channel.socket.SocketChannelConfig;
import io.netty.handler.codec.TooLongFrameException;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.DefaultHttpHeaders;
import io.netty.handler.codec.http.EmptyHttpHeaders;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpDecoderConfig;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpRequestDecoder;
import io.netty.handler.codec.http.HttpResponseEncoder;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.TooLongHttpHeaderException;
import io.netty.handler.codec.http.TooLongHttpLineException;
import io.netty.handler.codec.http.websocketx.BinaryWebSocketFrame;
import io.netty.handler.codec.http.websocketx.CloseWebSocketFrame;
import io.netty.handler.codec.http.websocketx.CorruptedWebSocketFrameException;
import io.netty.handler.codec.http.websocketx.PingWebSocketFrame;
import io.netty.handler.codec.http.websocketx.PongWebSocketFrame;
import io.netty.handler.codec.http.websocketx.TextWebSocketFrame;
import io.netty.handler.codec.http.websocketx.Utf8FrameValidator;
import io.netty.handler.codec.http.websocketx.WebSocket13FrameDecoder;
import io.netty.handler.codec.http.websocketx.WebSocketCloseStatus;
import io.netty.handler.codec.http.websocketx.WebSocketDecoderConfig;
import io.netty.handler.codec.http.websocketx.WebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketFrameAggregator;
import io.netty.handler.codec.http.websocketx.WebSocketFrameDecoder;
import io.netty.handler.codec.http.websocketx.WebSocketServerHandshaker13;
import io.netty.util.concurrent.EventExecutor;
import io.netty.util.concurrent.GlobalEventExecutor;
import io.netty.util.concurrent.ScheduledFuture;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** Netty's WebSocket codec: event loops own listeners, and a message is one task for each loop. */
final class NettyPush {
    private static final int MAX_MESSAGE = 65_535; // bytes of a message, in one frame or in many
    private static final int MAX_UNSENT = 256 * 1024; // of one listener, behind what its socket holds; beyond, it is reset
    private static final WebSocketDecoderConfig CODEC = WebSocketDecoderConfig.newBuilder()
        .maxFramePayloadLength(MAX_MESSAGE)
        .allowExtensions(false)
        .closeOnProtocolViolation(false) // the handler does, and lingers
        .withUTF8Validator(false) // a handler of its own behind the decoder
        .build();
    private static final int MAX_CLOSE_CODE = 4999;
    private static final String KEY = "[A-Za-z0-9+/]{21}[AQgw]=="; // 16 bytes in base64

    private static final ChannelGroup connections = new DefaultChannelGroup(GlobalEventExecutor.INSTANCE);
    private static final Map<EventExecutor, Set<Listener>> listeners = new HashMap<>(); // each set is used by its loop alone
    private static final Object order = new Object(); // whoever holds it puts a message into the queues of all loops

    private NettyPush() {}

    // ---- The handshake: what is wrong with it -----------------------------------------------------------------------

    private static FullHttpResponse refusal(HttpResponseStatus status) {
        HttpHeaders headers = new DefaultHttpHeaders().set(HttpHeaderNames.CONTENT_LENGTH, "0");
        boolean isUpgrade = status == HttpResponseStatus.UPGRADE_REQUIRED;
        headers.set(HttpHeaderNames.CONNECTION, isUpgrade ? "close, Upgrade" : "close");
        if (isUpgrade) headers.set(HttpHeaderNames.UPGRADE, "websocket").set(HttpHeaderNames.SEC_WEBSOCKET_VERSION, "13");
        if (status == HttpResponseStatus.METHOD_NOT_ALLOWED) headers.set(HttpHeaderNames.ALLOW, "GET");
        ByteBuf body = Unpooled.EMPTY_BUFFER;
        return new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status, body, headers, EmptyHttpHeaders.INSTANCE);
    }

    private static HttpResponseStatus statusOf(HttpRequest request) {
        if (!request.decoderResult().isSuccess()) {
            Throwable cause = request.decoderResult().cause();
            boolean isTooLong = cause instanceof TooLongHttpHeaderException || cause instanceof TooLongHttpLineException;
            return isTooLong ? HttpResponseStatus.REQUEST_HEADER_FIELDS_TOO_LARGE : HttpResponseStatus.BAD_REQUEST;
        }
        HttpHeaders fields = request.headers();
        if (request.protocolVersion().majorVersion() != 1) return HttpResponseStatus.HTTP_VERSION_NOT_SUPPORTED;
        if (!request.method().equals(HttpMethod.GET)) return HttpResponseStatus.METHOD_NOT_ALLOWED;
        if (Lab.workUs(request.uri()) != 0) return HttpResponseStatus.NOT_FOUND;
        boolean hasBody = !fields.get(HttpHeaderNames.CONTENT_LENGTH, "0").matches("0+");
        if (hasBody || fields.contains(HttpHeaderNames.TRANSFER_ENCODING)) return HttpResponseStatus.BAD_REQUEST;
        boolean isUpgrade = fields.containsValue(HttpHeaderNames.CONNECTION, "upgrade", true)
            && fields.containsValue(HttpHeaderNames.UPGRADE, "websocket", true)
            && request.protocolVersion().minorVersion() > 0
            && fields.get(HttpHeaderNames.SEC_WEBSOCKET_VERSION, "").equals("13");
        if (!isUpgrade) return HttpResponseStatus.UPGRADE_REQUIRED;
        List<String> keys = fields.getAll(HttpHeaderNames.SEC_WEBSOCKET_KEY);
        boolean isRight = keys.size() == 1 && keys.get(0).matches(KEY);
        return isRight ? HttpResponseStatus.SWITCHING_PROTOCOLS : HttpResponseStatus.BAD_REQUEST;
    }

    // ---- Connection: a pipeline, of HTTP first and then of WebSocket -------------------------------------------------

    /** Counts bytes on their way. */
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

        @Override
        public void channelInactive(ChannelHandlerContext context) throws Exception {
            super.channelInactive(context);
            Lab.closed.getAndIncrement();
        }
    }

    /** The decoder of frames, which says besides how much it has of a message whose end has not come. */
    private static final class FrameDecoder extends WebSocket13FrameDecoder {
        private final Listener listener;
        private int frameBytes, messageBytes; // of a frame, and of the frames before it, that are not whole
        private int kept; // its bytes of Lab.keptBytes

        FrameDecoder(Listener listener) {
            super(CODEC);
            this.listener = listener;
        }

        @Override
        protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) throws Exception {
            int from = in.readerIndex(), before = out.size();
            super.decode(context, in, out);
            frameBytes += in.readerIndex() - from;
            if (out.size() == before) return;
            WebSocketFrame frame = (WebSocketFrame) out.get(before);
            boolean isControl = frame instanceof PingWebSocketFrame || frame instanceof PongWebSocketFrame;
            if (!isControl) messageBytes = frame.isFinalFragment() ? 0 : messageBytes + frameBytes;
            frameBytes = 0;
            if (messageBytes == 0) listener.stopClock();
        }

        /** The codec takes codes above 4999, and looks at the reason behind one. */
        @Override
        protected void checkCloseFrameBody(ChannelHandlerContext context, ByteBuf body) {
            boolean hasCode = body != null && body.readableBytes() >= 2;
            if (hasCode && body.getUnsignedShort(body.readerIndex()) > MAX_CLOSE_CODE) {
                throw new CorruptedWebSocketFrameException(WebSocketCloseStatus.PROTOCOL_ERROR, "a code out of range");
            }
            super.checkCloseFrameBody(context, body);
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) throws Exception {
            super.channelReadComplete(context);
            int partial = frameBytes + messageBytes + actualReadableBytes();
            if (partial > 0) listener.startClock();
            ChannelOutboundBuffer unsent = context.channel().unsafe().outboundBuffer();
            keep(context, partial + (unsent == null ? 0 : (int) unsent.totalPendingWriteBytes()));
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
            keep(context, 0);
            super.channelInactive(context);
        }
    }

    /** The last handler of a pipeline, which shakes hands and then listens. */
    private static final class Listener extends SimpleChannelInboundHandler<Object> {
        private static final ChannelFutureListener COUNT = sent -> {
            if (sent.isSuccess()) Lab.delivered.getAndIncrement();
        };
        private ChannelHandlerContext context;
        private boolean isOpen; // it is in the set of its loop
        private boolean isBroken; // it has broken the protocol: what comes behind is of no interest
        private boolean isLeaving; // it has got its last answer
        private ScheduledFuture<?> due; // ends a handshake or a message that takes too long; null: none has begun

        @Override
        public void handlerAdded(ChannelHandlerContext context) {
            this.context = context;
        }

        @Override
        public void channelActive(ChannelHandlerContext context) {
            connections.add(context.channel());
            startClock();
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, Object message) {
            if (isLeaving || isBroken) return;
            if (message instanceof HttpRequest request) shakeHands(request);
            else if (message instanceof TextWebSocketFrame frame) publish(frame.content());
            else if (message instanceof BinaryWebSocketFrame) fail(1003);
            else if (message instanceof PingWebSocketFrame frame) later(pong(frame.content().retain()));
            else if (message instanceof CloseWebSocketFrame frame) {
                int code = frame.statusCode();
                later(() -> end(code < 0 ? new CloseWebSocketFrame() : new CloseWebSocketFrame(code, "")));
            }
        }

        private Runnable pong(ByteBuf payload) {
            return () -> {
                if (isLeaving) payload.release();
                else context.writeAndFlush(new PongWebSocketFrame(payload));
            };
        }

        /** What answers a frame goes behind the messages that came before it, which are tasks of the loop. */
        private void later(Runnable task) {
            context.executor().execute(task);
        }

        private void shakeHands(HttpRequest request) {
            HttpResponseStatus status = statusOf(request);
            if (status != HttpResponseStatus.SWITCHING_PROTOCOLS || Lab.stopping) {
                refuse(Lab.stopping ? HttpResponseStatus.SERVICE_UNAVAILABLE : status);
                return;
            }
            stopClock();
            isOpen = true;
            listeners.get(context.executor()).add(this);
            context.pipeline().addBefore(context.name(), "text", new Utf8FrameValidator(false));
            context.pipeline().addBefore(context.name(), "message", new WebSocketFrameAggregator(MAX_MESSAGE) {
                @Override
                public boolean acceptInboundMessage(Object message) throws Exception { // binary is refused by its first frame
                    return !(message instanceof BinaryWebSocketFrame) && super.acceptInboundMessage(message);
                }
            });
            request.headers().set(HttpHeaderNames.UPGRADE, "websocket"); // a list, which the handshaker would refuse
            FullHttpRequest whole = new DefaultFullHttpRequest(request.protocolVersion(), request.method(), request.uri(),
                Unpooled.EMPTY_BUFFER, request.headers(), EmptyHttpHeaders.INSTANCE);
            new WebSocketServerHandshaker13("", null, CODEC) {
                @Override
                protected WebSocketFrameDecoder newWebsocketDecoder() {
                    return new FrameDecoder(Listener.this);
                }
            }.handshake(context.channel(), whole);
        }

        private void refuse(HttpResponseStatus status) {
            Lab.countStatus(status.code());
            leave(refusal(status));
        }

        /** Sends a frame that all share. A listener that has too much unsent is reset: a Close would not reach it. */
        void send(ByteBuf frame) {
            ChannelOutboundBuffer unsent = context.channel().unsafe().outboundBuffer();
            if (unsent == null) return; // it closes
            if (unsent.totalPendingWriteBytes() <= MAX_UNSENT) {
                context.writeAndFlush(frame.retainedDuplicate()).addListener(COUNT);
                return;
            }
            Lab.countError("MAX_UNSENT");
            isLeaving = true;
            ((SocketChannelConfig) context.channel().config()).setSoLinger(0); // close(2) sends RST
            context.close();
        }

        private void fail(int code) {
            isBroken = true;
            later(() -> {
                if (isLeaving) return;
                Lab.countStatus(code);
                end(new CloseWebSocketFrame(code, ""));
            });
        }

        void end(CloseWebSocketFrame frame) {
            if (isLeaving) frame.release();
            else leave(frame);
        }

        /**
         * With input unread close(2) would send RST, and the peer might lose this: linger until it closes its half. The
         * time starts when the socket has taken the last byte.
         */
        private void leave(Object last) {
            isLeaving = true;
            stopClock();
            DuplexChannel channel = (DuplexChannel) context.channel();
            context.writeAndFlush(last).addListener(sent -> {
                channel.shutdownOutput();
                channel.eventLoop().schedule(() -> channel.close(), Lab.LINGER_MS, TimeUnit.MILLISECONDS);
                channel.config().setAutoRead(true);
            });
        }

        void startClock() {
            if (due != null || isLeaving) return;
            due = context.executor().schedule(() -> {
                due = null;
                if (!context.channel().config().isAutoRead()) startClock(); // it waits for this server, not for the peer
                else if (isOpen) fail(1008);
                else refuse(HttpResponseStatus.REQUEST_TIMEOUT);
            }, Lab.HEAD_MS, TimeUnit.MILLISECONDS);
        }

        void stopClock() {
            if (due != null) due.cancel(false);
            due = null;
        }

        /** A client that does not read is not read either. */
        @Override
        public void channelWritabilityChanged(ChannelHandlerContext context) {
            context.channel().config().setAutoRead(isLeaving || context.channel().isWritable());
        }

        @Override
        public void userEventTriggered(ChannelHandlerContext context, Object event) {
            if (event instanceof ChannelInputShutdownEvent) later(() -> context.close());
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) {
            stopClock();
            listeners.get(context.executor()).remove(this);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            Throwable cause = error.getCause() == null ? error : error.getCause(); // a decoder wraps what it throws
            if ((isLeaving || isBroken) && !(cause instanceof IOException)) return;
            if (cause instanceof CorruptedWebSocketFrameException broken) fail(broken.closeStatus().code());
            else if (cause instanceof TooLongFrameException) fail(1009);
            else {
                Lab.countError(cause);
                context.close();
            }
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

    // ---- The architecture: a message is framed once, and is one task in the queue of each loop ----------------------

    /** Puts a message into the queues of all loops at once, so that all listeners get messages in one order. */
    private static void publish(ByteBuf text) {
        int length = text.readableBytes();
        ByteBuf frame = Unpooled.directBuffer(length + 4).writeByte(0x81); // the last frame of a text, as it is the only one
        if (length < 126) frame.writeByte(length);
        else frame.writeByte(126).writeShort(length);
        frame.writeBytes(text);
        synchronized (order) {
            Lab.served.getAndIncrement();
            frame.retain(listeners.size());
            listeners.forEach((loop, own) -> loop.execute(() -> {
                for (Listener listener : own) if (!listener.isLeaving) listener.send(frame);
                frame.release();
            }));
        }
        frame.release();
    }

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
                    HttpDecoderConfig bounds =
                        new HttpDecoderConfig().setMaxInitialLineLength(Lab.MAX_HEAD).setMaxHeaderSize(Lab.MAX_HEAD);
                    channel.pipeline().addLast(
                        new Counter(), new HttpRequestDecoder(bounds), new HttpResponseEncoder(), new Listener());
                }
            })
            .bind(address)
            .await();
    }

    /** Accepts what has completed its handshake, since close(2) would reset it. A turn of the loop accepts a few. */
    private static void acceptWaiting(EventLoopGroup loops) throws InterruptedException {
        long before;
        do {
            before = Lab.accepted.get();
            waitForTurn(loops);
        } while (Lab.accepted.get() != before);
    }

    /** Waits for a turn of each loop: what is scheduled runs behind a look at the descriptors. */
    private static void waitForTurn(EventLoopGroup loops) throws InterruptedException {
        for (EventExecutor loop : loops) {
            for (int i = 0; i < 2; i++) loop.schedule(() -> {}, 1, TimeUnit.MILLISECONDS).await(Lab.STOP_MS);
        }
    }

    /** Takes leave of all that listen, and waits until they have closed. */
    private static void seeOff() throws InterruptedException {
        listeners.forEach((loop, own) -> loop.execute(() -> {
            for (Listener listener : own) listener.end(new CloseWebSocketFrame(1001, ""));
        }));
        connections.newCloseFuture().await(Lab.STOP_MS);
    }

    private static void waitForever() {
        try {
            new CountDownLatch(1).await();
        } catch (InterruptedException error) {
            throw new IllegalStateException(error); // nobody interrupts
        }
    }

    /** Listens to itself once: a class is loaded when it is first used, which must not be when no descriptor is left. */
    private static void warmUp(InetSocketAddress address, EventLoopGroup loops) throws IOException, InterruptedException {
        String head = "GET / HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        byte[] frames = {(byte) 0x81, (byte) 0x81, 0, 0, 0, 0, 'x', (byte) 0x88, (byte) 0x80, 0, 0, 0, 0}; // a text, a Close
        try (Socket client = new Socket(address.getAddress(), address.getPort())) {
            client.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            client.getOutputStream().write(frames);
            client.getInputStream().readAllBytes(); // up to the end of the connection
        }
        connections.newCloseFuture().await();
        waitForTurn(loops); // in which its handlers hear of the end
        Lab.forgetCounts();
        Lab.delivered.set(0);
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        InetSocketAddress address = Lab.readAddress("ws-netty", args);
        if (!Epoll.isAvailable()) {
            System.err.println("ws-netty cannot run here: Netty's native part does not load: "
                + Epoll.unavailabilityCause().getMessage());
            System.exit(69);
        }
        Lab.delivered = new AtomicLong();
        EventLoopGroup loops =
            new MultiThreadIoEventLoopGroup(Runtime.getRuntime().availableProcessors(), EpollIoHandler.newFactory());
        for (EventExecutor loop : loops) listeners.put(loop, new LinkedHashSet<>());
        ChannelFuture bound = listen(loops, address);
        if (!bound.isSuccess()) Lab.cannotBind(address, bound.cause());
        warmUp((InetSocketAddress) bound.channel().localAddress(), loops);
        CountDownLatch stop = new CountDownLatch(1);
        Lab.beforeHalt = () -> loops.forEach(loop -> loop.execute(NettyPush::waitForever));
        Lab.onSignal(stop::countDown);
        Lab.sayReady("ws-netty", (InetSocketAddress) bound.channel().localAddress());
        stop.await();
        acceptWaiting(loops);
        bound.channel().close().await(); // it cannot fail
        seeOff();
        Lab.sayStoppedAndExit();
    }
}
