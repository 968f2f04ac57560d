//! What the server counts and prints, and the thread that hears its signals.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::mem::zeroed;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const MAX_KEPT_BYTES: i64 = 64 << 20; // of all connections, partial heads and unsent answers; beyond, one is dropped
const STOP: Duration = Duration::from_secs(1); // how long what is in flight may take after SIGTERM
const QUIET: Duration = Duration::from_millis(10); // two such stretches without a byte: nothing was in flight any more

/// Tasks run on several threads, so every count is shared between them.
pub struct Counts {
    pub accepted: AtomicU64,
    pub closed: AtomicU64,
    pub served: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    /// Connections with a part of a head, unsent answers or work, and those that linger.
    in_flight: AtomicI64,
    kept: AtomicI64,
}

pub static COUNTS: Counts = Counts {
    accepted: AtomicU64::new(0),
    closed: AtomicU64::new(0),
    served: AtomicU64::new(0),
    bytes_in: AtomicU64::new(0),
    bytes_out: AtomicU64::new(0),
    errors: Mutex::new(BTreeMap::new()),
    in_flight: AtomicI64::new(0),
    kept: AtomicI64::new(0),
};

pub static STOPPING: AtomicBool = AtomicBool::new(false);
/// The listener is closed after this.
pub static STOP_ACCEPTING: Notify = Notify::const_new();
static IS_LISTENING: AtomicBool = AtomicBool::new(true);

pub fn is_stopping() -> bool {
    STOPPING.load(Relaxed)
}

pub fn has_stopped_listening() {
    IS_LISTENING.store(false, Relaxed);
}

impl Counts {
    pub fn error(&self, name: &str) {
        *self.errors.lock().unwrap().entry(name.to_string()).or_default() += 1;
    }

    pub fn status(&self, status: u16) {
        match status {
            200 => _ = self.served.fetch_add(1, Relaxed),
            _ => self.error(&status.to_string()),
        }
    }

    fn print(&self, event: &str, more: &str) {
        let count = |(name, count): (&String, &u64)| format!("{name:?}:{count}");
        let errors: Vec<_> = self.errors.lock().unwrap().iter().map(count).collect();
        let line = format!(
            r#"{{"event":"{event}"{more},"accepted":{},"served":{},"bytes_in":{},"bytes_out":{},"errors":{{{}}}}}"#,
            self.accepted.load(Relaxed),
            self.served.load(Relaxed),
            self.bytes_in.load(Relaxed),
            self.bytes_out.load(Relaxed),
            errors.join(",")
        );
        // println! would panic where nothing can be written, as on a full disk.
        if let Err(error) = writeln!(io::stdout(), "{line}") {
            self.error(&name_of(&error));
        }
    }

    fn print_stats(&self) {
        let open = self.accepted.load(Relaxed) - self.closed.load(Relaxed);
        self.print("stats", &format!(r#","open":{open}"#));
    }
}

/// What a connection keeps for later. While there is anything, the connection is in flight.
#[derive(Default)]
pub struct Kept(i64);

impl Kept {
    /// Keeps so many bytes from now on. Fails where all connections together would keep too many.
    pub fn set(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = bytes as i64;
        if bytes == self.0 {
            return Ok(());
        }
        let all = COUNTS.kept.fetch_add(bytes - self.0, Relaxed) + bytes - self.0;
        COUNTS.in_flight.fetch_add(i64::from(bytes > 0) - i64::from(self.0 > 0), Relaxed);
        let grows = bytes > self.0;
        self.0 = bytes;
        if grows && all > MAX_KEPT_BYTES {
            return Err(io::Error::other("MAX_KEPT_BYTES"));
        }
        Ok(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        COUNTS.kept.fetch_sub(self.0, Relaxed);
        COUNTS.in_flight.fetch_sub(i64::from(self.0 > 0), Relaxed);
    }
}

/// Says that something is in flight as long as it lives.
pub struct InFlight(());

impl InFlight {
    pub fn new() -> Self {
        COUNTS.in_flight.fetch_add(1, Relaxed);
        InFlight(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        COUNTS.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The signals that this server hears. They must be blocked before the first thread is made, which inherits that.
pub struct Signals(libc::sigset_t);

impl Signals {
    pub fn block() -> Self {
        // SAFETY: the set lies on this stack, and every number is one of a signal.
        unsafe {
            let mut set: libc::sigset_t = zeroed();
            libc::sigemptyset(&mut set);
            for number in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1] {
                libc::sigaddset(&mut set, number);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            Signals(set)
        }
    }

    /// Waits for a signal: true if it asks to stop. A task could hear it too, but not while others burn CPU.
    fn wait(&self, patience: Duration) -> bool {
        let patience =
            libc::timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos() as libc::c_long };
        // SAFETY: the kernel reads both arguments and writes nothing.
        let number = unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), &patience) };
        if number == libc::SIGUSR1 {
            COUNTS.print_stats();
        }
        number == libc::SIGTERM || number == libc::SIGINT
    }

    /// What the thread of the signals does: it ends the process.
    pub fn serve(self) -> ! {
        while !self.wait(Duration::from_secs(3600)) {}
        STOPPING.store(true, Relaxed);
        STOP_ACCEPTING.notify_one();
        let until = Instant::now() + STOP;
        let (mut before, mut quiet) = (None, 0);
        while quiet < 2 && Instant::now() < until {
            if self.wait(QUIET) {
                exit(1); // the second signal does not wait
            }
            let read = Some(COUNTS.bytes_in.load(Relaxed));
            let is_quiet = read == before && COUNTS.in_flight.load(Relaxed) == 0 && !IS_LISTENING.load(Relaxed);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            before = read;
        }
        COUNTS.print("stopped", "");
        exit(0) // with it end the connections that wait for nothing
    }
}

/// The names of the errors that a server meets; the standard library knows their numbers and texts.
pub fn name_of(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EMFILE) => "EMFILE",
        Some(libc::ENFILE) => "ENFILE",
        Some(libc::ENOBUFS) => "ENOBUFS",
        Some(libc::ENOMEM) => "ENOMEM",
        Some(libc::EFBIG) => "EFBIG",
        Some(libc::ENOSPC) => "ENOSPC",
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

/// Burns CPU time of this thread. No other task of the thread runs meanwhile: nobody preempts a task.
pub fn burn(us: u64) {
    let until = thread_cpu_time() + Duration::from_micros(us);
    while thread_cpu_time() < until {}
}

fn thread_cpu_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to `now` alone; it fails only for a clock that it does not know.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
