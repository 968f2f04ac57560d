/**
 * Counts the answers of a connection, whatever their bodies are: a server of somebody's own says what it likes.
 *
 * @module
 */

const END_OF_HEAD = "\r\n\r\n";
const END_OF_CHUNKS = "0\r\n\r\n";
const STATUS = /^HTTP\/1\.\d ([1-9]\d\d)/;
const LENGTH = /^content-length:[ \t]*(\d+)/im;
const CHUNKED = /^transfer-encoding:[ \t]*chunked/im;
const CLOSE = /^connection:[ \t]*close/im;
const MAX_HEAD = 64 * 1024; // characters; a longer head is no answer

/** How the body behind a head ends. */
type Body = { length: number } | "chunked" | "until-close";

/** The answers of one connection. */
export class AnswerCounter {
  /** Whole answers with a status from 200 to 399. */
  good = 0;
  /** Whole answers with another status. */
  bad = 0;
  /** The status of the first whole answer; 0: none has come, or it has none. */
  first = 0;
  /** The last whole answer says that the server closes the connection. */
  closes = false;
  #rest = "";
  #toSkip = 0; // bytes of a body that have not come
  #head = ""; // the last one that was taken apart: most answers are equal
  #status = 0;
  #body: Body = { length: 0 };
  #isInBody = false;

  /** Whole answers of any status. */
  get whole(): number {
    return this.good + this.bad;
  }

  /** Takes bytes, one character each. */
  push(text: string): void {
    let at = 0;
    const input = this.#rest + text;
    for (let next = this.#step(input, at); next > at; next = this.#step(input, at)) at = next;
    this.#rest = input.slice(at);
  }

  /** The connection has ended: an answer without a length is whole now. */
  end(): void {
    if (!this.#isInBody || this.#body !== "until-close") return;
    this.closes = true;
    this.#count();
  }

  /** Reads a head or a body at `at`. Returns where the next thing begins; `at` itself if that has not come. */
  #step(input: string, at: number): number {
    if (this.#isInBody) return this.#readBody(input, at);
    const end = input.indexOf(END_OF_HEAD, at);
    if (end < 0) {
      if (input.length - at > MAX_HEAD) throw new Error("No end of the head of an answer.");
      return at;
    }
    this.#readHead(input.slice(at, end));
    return end + END_OF_HEAD.length;
  }

  #readHead(head: string): void {
    if (head !== this.#head) {
      this.#head = head;
      this.#status = Number(STATUS.exec(head)?.[1] ?? 0);
      const length = LENGTH.exec(head)?.[1];
      const hasNone = this.#status < 200 || this.#status === 204 || this.#status === 304;
      this.#body = hasNone
        ? { length: 0 }
        : CHUNKED.test(head)
        ? "chunked"
        : length === undefined
        ? "until-close"
        : { length: Number(length) };
    }
    if (this.#status >= 100 && this.#status < 200) return; // an interim answer
    this.#isInBody = true;
    this.#toSkip = typeof this.#body === "object" ? this.#body.length : 0;
    if (typeof this.#body === "object" && this.#toSkip === 0) this.#count();
  }

  #readBody(input: string, at: number): number {
    if (this.#body === "until-close") return input.length;
    if (this.#body === "chunked") {
      const end = input.indexOf(END_OF_CHUNKS, at);
      if (end < 0) return at;
      this.#count();
      return end + END_OF_CHUNKS.length;
    }
    const taken = Math.min(this.#toSkip, input.length - at);
    this.#toSkip -= taken;
    if (this.#toSkip === 0) this.#count();
    return at + taken;
  }

  #count(): void {
    if (this.whole === 0) this.first = this.#status;
    this.#isInBody = false;
    this.closes = CLOSE.test(this.#head) || this.#body === "until-close";
    if (this.#status >= 200 && this.#status < 400) this.good++;
    else this.bad++;
  }
}
