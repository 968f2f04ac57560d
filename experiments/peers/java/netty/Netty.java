import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelConfig;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandler.Sharable;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.FixedRecvByteBufAllocator;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.group.DefaultChannelGroup;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.channel.socket.DuplexChannel;
import io.netty.channel.socket.SocketChannel;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.TooLongFrameException;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpDecoderConfig;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpRequestDecoder;
import io.netty.handler.codec.http.HttpResponseEncoder;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.util.concurrent.GlobalEventExecutor;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Netty: event loops over epoll, and for each connection a pipeline of handlers, its HTTP codec among them. */
final class Netty {
    private static final ByteBuf HELLO =
        Unpooled.unreleasableBuffer(Unpooled.directBuffer().writeBytes("Hello World".getBytes(StandardCharsets.US_ASCII)));
    private static final ChannelGroup connections = new DefaultChannelGroup(GlobalEventExecutor.INSTANCE);

    private static final Object STOP = new Object(); // the event that the server stops

    private Netty() {}

    // ---- Connection: a pipeline of three handlers ------------------------------------------------------------------

    /** The decoder of HttpServerCodec. That bounds the request line and the fields each alone; this, the whole head. */
    private static final class Decoder extends HttpRequestDecoder {
        private int headBytes; // taken of a head whose end has not come

        Decoder() {
            super(new HttpDecoderConfig().setMaxInitialLineLength(Lab.MAX_HEAD).setMaxHeaderSize(Lab.MAX_HEAD));
        }

        @Override
        protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) throws Exception {
            int from = in.readerIndex(), had = out.size();
            super.decode(context, in, out);
            headBytes += in.readerIndex() - from;
            if (out.size() == had) return;
            boolean isTooLong = headBytes > Lab.MAX_HEAD;
            headBytes = 0;
            // Of one that is malformed the decoder has thrown away all that came behind it too.
            if (!isTooLong || !(out.get(had) instanceof HttpRequest request) || request.decoderResult().isFailure()) return;
            request.setDecoderResult(DecoderResult.failure(new TooLongFrameException()));
        }

