/**
 * The pages that show a run: streams of server-sent events (WHATWG HTML, section 9.2), each with a bounded queue. There is one
 * page at a time, or a few: those that were opened last.
 *
 * @module
 */
import type { Events } from "./wire.ts";

/** So many events may wait for a page that does not read; then its stream ends, and its browser asks for a new one. */
export const QUEUE_EVENTS = 16;
/** After so long without a page it counts as closed: a page that is loaded again is back by then. */
const GRACE_MS = 2000;
const RETRY_MS = 300; // a browser that lost its stream comes back after this, so within the grace

type Stream = ReadableStreamDefaultController<Uint8Array>;

/** Events by their names, with what they carry. The first one that a page gets is the greeting. */
interface Common {
  hello: unknown;
  /** So many pages were opened after this one that it gets no more events. */
  replaced: null;
}

/** The pages that show a run. */
export class Viewer<E extends Common = Events> {
  readonly #first = Promise.withResolvers<void>();
  readonly #left = Promise.withResolvers<void>();
  readonly #graceMs: number;
  readonly #most: number;
  readonly #streams = new Set<Stream>(); // the oldest first
  #grace: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  /** @param most So many pages can show it at a time: those that were opened last. */
  constructor({ graceMs = GRACE_MS, most = 1 }: { graceMs?: number; most?: number } = {}) {
    this.#graceMs = graceMs;
    this.#most = most;
  }

  /** Resolves when the first page is open. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  /** Resolves when the last page was closed, and none was opened for a while. */
  get left(): Promise<void> {
    return this.#left.promise;
  }

  /** The body of the answer to a page. Where there are too many, the oldest one learns that it is replaced. */
  join(hello: E["hello"]): ReadableStream<Uint8Array> {
    let own: Stream;
    return new ReadableStream<Uint8Array>({
      start: (stream) => {
        own = stream;
        stream.enqueue(encode(`retry: ${RETRY_MS}\n`));
        stream.enqueue(event("hello", hello));
        if (this.#isClosed) return stream.close();
        const [oldest] = this.#streams;
        if (oldest !== undefined && this.#streams.size >= this.#most) this.#replace(oldest);
        this.#streams.add(stream);
        clearTimeout(this.#grace);
        this.#first.resolve();
      },
      cancel: () => this.#leave(own), // the page was closed
    }, { highWaterMark: QUEUE_EVENTS });
  }

  #replace(stream: Stream): void {
    this.#streams.delete(stream);
    if ((stream.desiredSize ?? 0) > 0) stream.enqueue(event("replaced", null));
    stream.close();
  }

  #leave(stream: Stream): void {
    if (!this.#streams.delete(stream) || this.#streams.size > 0 || this.#isClosed) return;
    this.#grace = setTimeout(() => this.#left.resolve(), this.#graceMs);
  }

  /** Sends an event to all pages. One that does not read is let go. */
  send<Name extends keyof E & string>(name: Name, data: E[Name]): void {
    for (const stream of [...this.#streams]) {
      if ((stream.desiredSize ?? 0) > 0) {
        stream.enqueue(event(name, data));
        continue;
      }
      stream.close();
      this.#leave(stream);
    }
  }

  /** Ends the streams, behind what waits in them. A page that comes later gets the first event and no more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#grace);
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }
}

const encoder = new TextEncoder();
const encode = (text: string) => encoder.encode(text);

/** One event. JSON has no line breaks, so its data is one line. */
const event = (name: string, data: unknown) => encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
