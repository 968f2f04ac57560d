/**
 * The pages that look at a run: streams of server-sent events (WHATWG HTML, section 9.2), each with a bounded queue.
 *
 * @module
 */
import { type Events, MAX_PAGES } from "./wire.ts";

/** So many events may wait for a page that does not read; then its stream ends, and its browser asks for a new one. */
export const QUEUE_EVENTS = 16;
/** So long nobody may look before it counts as closed: a page that is loaded again is back by then. */
const GRACE_MS = 2000;
const RETRY_MS = 300; // a browser that lost its stream comes back after this, so within the grace

type Stream = ReadableStreamDefaultController<Uint8Array>;

/** All who look. */
export class Viewers {
  readonly #streams = new Set<Stream>();
  readonly #first = Promise.withResolvers<void>();
  readonly #left = Promise.withResolvers<void>();
  readonly #graceMs: number;
  #grace: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(graceMs = GRACE_MS) {
    this.#graceMs = graceMs;
  }

  /** Resolves when somebody looks. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  /** Resolves when there was somebody, but nobody looks any more. */
  get left(): Promise<void> {
    return this.#left.promise;
  }

  /** How many look now. */
  get size(): number {
    return this.#streams.size;
  }

  /** Whether there is no room for one more page. */
  get isFull(): boolean {
    return this.size >= MAX_PAGES;
  }

  /** The body of an answer to one more page; ask `isFull` before. */
  join(hello: Events["hello"]): ReadableStream<Uint8Array> {
    let own: Stream;
    return new ReadableStream<Uint8Array>({
      start: (stream) => {
        own = stream;
        stream.enqueue(encode(`retry: ${RETRY_MS}\n`));
        stream.enqueue(event("hello", hello));
        if (this.#isClosed) return stream.close();
        this.#streams.add(stream);
        clearTimeout(this.#grace);
        this.#first.resolve();
      },
      cancel: () => this.#leave(own), // the page was closed
    }, { highWaterMark: QUEUE_EVENTS });
  }

  #leave(stream: Stream): void {
    if (!this.#streams.delete(stream) || this.#streams.size > 0 || this.#isClosed) return;
    this.#grace = setTimeout(() => this.#left.resolve(), this.#graceMs);
  }

  /** Tells all who look. */
  send<Name extends keyof Events>(name: Name, data: Events[Name]): void {
    const bytes = event(name, data);
    for (const stream of [...this.#streams]) {
      if ((stream.desiredSize ?? 0) > 0) stream.enqueue(bytes);
      else {
        stream.close();
        this.#leave(stream);
      }
    }
  }

  /** Ends all streams, behind what waits in them. Who comes later gets no more than the first event. */
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
