/**
 * Finds the end of an HTTP/1.1 answer (RFC 9112), however it was cut into pieces on its way.
 *
 * A server under load answers the same bytes over and over. So the head of the last whole answer is kept, and one that equals it
 * word by word is known without being parsed. The Date that many servers add costs one parse per second.
 *
 * @module
 */

import { Chunks, GOES_ON, NO_CHUNKS } from "./chunked.ts";

/** Bytes taken by one recv(2). */
export const INBOX_BYTES = 64 * 1024;
const MAX_HEAD_BYTES = 16 * 1024; // nginx, Apache and node bound heads at 8 to 16 KiB themselves
const MAX_BODY_BYTES = 2 ** 30; // bodies are counted and thrown away, so this bounds time and not memory

/** The answer has not come to its end. */
export const UNFINISHED = 0;
/** The bytes are no HTTP/1.x answer. */
export const NO_HTTP = -1;
/** The first line is no status line. */
export const BAD_STATUS_LINE = -2;
/** A line of the head is no field. */
export const BAD_FIELD = -3;
/** Content-Length is no number, or there are two that differ. */
export const BAD_LENGTH = -4;
/** The body claims to come in chunks, and does not. */
export const BAD_CHUNK = -5;
/** A transfer coding other than `chunked`, which nobody asked for (RFC 9112, section 7.4). */
export const CODING = -6;
/** No length and no chunks, so the body ends with the connection, which stays open. */
export const NO_LENGTH = -7;
/** The head is longer than 16 KiB. */
export const HEAD_TOO_LONG = -8;
/** The body is longer than 1 GiB. */
export const BODY_TOO_LONG = -9;
/** The connection ended in the middle of the answer. */
export const CUT_SHORT = -10;

const CAUSES = [
  "",
  "no_http",
  "bad_status_line",
  "bad_field",
  "bad_length",
  "bad_chunk",
  "coding",
  "no_length",
  "head_too_long",
  "body_too_long",
  "cut_short",
];

/** The key under which a status other than 200, or one of the codes below 0, is counted. */
export function errorKey(status: number): string {
  return status > 0 ? `http_${status}` : CAUSES[-status]!;
}

/** How the end of a body is found, where it is not at a known number of bytes. */
const IN_CHUNKS = -1;
const UNTIL_CLOSE = -2;

/** A head, taken apart. `status` is a code below 0 if the answer cannot be followed. */
interface Head {
  status: number;
  /** Bytes of the body, IN_CHUNKS or UNTIL_CLOSE. */
  body: number;
  /** The server closes the connection behind this answer. */
  closes: boolean;
}

/** What has come of an answer: its head in part, or all of it and what is known of its end. */
type Rest =
  | { head: Uint8Array }
  | { status: number; closes: boolean; missing: number }
  | { status: number; closes: boolean; chunks: Chunks }
  | { status: number; got: number; looks: number };

const CR = 13;
const LF = 10;
const SWITCHING_PROTOCOLS = 101;
const START = "HTTP/1.";
const STATUS_LINE = /^HTTP\/1\.(\d) ([1-9]\d\d)(?: .*)?$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/;
const LENGTHS = /^[ \t]*\d+[ \t]*(,[ \t]*\d+[ \t]*)*$/;

/**
 * The end of the head that starts at `from`, its blank line included; 0 if the end has not come. A line may end in LF alone:
 * a recipient may take it for a line end (RFC 9112, section 2.2), and people's servers send such heads.
 */
function headEnd(input: Uint8Array, from: number, length: number): number {
  for (let at = input.indexOf(LF, from); at >= 0 && at < length; at = input.indexOf(LF, at + 1)) {
    if (at + 1 < length && input[at + 1] === LF) return at + 2;
    if (at + 2 < length && input[at + 1] === CR && input[at + 2] === LF) return at + 3;
  }
  return 0;
}

/** The one value of Content-Length that all its fields and list members agree on; BAD_LENGTH if they do not. */
function lengthOf(values: readonly string[]): number {
  if (!values.every((value) => LENGTHS.test(value))) return BAD_LENGTH;
  const numbers = new Set(values.flatMap((value) => value.split(",")).map(Number));
  return numbers.size === 1 ? [...numbers][0]! : BAD_LENGTH;
}

