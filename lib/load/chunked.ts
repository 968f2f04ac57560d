/**
 * Finds the end of a body in chunks (RFC 9112, section 7.1): `5\r\nHello\r\n6\r\n World\r\n0\r\n\r\n`.
 *
 * @module
 */

/** The body goes on behind the bytes that were taken; or it is none. */
export const GOES_ON = -1;
export const NO_CHUNKS = -2;

const LF = 10;
const MAX_LINE = 4096; // a size with extensions, or a field behind the last chunk
const SIZE = /^([0-9a-f]{1,8})[ \t]*(;.*)?\r\n$/i;
const SIZE_BEGUN = /^[0-9a-f]{1,8}[ \t]*(;.*)?\r?$/i;

/** One body, however it was cut into pieces on its way. Only a line in pieces costs memory. */
export class Chunks {
  #line = "";
  #left = 0; // bytes of the chunk that are still to come
  #expects: "size" | "end of chunk" | "trailer" = "size";

  /**
   * Takes the bytes from `from` up to `to`.
   *
   * @returns Where the first byte behind the body stands, GOES_ON or NO_CHUNKS.
   */
  take(input: Uint8Array, from: number, to: number): number {
    for (let at = from; at < to;) {
      const data = Math.min(this.#left, to - at);
      this.#left -= data;
      at += data;
      if (at === to) break;
      const lf = input.indexOf(LF, at);
      const end = lf < 0 || lf >= to ? to : lf + 1;
      if (this.#line.length + end - at > MAX_LINE) return NO_CHUNKS;
      this.#line += String.fromCharCode(...input.subarray(at, end));
      at = end;
      if (this.#expects === "end of chunk" && !"\r\n".startsWith(this.#line)) return NO_CHUNKS;
      if (!this.#line.endsWith("\n")) {
        if (this.#expects === "size" && !SIZE_BEGUN.test(this.#line)) return NO_CHUNKS; // and not only when the time is up
        break;
      }
      if (this.#expects === "trailer" && this.#line === "\r\n") return at;
      if (!this.#takeLine()) return NO_CHUNKS;
      this.#line = "";
    }
    return GOES_ON;
  }

  /** False if the line is not what has to stand here. */
  #takeLine(): boolean {
    if (this.#expects === "trailer") return this.#line.endsWith("\r\n"); // a field: nobody reads it
    if (this.#expects === "end of chunk") {
      this.#expects = "size";
      return this.#line === "\r\n";
    }
    const size = SIZE.exec(this.#line)?.[1];
    if (size === undefined) return false;
    this.#left = parseInt(size, 16);
    this.#expects = this.#left === 0 ? "trailer" : "end of chunk";
    return true;
  }
}
