//! rust-tokio: a task for each connection, which the compiler makes a state machine of; an event loop runs them all.

mod lab;
mod protocol;

use lab::{burn, has_stopped_listening, is_stopping, name_of, InFlight, Kept, Signals, COUNTS, STOP_ACCEPTING};
use protocol::{answer_to, parse_head};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::process::exit;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout, timeout_at, Instant};

const BACKLOG: u32 = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const INBOX: usize = 16384; // bytes of one read: more than MAX_HEAD, so that a head over it is seen as such
const ACCEPT_PAUSE: Duration = Duration::from_millis(50); // before the next try where no descriptor is left
const HEAD: Duration = Duration::from_secs(10); // how long a head may take from its first byte to its last
const LINGER: Duration = Duration::from_secs(1); // how long a client may go on sending after its last answer was taken
const KEEPALIVE_IDLE_S: i32 = 60; // a silent peer is probed then,
const KEEPALIVE_INTERVAL_S: i32 = 10; // again after each of these,
const KEEPALIVE_PROBES: i32 = 6; // and given up after so many
const USER_TIMEOUT_MS: i32 = 30_000; // how long a peer may acknowledge nothing, or take nothing, until ETIMEDOUT

// ---- Connection: a task, and the buffer that it owns while it waits ----

/// What was made of the whole requests in an inbox. The last answer is a constant, and is sent from where it stands if
/// there is no other.
struct Reply {
    used: usize,
    last: &'static [u8],
    is_last: bool,
    /// A request has burnt CPU: the connection's turn is over.
    has_burnt: bool,
}

/// Reads, answers and writes in turn until the connection ends. A client that does not read its answers is not read
/// either, so what a connection keeps is bounded by one inbox and its answers, 96 KiB for 1024 heads of 16 bytes.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut kept = Kept::default();
    // Never zeroed, so an idle connection touches no more of its 16 KiB than the requests it has sent.
    let (mut inbox, mut outbox) = (Vec::with_capacity(INBOX), Vec::new());
    let mut due = None; // when the head that has begun must be complete
    loop {
        let got = match due {
            None => stream.read_buf(&mut inbox).await?,
            Some(due) => match timeout_at(due, stream.read_buf(&mut inbox)).await {
                Ok(got) => got?,
                Err(_) => {
                    COUNTS.status(408);
                    send(&mut stream, answer_to(408, true)).await?;
                    return linger(stream, inbox).await;
                }
            },
        };
        if got == 0 {
            return Ok(()); // the peer's half is closed, and all it had asked for is answered
        }
        COUNTS.bytes_in.fetch_add(got as u64, Relaxed);
        loop {
            let reply = answer(&inbox, &mut outbox);
            if outbox.is_empty() {
                send(&mut stream, reply.last).await?;
            } else {
                outbox.extend_from_slice(reply.last);
                kept.set(inbox.len() + outbox.len())?;
                send(&mut stream, &outbox).await?;
                outbox.clear();
            }
            if reply.is_last {
                kept.set(0)?;
                return linger(stream, inbox).await;
            }
            if reply.used > 0 {
                inbox.drain(..reply.used);
                due = None;
            }
            if !reply.has_burnt {
                break;
            }
            kept.set(inbox.len() + 1)?; // it is in flight, whatever is left
            yield_now().await;
        }
        // What is left is shorter than MAX_HEAD, so there is always room for more.
        kept.set(inbox.len())?;
        if !inbox.is_empty() && due.is_none() {
            due = Some(Instant::now() + HEAD);
        }
    }
}

/// Answers every whole request in `input`, up to the first that burns CPU.
fn answer(input: &[u8], outbox: &mut Vec<u8>) -> Reply {
    let mut reply = Reply { used: 0, last: b"", is_last: false, has_burnt: false };
    while !reply.is_last && !reply.has_burnt {
        let Some((request, length)) = parse_head(&input[reply.used..]) else { break };
        reply.used += length;
        if request.work_us > 0 {
            let _in_flight = InFlight::new();
            burn(request.work_us);
            reply.has_burnt = true;
        }
        reply.is_last = !request.keep_alive || (is_stopping() && reply.used == input.len());
        if !reply.last.is_empty() {
            outbox.extend_from_slice(reply.last);
        }
        reply.last = answer_to(request.status, reply.is_last);
        COUNTS.status(request.status);
    }
    reply
}

