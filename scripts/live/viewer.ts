/**
 * The page that shows a run: a stream of server-sent events (WHATWG HTML, section 9.2) with a bounded queue. There is one
 * page at a time: the one that was opened last.
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

/** The page that shows a run. */
export class Viewer {
  readonly #first = Promise.withResolvers<void>();
  readonly #left = Promise.withResolvers<void>();
  readonly #graceMs: number;
  #stream: Stream | null = null;
  #grace: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(graceMs = GRACE_MS) {
    this.#graceMs = graceMs;
  }

  /** Resolves when the first page is open. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  /** Resolves when the page was closed, and none was opened for a while. */
  get left(): Promise<void> {
    return this.#left.promise;
  }

  /** The body of the answer to a page. The page before it, if it is open still, learns that it is replaced. */
  join(hello: Events["hello"]): ReadableStream<Uint8Array> {
    let own: Stream;
    return new ReadableStream<Uint8Array>({
      start: (stream) => {
        own = stream;
        stream.enqueue(encode(`retry: ${RETRY_MS}\n`));
        stream.enqueue(event("hello", hello));
        if (this.#isClosed) return stream.close();
        this.send("replaced", null);
        this.#stream?.close();
        this.#stream = stream;
        clearTimeout(this.#grace);
        this.#first.resolve();
      },
      cancel: () => this.#leave(own), // the page was closed
    }, { highWaterMark: QUEUE_EVENTS });
  }

  #leave(stream: Stream): void {
    if (this.#stream !== stream || this.#isClosed) return;
    this.#stream = null;
    this.#grace = setTimeout(() => this.#left.resolve(), this.#graceMs);
  }

  /** Sends an event to the page, if there is one. */
  send<Name extends keyof Events>(name: Name, data: Events[Name]): void {
    const stream = this.#stream;
    if (stream === null) return;
    if ((stream.desiredSize ?? 0) > 0) return stream.enqueue(event(name, data));
    stream.close();
    this.#leave(stream);
  }

  /** Ends the stream, behind what waits in it. A page that comes later gets the first event and no more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#grace);
    this.#stream?.close();
    this.#stream = null;
  }
}

const encoder = new TextEncoder();
const encode = (text: string) => encoder.encode(text);

/** One event. JSON has no line breaks, so its data is one line. */
const event = (name: string, data: unknown) => encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
