// The minimal HTTP/1.1 that all experiments speak, in the words of epoll.ts without their types.

export const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const MAX_WORK_US = 100_000;

const bytes = (text) => new TextEncoder().encode(text);
const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
const REFUSALS = [
  [400, "400 Bad Request\r\n"],
  [404, "404 Not Found\r\n"],
  [405, "405 Method Not Allowed\r\nAllow: GET\r\n"],
  [408, "408 Request Timeout\r\n"],
  [431, "431 Request Header Fields Too Large\r\n"],
  [505, "505 HTTP Version Not Supported\r\n"],
];
const HELLO_KEPT = bytes(HELLO), HELLO_LAST = bytes(HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
const REFUSED_KEPT = new Map(
  REFUSALS.map(([status, line]) => [status, bytes(`HTTP/1.1 ${line}Content-Length: 0\r\n\r\n`)]),
);
const REFUSED_LAST = new Map(
  REFUSALS.map(([status, line]) => [status, bytes(`HTTP/1.1 ${line}Content-Length: 0\r\nConnection: close\r\n\r\n`)]),
);

/** The bytes of an answer; the last one of a connection says that it is. */
export function answerTo(status, isLast) {
  if (status === 200) return isLast ? HELLO_LAST : HELLO_KEPT;
  return (isLast ? REFUSED_LAST : REFUSED_KEPT).get(status);
}

const HT = 9, LF = 10, CR = 13, SPACE = 32, COMMA = 44, ZERO = 48, NINE = 57, COLON = 58;
const ROOT = bytes("GET / HTTP/1.1\r\n"); // recognised byte by byte; any other request line is worth a regular expression
const TOKEN = "!#$%&'*+.^_`|~0-9A-Za-z-"; // the characters of a method or a field name (RFC 9110, section 5.6.2)
const REQUEST_LINE = new RegExp(`^([${TOKEN}]+) ([!-~]+) HTTP/(\\d)\\.(\\d)\r\n$`);
const TARGET = /^(http:\/\/[^/?]+)?([^?]*)/i; // absolute-form or origin-form; a query is ignored
const IS_TOKEN = Uint8Array.from(
  { length: 256 },
  (_, byte) => Number(RegExp(`[${TOKEN}]`).test(String.fromCharCode(byte))),
);
const CONNECTION = bytes("connection"), CLOSE = bytes("close");
const CONTENT_LENGTH = bytes("content-length"), TRANSFER_ENCODING = bytes("transfer-encoding");
export const INCOMPLETE = 0;
const MALFORMED = 0; // no head and no line ends at 0

/** What `parseHead` found: the status to answer, the CPU to burn before, and whether the connection stays. */
export const request = { status: 200, workUs: 0, keepAlive: true };

/**
 * Parses the head that starts at `from` and fills `request`. Returns the bytes of the head, INCOMPLETE as long as its end
 * has not come. `scanned`: so many of its bytes were looked at before. `input` has room for one byte behind `to`.
 */
export function parseHead(input, from, to, scanned) {
  // A head that comes in pieces is looked through once, not once a piece.
  if (scanned > 3 && to - from < MAX_HEAD && blankLineEnd(input, from + scanned - 3, to) === 0) return INCOMPLETE;
  input[to] = 0; // no byte of a head is NUL, so every loop below ends here without a look at `to`
  request.status = 200;
  request.workUs = 0;
  request.keepAlive = true;
  const start = input[from] === CR && input[from + 1] === LF ? from + 2 : from; // one empty line (RFC 9112, 2.2)
  let matched = 0;
  while (matched < ROOT.length && input[start + matched] === ROOT[matched]) matched++;
  let end = matched === ROOT.length ? start + matched : parseRequestLine(input, start, to);
  if (end !== MALFORMED) end = parseFields(input, end);
  if (end !== MALFORMED && end - from <= MAX_HEAD) return end - from;
  // Rare: its end has not come, it is too long, or malformed. Then all input is refused, as the connection will close.
  const blank = blankLineEnd(input, start, to);
  const isTooLong = blank === 0 ? to - from >= MAX_HEAD : blank - from > MAX_HEAD;
  if (blank === 0 && !isTooLong) return INCOMPLETE;
  request.status = isTooLong ? 431 : 400;
  request.workUs = 0;
  request.keepAlive = false;
  return to - from;
}

/** Returns the end of the first blank line, 0 if there is none. */
function blankLineEnd(input, from, to) {
  for (let at = from + 3; at < to; at++) {
    if (input[at] === LF && input[at - 1] === CR && input[at - 2] === LF && input[at - 3] === CR) return at + 1;
  }
  return 0;
}

/** Parses any request line that is not ROOT. Returns its end. */
function parseRequestLine(input, from, to) {
  let end = from;
  while (end < to && input[end] !== LF) end++;
  if (end - from > MAX_HEAD) return MALFORMED;
  const line = REQUEST_LINE.exec(String.fromCharCode(...input.subarray(from, ++end)));
  if (line === null) return MALFORMED;
  const [, method, target, major, minor] = line;
  const [, authority, path] = TARGET.exec(target);
  const isRoot = path === "/" || (path === "" && authority !== undefined);
  const workUs = isRoot ? 0 : Number(/^\/work\/(\d{1,6})$/.exec(path)?.[1] ?? NaN);
  if (major !== "1") request.status = 505;
  else if (method !== "GET") request.status = 405;
  else if (workUs <= MAX_WORK_US) request.workUs = workUs;
  else request.status = 404;
  if (major !== "1" || minor === "0") request.keepAlive = false;
  return end;
}

/** Walks the fields and the blank line, and returns its end. Only what decides whether the connection stays is read. */
function parseFields(input, from) {
  let at = from;
  while (input[at] !== CR) {
    const name = at;
    while (IS_TOKEN[input[at]] === 1) at++;
    const colon = at;
    if (colon === name || input[colon] !== COLON) return MALFORMED;
    do {
      at++;
      while (input[at] >= SPACE) at++;
    } while (input[at] === HT);
    if (input[at] !== CR || input[at + 1] !== LF) return MALFORMED;
    if (colon - name === CONNECTION.length && isWord(input, name, CONNECTION)) {
      if (hasClose(input, colon + 1, at)) request.keepAlive = false;
    } else if (colon - name === CONTENT_LENGTH.length && isWord(input, name, CONTENT_LENGTH)) {
      if (!isNumber(input, colon + 1, at)) return MALFORMED;
    } else if (colon - name === TRANSFER_ENCODING.length && isWord(input, name, TRANSFER_ENCODING)) {
      request.keepAlive = false; // bodies are never read, so behind one no request can follow
    }
    at += 2;
  }
  return input[at + 1] === LF ? at + 2 : MALFORMED;
}

/** Whether a token is the word, in any case: bit 0x20 tells a lower-case letter from an upper-case one. */
function isWord(input, at, word) {
  for (let i = 0; i < word.length; i++) {
    if ((input[at + i] | 0x20) !== word[i]) return false;
  }
  return true;
}

/** Whether `close` is an item of a list. */
function hasClose(input, from, to) {
  for (let at = from; at < to; at++) {
    while (input[at] === SPACE || input[at] === HT) at++;
    const item = at;
    while (at < to && input[at] !== COMMA) at++;
    let end = at;
    while (end > item && (input[end - 1] === SPACE || input[end - 1] === HT)) end--;
    if (end - item === CLOSE.length && isWord(input, item, CLOSE)) return true;
  }
  return false;
}

/** Whether a Content-Length is digits and nothing else. If it is not zero, there is a body and the connection will close. */
function isNumber(input, from, to) {
  let at = from, end = to;
  while (input[at] === SPACE || input[at] === HT) at++;
  while (end > at && (input[end - 1] === SPACE || input[end - 1] === HT)) end--;
  if (at === end) return false;
  for (; at < end; at++) {
    if (input[at] < ZERO || input[at] > NINE) return false;
    if (input[at] !== ZERO) request.keepAlive = false;
  }
  return true;
}
