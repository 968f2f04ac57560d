//! The minimal HTTP/1.1 that all experiments speak.

use memchr::memmem::Finder;
use std::sync::LazyLock;

pub const MAX_HEAD: usize = 8192; // bytes of a request head; a longer one is answered 431
const MAX_WORK_US: u64 = 100_000;

/// An answer, and the same as the last one of its connection.
type Answer = (&'static [u8], &'static [u8]);

macro_rules! refusal {
    ($line:literal) => {
        (
            concat!("HTTP/1.1 ", $line, "\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            concat!("HTTP/1.1 ", $line, "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    };
}

pub fn answer_to(status: u16, is_last: bool) -> &'static [u8] {
    let (kept, last): Answer = match status {
        200 => (
            b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World",
            b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nHello World",
        ),
        404 => refusal!("404 Not Found"),
        405 => refusal!("405 Method Not Allowed\r\nAllow: GET"),
        408 => refusal!("408 Request Timeout"),
        431 => refusal!("431 Request Header Fields Too Large"),
        505 => refusal!("505 HTTP Version Not Supported"),
        _ => refusal!("400 Bad Request"),
    };
    if is_last {
        last
    } else {
        kept
    }
}

/// The status to answer, the CPU to burn before, and whether the connection stays.
pub struct Request {
    pub status: u16,
    pub work_us: u64,
    pub keep_alive: bool,
}

const ROOT: Request = Request { status: 200, work_us: 0, keep_alive: true };

fn refused(status: u16) -> Request {
    Request { status, work_us: 0, keep_alive: false }
}

static BLANK_LINE: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Parses the head that `input` starts with; returns the request and the head's length. None as long as its end is
/// missing. A request that is refused takes all of `input`, since the connection will close.
pub fn parse_head(input: &[u8]) -> Option<(Request, usize)> {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 }; // one empty line (RFC 9112, section 2.2)
    match BLANK_LINE.find(&input[start..]).map(|at| start + at) {
        None if input.len() < MAX_HEAD => None,
        Some(end) if end + 4 <= MAX_HEAD => Some(match parse_lines(&input[start..end + 2]) {
            Some(request) => (request, end + 4),
            None => (refused(400), input.len()),
        }),
        _ => Some((refused(431), input.len())),
    }
}

/// Parses the lines of a head, each with its end. None if one is malformed.
fn parse_lines(lines: &[u8]) -> Option<Request> {
    let (mut request, fields) = match lines.strip_prefix(b"GET / HTTP/1.1\r\n") {
        Some(fields) => (ROOT, fields),
        None => parse_request_line(lines)?,
    };
    request.keep_alive &= parse_fields(fields)?;
    Some(request)
}

/// Parses any request line but the usual one; returns the lines behind it too.
fn parse_request_line(lines: &[u8]) -> Option<(Request, &[u8])> {
    let end = memchr::memchr(b'\r', lines)?;
    let mut words = lines[..end].splitn(3, |&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_valid = is_token(method) && !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    let (major, minor) = match version.strip_prefix(b"HTTP/")? {
        &[major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => (major, minor),
        _ => return None,
    };
    if !is_valid || !lines[end..].starts_with(b"\r\n") {
        return None;
    }
    let fields = &lines[end + 2..];
    if major != b'1' {
        return Some((refused(505), fields));
    }
    let work_us = parse_target(target);
    let status = match (method, work_us) {
        (b"GET", Some(_)) => 200,
        (b"GET", None) => 404,
        _ => 405,
    };
    let work_us = work_us.filter(|_| status == 200).unwrap_or(0);
    Some((Request { status, work_us, keep_alive: minor != b'0' }, fields))
}

/// The microseconds of CPU that a target asks for. None if there is nothing at it.
fn parse_target(target: &[u8]) -> Option<u64> {
    let path = target.split(|&byte| byte == b'?').next()?;
    let path = match path.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http://") && path.len() > 7 => {
            match memchr::memchr(b'/', &path[7..]) {
                Some(0) => return None, // no host
                Some(slash) => &path[7 + slash..],
                None => b"/",
            }
        }
        _ => path,
    };
    if path == b"/" {
        return Some(0);
    }
    let digits = std::str::from_utf8(path.strip_prefix(b"/work/")?).ok()?;
    if digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&us| us <= MAX_WORK_US)
}

/// Walks the header fields, each with its line's end, and tells whether the connection stays. None if one is malformed.
fn parse_fields(mut fields: &[u8]) -> Option<bool> {
    let mut keep_alive = true;
    while !fields.is_empty() {
        let colon = fields.iter().position(|&byte| !IS_TOKEN[byte as usize])?;
        if colon == 0 || fields[colon] != b':' {
            return None;
        }
        let end = colon + fields[colon..].iter().position(|&byte| byte < b' ' && byte != b'\t')?;
        if !fields[end..].starts_with(b"\r\n") {
            return None;
        }
        keep_alive &= !closes(&fields[..colon], &fields[colon + 1..end])?;
        fields = &fields[end + 2..];
    }
    Some(keep_alive)
}

/// Whether a field ends the connection; None if it is malformed. Bodies are never read, so behind a request that has one
/// nothing can follow.
fn closes(name: &[u8], value: &[u8]) -> Option<bool> {
    match name.len() {
        10 if name.eq_ignore_ascii_case(b"connection") => {
            Some(value.split(|&byte| byte == b',').any(|option| trim(option).eq_ignore_ascii_case(b"close")))
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let digits = trim(value);
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            is_number.then(|| digits.iter().any(|&digit| digit != b'0'))
        }
        17 => Some(name.eq_ignore_ascii_case(b"transfer-encoding")),
        _ => Some(false),
    }
}

/// Without the spaces and tabs at both ends, and no other white space.
fn trim(text: &[u8]) -> &[u8] {
    let is_visible = |&byte: &u8| byte != b' ' && byte != b'\t';
    let from = text.iter().position(is_visible).unwrap_or(text.len());
    let to = text.iter().rposition(is_visible).map_or(from, |last| last + 1);
    &text[from..to]
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| IS_TOKEN[byte as usize])
}

/// The bytes of a method or a field name (RFC 9110, section 5.6.2).
static IS_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let is_delimiter = matches!(
            byte as u8,
            b'"' | b'(' | b')' | b',' | b'/' | b':' | b';' | b'<'..=b'@' | b'[' | b'\\' | b']' | b'{' | b'}'
        );
        table[byte] = (byte as u8).is_ascii_graphic() && !is_delimiter;
        byte += 1;
    }
    table
};