        /** Keeps it to itself that the server stops where half a head has come: its answer will be the last one. */
        @Override
        public void userEventTriggered(ChannelHandlerContext context, Object event) throws Exception {
            boolean isIdle = headBytes == 0 && actualReadableBytes() == 0;
            if (event != STOP || isIdle) super.userEventTriggered(context, event);
        }
    }

    private static final class Answerer extends SimpleChannelInboundHandler<HttpObject> {
        private boolean isLeaving; // it was answered for the last time, or nothing more is to come

        @Override
        public void channelActive(ChannelHandlerContext context) {
            Lab.accepted.getAndIncrement();
            connections.add(context.channel());
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, HttpObject message) {
            if (isLeaving || !(message instanceof HttpRequest request)) return; // a body is read away
            FullHttpResponse answer = answer(request);
            HttpResponseStatus status = answer.status();
            boolean isBroken = status.equals(HttpResponseStatus.BAD_REQUEST)
                || status.equals(HttpResponseStatus.REQUEST_HEADER_FIELDS_TOO_LARGE);
            boolean isOld = !request.protocolVersion().equals(HttpVersion.HTTP_1_1);
            if (isBroken) answer.headers().set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
            context.write(answer);
            if (isBroken || isOld || !HttpUtil.isKeepAlive(request) || Lab.stopping) leave(context);
        }

        private static FullHttpResponse answer(HttpRequest request) {
            if (!request.decoderResult().isSuccess()) {
                boolean isTooLong = request.decoderResult().cause() instanceof TooLongFrameException;
                return refusal(
                    isTooLong ? HttpResponseStatus.REQUEST_HEADER_FIELDS_TOO_LARGE : HttpResponseStatus.BAD_REQUEST);
            }
            if (!request.method().equals(HttpMethod.GET)) {
                FullHttpResponse answer = refusal(HttpResponseStatus.METHOD_NOT_ALLOWED);
                answer.headers().set(HttpHeaderNames.ALLOW, HttpMethod.GET);
                return answer;
            }
            int workUs = Lab.workUs(request.uri());
            if (workUs < 0) return refusal(HttpResponseStatus.NOT_FOUND);
            if (workUs > 0) Lab.burnHere(workUs);
            Lab.served.getAndIncrement();
            return response(HttpResponseStatus.OK, HELLO.duplicate());
        }

        private static FullHttpResponse refusal(HttpResponseStatus status) {
            Lab.countError(status.codeAsText().toString());
            return response(status, Unpooled.EMPTY_BUFFER);
        }

        private static FullHttpResponse response(HttpResponseStatus status, ByteBuf body) {
            FullHttpResponse response = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status, body);
            response.headers().setInt(HttpHeaderNames.CONTENT_LENGTH, body.readableBytes());
            return response;
        }

        /** With input unread close(2) would send RST, and the peer might lose this: linger until it closes its half. */
        private void leave(ChannelHandlerContext context) {
            isLeaving = true;
            DuplexChannel channel = (DuplexChannel) context.channel();
            channel.writeAndFlush(Unpooled.EMPTY_BUFFER).addListener(sent -> channel.shutdownOutput());
            channel.eventLoop().schedule(() -> channel.close(), Lab.LINGER_MS, TimeUnit.MILLISECONDS);
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush(); // the answers of one read in one call
        }

        /** A client that does not read its answers is not read either. */
        @Override
        public void channelWritabilityChanged(ChannelHandlerContext context) {
            context.channel().config().setAutoRead(context.channel().isWritable());
        }

        @Override
        public void userEventTriggered(ChannelHandlerContext context, Object event) {
            boolean isHalfClosed = event instanceof ChannelInputShutdownEvent;
            if (!isHalfClosed && (event != STOP || isLeaving)) return;
            isLeaving = true; // nothing more will be asked: close when the answers are sent
            context.writeAndFlush(Unpooled.EMPTY_BUFFER).addListener(ChannelFutureListener.CLOSE);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            Lab.countError(error);
            context.close();
        }
    }

    /** Where no descriptor is left, accepting pauses. Netty's own pause is a second, and the log it keeps needs a file. */
    @Sharable
    private static final class AcceptErrors extends ChannelInboundHandlerAdapter {
        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            Lab.countError(error);
            ChannelConfig listener = context.channel().config();
            listener.setAutoRead(false);
            context.executor().schedule(() -> listener.setAutoRead(true), Lab.TURN_MS, TimeUnit.MILLISECONDS);
        }
    }

    // ---- The architecture: event loops, each with connections of its own -------------------------------------------

    private static ChannelFuture listen(EpollEventLoopGroup loops, InetSocketAddress address) throws InterruptedException {
        return new ServerBootstrap()
            .group(loops)
            .channel(EpollServerSocketChannel.class)
            .option(ChannelOption.SO_BACKLOG, Lab.BACKLOG)
            .handler(new AcceptErrors())
            .childOption(ChannelOption.TCP_NODELAY, true)
            .childOption(ChannelOption.ALLOW_HALF_CLOSURE, true)
            .childOption(ChannelOption.RCVBUF_ALLOCATOR, new FixedRecvByteBufAllocator(Lab.INBOX))
            .childHandler(new ChannelInitializer<SocketChannel>() {
                @Override
                protected void initChannel(SocketChannel channel) {
                    channel.pipeline().addLast(new Decoder(), new HttpResponseEncoder(), new Answerer());
                }
            })
            .bind(address)
            .await();
    }

    /** Closes those of which nothing is in flight, and waits until all have left or STOP_MS are over. */
    private static void seeOff() throws InterruptedException {
        for (Channel connection : connections) connection.pipeline().fireUserEventTriggered(STOP);
        connections.newCloseFuture().await(Lab.STOP_MS);
    }

    /** Asks itself once: a class is loaded when it is first used, which must not be when no descriptor is left for it. */
    private static void warmUp(InetSocketAddress address) throws IOException {
        try (Socket client = new Socket(address.getAddress(), address.getPort())) {
            client.getOutputStream().write("GET / HTTP/1.0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            client.getInputStream().readAllBytes(); // up to the end of the connection
        }
        Lab.accepted.getAndDecrement();
        Lab.served.getAndDecrement();
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        InetSocketAddress address = Lab.readAddress("java-netty", args);
        if (!Epoll.isAvailable()) {
            System.err.println("java-netty cannot run here: Netty's native part does not load: "
                + Epoll.unavailabilityCause().getMessage());
            System.exit(69);
        }
        ChannelFuture bound = listen(new EpollEventLoopGroup(Runtime.getRuntime().availableProcessors()), address);
        if (!bound.isSuccess()) Lab.cannotBind(address, bound.cause());
        warmUp((InetSocketAddress) bound.channel().localAddress());
        CountDownLatch stop = new CountDownLatch(1);
        Lab.onSignal(stop::countDown);
        Lab.sayReady("java-netty", (InetSocketAddress) bound.channel().localAddress());
        stop.await();
        bound.channel().close().await(); // it cannot fail
        seeOff();
        Lab.sayStoppedAndExit();
    }
}