const tokensOf = (values: readonly string[]) =>
  values.flatMap((value) => value.split(",")).map((token) => token.trim().toLowerCase()).filter((token) =>
    token !== ""
  );

function parseHead(text: string, bodiless: boolean): Head {
  const refuse = (status: number): Head => ({ status, body: 0, closes: true });
  // A line that begins with a blank continues the one before it (obs-fold): a client takes both for one.
  const [line, ...fields] = text.replace(/\r?\n[ \t]+/g, " ").split(/\r?\n/).slice(0, -2);
  const [, minor, code] = STATUS_LINE.exec(line!) ?? [];
  if (code === undefined) return refuse(BAD_STATUS_LINE);
  const status = Number(code);
  const values: Record<string, string[]> = { "transfer-encoding": [], "content-length": [], connection: [] };
  for (const field of fields) {
    const [, name, value] = FIELD.exec(field) ?? [];
    if (name === undefined) return refuse(BAD_FIELD);
    values[name.toLowerCase()]?.push(value!);
  }
  const options = tokensOf(values.connection!);
  const closes = options.includes("close") || (minor === "0" && !options.includes("keep-alive"));
  // These never have a body, whatever their fields say (RFC 9112, section 6.3).
  if (bodiless || status < 200 || status === 204 || status === 304) return { status, body: 0, closes };
  const codings = tokensOf(values["transfer-encoding"]!);
  if (codings.length > 0) {
    const chunked = codings.length === 1 && codings[0] === "chunked";
    return chunked ? { status, body: IN_CHUNKS, closes } : refuse(CODING); // a length beside it means nothing
  }
  if (values["content-length"]!.length === 0) return { status, body: UNTIL_CLOSE, closes: true };
  const body = lengthOf(values["content-length"]!);
  if (body < 0) return refuse(body);
  return body > MAX_BODY_BYTES ? refuse(BODY_TOO_LONG) : { status, body, closes };
}

/**
 * The answers of many connections, told apart by a number each. All share one inbox: only an answer in pieces costs memory.
 * Interim answers (100, 102, 103) are skipped, as a client must (RFC 9110, section 15.2).
 *
 * @example
 * ```ts
 * const got = libc.recv(fd, answers.inbox, INBOX_BYTES, 0);
 * const status = answers.take(fd, got); // 200, or UNFINISHED, or a code below 0
 * ```
 */
export class Answers {
  /** Where the bytes that are taken next have to stand. */
  readonly inbox = new Uint8Array(INBOX_BYTES);
  /** Bytes behind the answer that was taken last: nobody has asked for them. */
  extra = 0;
  /** Whether the server closes the connection behind the answer that was taken last. */
  closes = false;
  readonly #words = new Int32Array(this.inbox.buffer);
  readonly #rests = new Map<number, Rest>();
  // The last answer that came in one piece: the words of its head, its last word cut by a mask, its length and status.
  readonly #known = new Int32Array(MAX_HEAD_BYTES / 4 + 1);
  #knownWords = 0;
  #knownMask = 0;
  #knownLength = 0;
  #knownStatus = 0;
  #knownCloses = false;

  /** @param bodiless The requests are HEAD: an answer ends with its head. */
  constructor(readonly bodiless = false) {}

  /** Takes the first `got` bytes of the inbox. Returns the status of the answer that they end, UNFINISHED or a code below 0. */
  take(connection: number, got: number): number {
    this.extra = 0;
    if (this.#rests.size > 0) {
      const rest = this.#rests.get(connection);
      if (rest !== undefined) return this.#continue(connection, rest, got);
    }
    if (got === this.#knownLength && this.#isKnown()) {
      this.closes = this.#knownCloses;
      return this.#knownStatus;
    }
    return this.#parse(connection, this.inbox, got);
  }

  /**
   * The connection has ended. Returns the status of the answer that ends with it, CUT_SHORT if one was under way that does
   * not, and UNFINISHED if none had begun.
   */
  end(connection: number): number {
    const rest = this.#rests.get(connection);
    if (rest === undefined) return UNFINISHED;
    this.#rests.delete(connection);
    this.closes = true;
    return "got" in rest ? rest.status : CUT_SHORT;
  }

