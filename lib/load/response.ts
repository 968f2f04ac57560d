/**
 * Finds the end of an HTTP/1.1 answer (RFC 9112), however it was cut into pieces on its way.
 *
 * A server under load answers the same bytes over and over. So the head of the last whole answer is kept, and one that equals it
 * word by word is known without being parsed. The Date that many servers add costs one parse a second.
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
/** No HTTP answer; one in another coding than chunks; one that ends with its connection; one over the bounds above. */
export const MALFORMED = -1;
export const CODED = -2;
export const NO_LENGTH = -3;
export const TOO_LARGE = -4;

/** The key under which a status other than 200, or one of the codes below 0, is counted. */
export function errorKey(status: number): string {
  return status > 0 ? `http_${status}` : ["", "malformed", "transfer_coding", "no_length", "too_large"][-status]!;
}

/** What has come of an answer: its head in part, or all of it, and then how many bytes of the body are missing. */
type Rest = { head: Uint8Array } | { status: number; missing: number } | { status: number; chunks: Chunks };

const CR = 13;
const LF = 10;
const START = "HTTP/1.";
const STATUS_LINE = /^HTTP\/1\.[01] ([1-9]\d\d)(?: .*)?$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/;

/** The bytes of the head at the start of `input`, its blank line included; 0 if the end has not come. */
function headLength(input: Uint8Array, length: number): number {
  for (let at = input.indexOf(LF, 3); at >= 3 && at < length; at = input.indexOf(LF, at + 1)) {
    if (input[at - 1] === CR && input[at - 2] === LF && input[at - 3] === CR) return at + 1;
  }
  return 0;
}

/** Status and length of the body, null: in chunks; a code below 0 as the status if the end of the answer cannot be told. */
function parseHead(head: string): { status: number; body: number | null } {
  const refuse = (status: number) => ({ status, body: 0 });
  const [line, ...fields] = head.split("\r\n").slice(0, -2);
  const status = Number(STATUS_LINE.exec(line!)?.[1] ?? MALFORMED);
  if (status < 200) return refuse(MALFORMED); // an interim answer to a request that did not ask for one counts here too
  let body: number | undefined, chunked = false;
  for (const field of fields) {
    const [, name, value] = FIELD.exec(field) ?? [];
    if (name === undefined) return refuse(MALFORMED);
    if (/^transfer-encoding$/i.test(name)) {
      if (value!.trim().toLowerCase() !== "chunked") return refuse(CODED);
      chunked = true;
    }
    if (!/^content-length$/i.test(name)) continue;
    if (!/^[ \t]*\d+[ \t]*$/.test(value!)) return refuse(MALFORMED);
    if (body !== undefined && body !== Number(value)) return refuse(MALFORMED);
    body = Number(value);
  }
  if (status === 204 || status === 304) return { status, body: 0 }; // these never have a body (RFC 9110, section 8.6)
  if (chunked) return { status, body: null }; // a length beside it means nothing (RFC 9112, section 6.3)
  if (body === undefined) return refuse(NO_LENGTH);
  return body > MAX_BODY_BYTES ? refuse(TOO_LARGE) : { status, body };
}

/**
 * The answers of many connections, told apart by a number each. All share one inbox: only an answer in pieces costs memory.
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
  readonly #words = new Int32Array(this.inbox.buffer);
  readonly #rests = new Map<number, Rest>();
  // The last answer that came in one piece: the words of its head, its last word cut by a mask, its length and status.
  readonly #known = new Int32Array(MAX_HEAD_BYTES / 4 + 1);
  #knownWords = 0;
  #knownMask = 0;
  #knownLength = 0;
  #knownStatus = 0;

  /** Takes the first `got` bytes of the inbox. Returns the status of the answer that they end, UNFINISHED or a code below 0. */
  take(connection: number, got: number): number {
    this.extra = 0;
    if (this.#rests.size > 0) {
      const rest = this.#rests.get(connection);
      if (rest !== undefined) return this.#continue(connection, rest, got);
    }
    if (got === this.#knownLength && this.#isKnown()) return this.#knownStatus;
    return this.#parse(connection, this.inbox, got);
  }

  /** Forgets a connection that is closed. */
  forget(connection: number): void {
    if (this.#rests.size > 0) this.#rests.delete(connection);
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
    if ("chunks" in rest) return this.#finishChunks(connection, rest.status, rest.chunks, this.inbox, 0, got);
    return this.#finish(connection, rest.status, rest.missing, got);
  }

  #parse(connection: number, input: Uint8Array, length: number): number {
    const head = headLength(input, length);
    if (head > MAX_HEAD_BYTES || (head === 0 && length > MAX_HEAD_BYTES)) return TOO_LARGE;
    const text = String.fromCharCode(...input.subarray(0, head === 0 ? Math.min(length, START.length) : head));
    if (!text.startsWith(START.slice(0, length))) return MALFORMED; // and not only when the time is up
    if (head === 0) {
      this.#rests.set(connection, { head: input.slice(0, length) });
      return UNFINISHED;
    }
    const { status, body } = parseHead(text);
    if (status < 0) return status;
    if (body === null) return this.#finishChunks(connection, status, new Chunks(), input, head, length);
    if (head + body === length && input === this.inbox) this.#know(head, length, status);
    return this.#finish(connection, status, head + body, length);
  }

  /** `length` of the `missing` bytes up to the end of the answer have come, or more than these. */
  #finish(connection: number, status: number, missing: number, length: number): number {
    this.extra = Math.max(length - missing, 0);
    if (length >= missing) return status;
    this.#rests.set(connection, { status, missing: missing - length });
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
    if (end === NO_CHUNKS) return MALFORMED;
    if (end === GOES_ON) {
      this.#rests.set(connection, { status, chunks });
      return UNFINISHED;
    }
    this.extra = to - end;
    return status;
  }

  #know(head: number, length: number, status: number): void {
    this.#knownWords = head >> 2;
    this.#knownMask = 2 ** (8 * (head & 3)) - 1; // the low bytes of a little-endian word are those that come first
    this.#known.set(this.#words.subarray(0, this.#knownWords + 1));
    this.#knownLength = length;
    this.#knownStatus = status;
  }
}
