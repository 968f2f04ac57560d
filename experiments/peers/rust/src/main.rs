//! rust-tokio: a task for each connection, which the compiler makes a state machine of; an event loop runs them all.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const BACKLOG: u32 = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const MAX_HEAD: usize = 8192; // bytes of a request head; a longer one is answered 431
const INBOX: usize = 16384; // bytes of one read: more than MAX_HEAD, so that a head over it is seen as such
const MAX_WORK_US: u64 = 100_000;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100); // before the next try where no descriptor is left
const LINGER: Duration = Duration::from_secs(1); // how long who was answered for the last time may go on sending
const GRACE: Duration = Duration::from_millis(10); // after SIGTERM, for what has arrived but was not read yet
const STOP: Duration = Duration::from_secs(1); // how long what is in flight may take after SIGTERM

// ---- Protocol: the minimal HTTP/1.1 that all experiments speak ----

fn answer_of(status: u16) -> &'static [u8] {
    match status {
        200 => b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World",
        404 => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        405 => b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n",
        431 => b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        _ => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    }
}

/// The status to answer, the CPU to burn before, and whether the connection stays.
struct Request {
    status: u16,
    work_us: u64,
    keep_alive: bool,
}

impl Request {
    fn refused(status: u16) -> Self {
        Request { status, work_us: 0, keep_alive: false }
    }
}

/// Parses the head that `input` starts with; returns the request and the head's length. None as long as its end is
/// missing. A request that is refused takes all of `input`, since the connection will close.
fn parse_head(input: &[u8]) -> Option<(Request, usize)> {
    match input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
        None if input.len() < MAX_HEAD => None,
        Some(end) if end + 4 <= MAX_HEAD => Some(match parse_lines(&input[..end + 2]) {
            Some(request) => (request, end + 4),
            None => (Request::refused(400), input.len()),
        }),
        _ => Some((Request::refused(431), input.len())),
    }
}

/// Parses the lines of a head, each with its end. None if one is malformed.
fn parse_lines(lines: &[u8]) -> Option<Request> {
    let end = lines.windows(2).position(|bytes| bytes == b"\r\n")?;
    let mut request = parse_request_line(&lines[..end])?;
    request.keep_alive &= parse_fields(&lines[end + 2..])?;
    Some(request)
}

fn parse_request_line(line: &[u8]) -> Option<Request> {
    if line == b"GET / HTTP/1.1" {
        return Some(Request { status: 200, work_us: 0, keep_alive: true });
    }
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let valid = !method.is_empty() && method.iter().all(is_token) && target.iter().all(u8::is_ascii_graphic);
    if !valid || target.is_empty() || (version != b"HTTP/1.1" && version != b"HTTP/1.0") {
        return None;
    }
    let work_us = parse_target(std::str::from_utf8(target).ok()?);
    let status = match (method, work_us) {
        (b"GET", Some(_)) => 200,
        (b"GET", None) => 404,
        _ => 405,
    };
    let work_us = work_us.filter(|_| status == 200).unwrap_or(0);
    Some(Request { status, work_us, keep_alive: version == b"HTTP/1.1" })
}

/// The microseconds of CPU that a target asks for. None if there is nothing at it.
fn parse_target(target: &str) -> Option<u64> {
    if target == "/" {
        return Some(0);
    }
    let digits = target.strip_prefix("/work/")?;
    if digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&us| us <= MAX_WORK_US)
}

/// Walks the header fields, each with its line's end, and tells whether the connection stays. None if one is malformed.
fn parse_fields(mut fields: &[u8]) -> Option<bool> {
    let mut keep_alive = true;
    while !fields.is_empty() {
        let end = fields.iter().position(|&byte| byte < b' ' && byte != b'\t')?;
        let colon = fields[..end].iter().position(|byte| !is_token(byte))?;
        if colon == 0 || fields[colon] != b':' || !fields[end..].starts_with(b"\r\n") {
            return None;
        }
        keep_alive &= !closes(&fields[..colon], &fields[colon + 1..end]);
        fields = &fields[end + 2..];
    }
    Some(keep_alive)
}

/// Whether a field ends the connection. Bodies are never read, so behind a request that has one nothing can follow.
fn closes(name: &[u8], value: &[u8]) -> bool {
    if name.eq_ignore_ascii_case(b"connection") {
        let value = String::from_utf8_lossy(value);
        value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    } else if name.eq_ignore_ascii_case(b"content-length") {
        String::from_utf8_lossy(value).trim() != "0"
    } else {
        name.eq_ignore_ascii_case(b"transfer-encoding")
    }
}

/// The bytes of a method or a field name (RFC 9110, section 5.6.2).
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Burns CPU time of this thread. No other task of the thread runs meanwhile: nobody preempts a task.
fn burn(us: u64) {
    let until = thread_cpu_time() + Duration::from_micros(us);
    while thread_cpu_time() < until {}
}

fn thread_cpu_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to `now` alone; it fails only for a clock that it does not know.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

// ---- Connection: a task, and the buffer that it owns while it waits ----

/// What the last line tells. Tasks run on several threads, so every count is shared between them.
#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    served: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Counts {
    fn error(&self, name: String) {
        *self.errors.lock().unwrap().entry(name).or_default() += 1;
    }

    fn print(&self) {
        let errors = self.errors.lock().unwrap();
        let errors: Vec<_> = errors.iter().map(|(name, count)| format!("{:?}:{}", name, count)).collect();
        let (accepted, served, errors) = (self.accepted.load(Relaxed), self.served.load(Relaxed), errors.join(","));
        println!(r#"{{"event":"stopped","accepted":{accepted},"served":{served},"errors":{{{errors}}}}}"#);
    }
}