/// Sends all of it. Where the socket takes nothing for USER_TIMEOUT_MS the kernel ends the connection.
async fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let mut in_flight = None;
    while !bytes.is_empty() {
        let sent = match stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                in_flight.get_or_insert_with(InFlight::new);
                stream.writable().await?;
                continue;
            }
            sent => sent?,
        };
        COUNTS.bytes_out.fetch_add(sent as u64, Relaxed);
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Waits for the end of a connection whose last answer the socket has taken. With input unread close(2) would send RST,
/// and the peer might lose that answer: so what it still sends is thrown away until it closes its half.
async fn linger(mut stream: TcpStream, mut inbox: Vec<u8>) -> io::Result<()> {
    let _in_flight = InFlight::new();
    let _ = stream.shutdown().await; // fails only where the peer is gone: the next read reports it
    let throw_away = async {
        loop {
            inbox.clear();
            match stream.read_buf(&mut inbox).await? {
                0 => return Ok(()),
                got => _ = COUNTS.bytes_in.fetch_add(got as u64, Relaxed),
            }
        }
    };
    timeout(LINGER, throw_away).await.unwrap_or(Ok(()))
}

// ---- The architecture: tokio::spawn(serve(stream)) ----

/// Starts a task for each connection. A task is a few hundred bytes; what moves it on is the runtime's epoll.
fn start(stream: TcpStream) {
    COUNTS.accepted.fetch_add(1, Relaxed);
    tokio::spawn(async move {
        if let Err(error) = serve(stream).await {
            COUNTS.error(&name_of(&error));
        }
        COUNTS.closed.fetch_add(1, Relaxed);
    });
}

/// Accepts until it is to stop, then what has completed its handshake: close(2) would reset it.
async fn accept(listener: TcpListener) -> io::Result<()> {
    let stop = STOP_ACCEPTING.notified();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => start(stream),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                COUNTS.error(&name_of(&error)); // EMFILE, ENFILE, ENOBUFS, ENOMEM
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let listener = listener.into_std()?; // without the runtime, which asks the kernel only after an event
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                start(TcpStream::from_std(stream)?);
            }
            Err(error) if is_passing(&error) => {}
            Err(_) => break,
        }
    }
    drop(listener);
    has_stopped_listening();
    Ok(())
}

/// Errors of one connection, or of the network it comes from, which accept(2) passes on.
fn is_passing(error: &io::Error) -> bool {
    const NETWORK: [i32; 9] = [
        libc::ECONNABORTED,
        libc::ENETDOWN,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
    ];
    error.kind() == io::ErrorKind::Interrupted || NETWORK.contains(&error.raw_os_error().unwrap_or(0))
}

/// Accepted sockets inherit all options from the listener on Linux: calls here instead of calls for each connection.
fn listen_on(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    for (option, value) in [
        (libc::TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
        (libc::TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S),
        (libc::TCP_KEEPCNT, KEEPALIVE_PROBES),
        (libc::TCP_USER_TIMEOUT, USER_TIMEOUT_MS),
    ] {
        let length = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the kernel reads the four bytes of `value`.
        let result = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, (&raw const value).cast(), length)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    socket.bind(address.into())?;
    socket.listen(BACKLOG)
}

/// Serves until the thread of the signals ends the process.
async fn run(address: SocketAddrV4, signals: Signals) -> io::Result<()> {
    let listener = listen_on(address).unwrap_or_else(|error| {
        let number = error.raw_os_error().unwrap_or(0); // 0 where the reason is none of the kernel's
        let name = name_of(&error);
        eprintln!("Cannot bind {address}: {name} ({number}), choose another --port (0: any) or --host");
        exit(1)
    });
    let port = listener.local_addr()?.port();
    println!(r#"{{"event":"ready","experiment":"rust-tokio","port":{port},"pid":{}}}"#, std::process::id());
    eprintln!("Listening. Try: curl -i http://{}:{port}/", address.ip());
    std::thread::spawn(|| signals.serve());
    accept(listener).await?;
    std::future::pending().await
}

/// The value behind an option of the command line, which the launcher has checked.
fn option(name: &str, default: &str) -> String {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    args.next().unwrap_or_else(|| default.to_string())
}

/// What `#[tokio::main]` makes: a worker thread for each core that the affinity of the process leaves. For one core
/// that would be one worker beside the main thread, which would take turns, so there the main thread runs all.
fn runtime() -> io::Result<Runtime> {
    match available_parallelism()?.get() {
        1 => Builder::new_current_thread().enable_all().build(),
        cores => Builder::new_multi_thread().worker_threads(cores).enable_all().build(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = format!("{}:{}", option("--host", "127.0.0.1"), option("--port", "8080")).parse()?;
    let signals = Signals::block();
    runtime()?.block_on(run(address, signals))?;
    Ok(())
}