  /** Forgets a connection that is closed. */
  forget(connection: number): void {
    if (this.#rests.size > 0) this.#rests.delete(connection);
  }

  /** Whether an answer is under way: some of it has come, and not all. */
  hasBegun(connection: number): boolean {
    return this.#rests.has(connection);
  }

  /** Connections whose answer can end by a close only, and which have been silent for so many calls of this function. */
  endless(looks: number): number[] {
    const found: number[] = [];
    for (const [connection, rest] of this.#rests) {
      if ("got" in rest && ++rest.looks > looks) found.push(connection);
    }
    return found;
  }

  #isKnown(): boolean {
    const words = this.#words;
    const known = this.#known;
    const last = this.#knownWords;
    for (let i = 0; i < last; i++) if (words[i] !== known[i]) return false;
    return ((words[last]! ^ known[last]!) & this.#knownMask) === 0;
  }

  #continue(connection: number, rest: Rest, got: number): number {
    this.#rests.delete(connection);
    if ("head" in rest) {
      const input = new Uint8Array(rest.head.length + got);
      input.set(rest.head);
      input.set(this.inbox.subarray(0, got), rest.head.length);
      return this.#parse(connection, input, input.length);
    }
    if ("got" in rest) return this.#wait(connection, rest.status, rest.got + got);
    this.closes = rest.closes;
    if ("chunks" in rest) return this.#finishChunks(connection, rest.status, rest.chunks, this.inbox, 0, got);
    return this.#finish(connection, rest.status, rest.missing, got);
  }

  #parse(connection: number, input: Uint8Array, length: number): number {
    for (let from = 0;;) {
      const end = headEnd(input, from, length);
      if ((end === 0 ? length : end) - from > MAX_HEAD_BYTES) return HEAD_TOO_LONG;
      const text = String.fromCharCode(
        ...input.subarray(from, end === 0 ? Math.min(length, from + START.length) : end),
      );
      if (!text.startsWith(START.slice(0, length - from))) return NO_HTTP; // and not only when the time is up
      if (end === 0) {
        if (length > from) this.#rests.set(connection, { head: input.slice(from, length) });
        return UNFINISHED;
      }
      const { status, body, closes } = parseHead(text, this.bodiless);
      if (status < 0) return status;
      from = end;
      if (status < 200 && status !== SWITCHING_PROTOCOLS) continue;
      this.closes = closes;
      if (body === IN_CHUNKS) return this.#finishChunks(connection, status, new Chunks(), input, end, length);
      if (body === UNTIL_CLOSE) return this.#wait(connection, status, length - end);
      if (end + body === length && input === this.inbox) this.#know(end, length, status);
      return this.#finish(connection, status, end + body, length);
    }
  }

  /** `length` of the `missing` bytes up to the end of the answer have come, or more than these. */
  #finish(connection: number, status: number, missing: number, length: number): number {
    this.extra = Math.max(length - missing, 0);
    if (length >= missing) return status;
    this.#rests.set(connection, { status, closes: this.closes, missing: missing - length });
    return UNFINISHED;
  }

  /** `got` bytes have come of a body that ends with its connection. */
  #wait(connection: number, status: number, got: number): number {
    if (got > MAX_BODY_BYTES) return BODY_TOO_LONG;
    this.#rests.set(connection, { status, got, looks: 0 });
    return UNFINISHED;
  }

  /** As `#finish`, for the bytes of a body in chunks from `from` up to `to`. */
  #finishChunks(
    connection: number,
    status: number,
    chunks: Chunks,
    input: Uint8Array,
    from: number,
    to: number,
  ): number {
    const end = chunks.take(input, from, to);
    if (end === NO_CHUNKS) return BAD_CHUNK;
    if (end === GOES_ON) {
      this.#rests.set(connection, { status, closes: this.closes, chunks });
      return UNFINISHED;
    }
    this.extra = to - end;
    return status;
  }

  #know(head: number, length: number, status: number): void {
    if (head > MAX_HEAD_BYTES) return; // with its interim answers
    this.#knownWords = head >> 2;
    this.#knownMask = 2 ** (8 * (head & 3)) - 1; // the low bytes of a little-endian word are those that come first
    this.#known.set(this.#words.subarray(0, this.#knownWords + 1));
    this.#knownLength = length;
    this.#knownStatus = status;
    this.#knownCloses = this.closes;
  }
}