/// Reads, answers and writes in turn until the connection ends. A client that does not read its answers is not read
/// either, so what a connection holds is bounded by one inbox and its answers, 96 KiB for 1024 heads of 16 bytes.
async fn serve(mut stream: TcpStream, counts: &Counts, stop: watch::Receiver<bool>) -> io::Result<()> {
    let mut signal = stop.clone();
    let stopped = signal.changed(); // one future for all turns: it enters the list of those that wait only once
    tokio::pin!(stopped);
    // Never zeroed, so an idle connection touches no more of its 16 KiB than the requests it has sent.
    let (mut inbox, mut outbox) = (Vec::with_capacity(INBOX), Vec::new());
    loop {
        let is_stopping = stop.has_changed().unwrap_or(true);
        let got = if is_stopping {
            let patience = if inbox.is_empty() { GRACE } else { STOP };
            timeout(patience, stream.read_buf(&mut inbox)).await.unwrap_or(Ok(0))?
        } else {
            tokio::select! {
                biased;
                got = stream.read_buf(&mut inbox) => got?,
                _ = &mut stopped => continue,
            }
        };
        if got == 0 {
            return Ok(()); // the peer's half is closed, and all it had asked for is answered
        }
        outbox.clear();
        let (used, keep_alive) = answer(&inbox, &mut outbox, counts);
        if used == inbox.len() && (!keep_alive || stop.has_changed().unwrap_or(true)) {
            return leave(stream, &outbox, inbox).await;
        }
        stream.write_all(&outbox).await?;
        inbox.drain(..used); // what is left is shorter than MAX_HEAD, so there is always room for more
    }
}

/// Appends the answers to every whole request in `input`. Tells how many bytes are done with, and whether the
/// connection stays: if not, all of them are, for what stands behind the last request is not asked.
fn answer(input: &[u8], outbox: &mut Vec<u8>, counts: &Counts) -> (usize, bool) {
    let mut used = 0;
    while let Some((request, length)) = parse_head(&input[used..]) {
        if request.work_us > 0 {
            burn(request.work_us);
        }
        outbox.extend_from_slice(answer_of(request.status));
        if request.status == 200 {
            counts.served.fetch_add(1, Relaxed);
        } else {
            counts.error(request.status.to_string());
        }
        if !request.keep_alive {
            return (input.len(), false);
        }
        used += length;
    }
    (used, true)
}

/// Gives the last answers. With input unread close(2) would send RST, and the peer might lose them: so it lingers until
/// the peer closes its half.
async fn leave(mut stream: TcpStream, outbox: &[u8], mut inbox: Vec<u8>) -> io::Result<()> {
    let farewell = async {
        stream.write_all(outbox).await?;
        let _ = stream.shutdown().await; // fails only where the peer is gone: the next read tells
        inbox.clear();
        while stream.read_buf(&mut inbox).await? > 0 {
            inbox.clear();
        }
        Ok(())
    };
    timeout(LINGER, farewell).await.unwrap_or(Ok(()))
}

/// The names of the errors that a server meets; the standard library knows their numbers and texts.
fn name_of(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EMFILE) => "EMFILE",
        Some(libc::ENFILE) => "ENFILE",
        Some(libc::ENOBUFS) => "ENOBUFS",
        Some(libc::ENOMEM) => "ENOMEM",
        Some(libc::EPIPE) => "EPIPE",
        Some(libc::ECONNRESET) => "ECONNRESET",
        Some(libc::ETIMEDOUT) => "ETIMEDOUT",
        Some(libc::EACCES) => "EACCES",
        Some(libc::EADDRINUSE) => "EADDRINUSE",
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL",
        Some(number) => return format!("errno {number}"),
        None => return error.to_string(),
    };
    name.to_string()
}

// ---- The architecture: tokio::spawn(serve(stream)) ----

/// Starts a task for each connection, for ever. A task is a few hundred bytes; what moves it on is the runtime's epoll.
async fn accept(listener: TcpListener, counts: Arc<Counts>, stop: watch::Receiver<bool>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                counts.accepted.fetch_add(1, Relaxed);
                let (counts, stop) = (Arc::clone(&counts), stop.clone());
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &counts, stop).await {
                        counts.error(name_of(&error));
                    }
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                counts.error(name_of(&error));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn listen_on(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?; // accepted sockets inherit it on Linux
    socket.bind(address.into())?;
    socket.listen(BACKLOG)
}

/// Serves until a signal comes, then until nothing is in flight any more or STOP is over.
async fn run(address: SocketAddrV4) -> io::Result<()> {
    let listener = listen_on(address).unwrap_or_else(|error| {
        let number = error.raw_os_error().unwrap_or(0); // 0 where the reason is none of the kernel's
        let name = name_of(&error);
        eprintln!("Cannot bind {address}: {name} ({number}), choose another --port (0: any) or --host");
        exit(1)
    });
    let port = listener.local_addr()?.port();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(false);
    let counts = Arc::new(Counts::default());
    println!(r#"{{"event":"ready","experiment":"rust-tokio","port":{port},"pid":{}}}"#, std::process::id());
    eprintln!("Listening. Try: curl -i http://{}:{port}/", address.ip());
    tokio::select! {
        _ = accept(listener, Arc::clone(&counts), stopped) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    } // what lost the race is dropped here, and with it the listener
    stop.send_replace(true);
    tokio::select! {
        _ = stop.closed() => {} // every connection held a receiver
        _ = sleep(STOP) => {}
        _ = terminate.recv() => exit(1), // the second signal does not wait
        _ = interrupt.recv() => exit(1),
    }
    counts.print();
    Ok(())
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
    let runtime = runtime()?;
    runtime.block_on(run(address))?;
    runtime.shutdown_background(); // a task that still burns CPU is not waited for
    Ok(())
}
