/**
 * An HTTP/1.1 client for tests of servers: what is written arrives in exactly the pieces in which it was written, answers
 * are taken one by one in their order, and an end is distinguished from a reset. fetch(2) and its like hide all three.
 *
 * @example
 * ```ts
 * using client = await Client.connect(8080);
 * await client.send("GET / HTTP/1.1\r\nHost: lab\r\n\r\n");
 * console.log(await client.answer()); // { status: 200, fields: Map …, body: "Hello World" }
 * ```
 *
 * @module
 */
import net from "node:net";

/** How long, in ms, an event is waited for unless the caller says otherwise. Only a broken server lets it pass. */
export const PATIENCE_MS = 30_000;
const MAX_HEAD_BYTES = 8192; // of an answer; a longer one is no answer of this protocol
const READ_BYTES = 64 * 1024;
const POLL_MS = 10;

/** The server did otherwise than promised, or did not do it in time. The message says what was awaited. */
export class BrokenPromise extends Error {
  override readonly name = "BrokenPromise";
}

/** One answer. The names of its fields are in lower case. */
export interface Answer {
  status: number;
  fields: Map<string, string>;
  body: string;
}

/** The head of a request without a body, with the blank line: method, target, and lines of fields. */
export const head = (target: string, method = "GET", ...fields: string[]): string =>
  [`${method} ${target} HTTP/1.1`, "Host: lab", ...fields, "", ""].join("\r\n");

/**
 * Waits for a promise, but no longer than `ms` milliseconds.
 *
 * @param awaited What is waited for, as the end of a sentence.
 * @throws {BrokenPromise} If the time passes.
 */
export async function within<T>(promise: Promise<T>, ms: number, awaited: string): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new BrokenPromise(`Waited ${ms} ms for ${awaited}.`)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks again and again whether something has become true, for what no event tells.
 *
 * @throws {BrokenPromise} If it is not true within `ms` milliseconds.
 */
export async function until(holds: () => boolean | Promise<boolean>, ms: number, awaited: string): Promise<void> {
  const deadline = performance.now() + ms;
  while (!await holds()) {
    if (performance.now() > deadline) throw new BrokenPromise(`Waited ${ms} ms for ${awaited}.`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

const { ConnectionRefused, ConnectionReset, NotConnected } = Deno.errors;
const NOBODY = [ConnectionRefused, ConnectionReset, NotConnected];

/** Tells whether something listens on a port of 127.0.0.1: the connection made to see it is closed at once. */
export async function listens(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch (error) {
    // A listener that closes while the connection waits to be accepted resets it, maybe before this end has looked at it.
    if (NOBODY.some((kind) => error instanceof kind)) return false;
    throw error;
  }
}

/** Connects, sends `text`, and ends the connection with RST, without a look at what comes back. */
export function reset(port: number, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write(text, () => socket.resetAndDestroy()));
    socket.on("error", reject).on("close", () => resolve());
  });
}

/** One connection, seen from the client. It is not meant for two that read, or two that write, at a time. */
export class Client implements Disposable {
  readonly #connection: Deno.TcpConn;
  readonly #patienceMs: number;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #decoder = new TextDecoder("latin1");
  #text = ""; // what was received; #at is the start of the next answer in it
  #at = 0;

  private constructor(connection: Deno.TcpConn, patienceMs: number) {
    this.#connection = connection;
    this.#patienceMs = patienceMs;
    connection.setNoDelay(); // a piece that is written leaves at once
  }

  /**
   * Connects to a port of 127.0.0.1.
   *
   * @param patienceMs How long each later wait lasts at most.
   * @throws {BrokenPromise} If nothing listens there.
   */
  static async connect(port: number, patienceMs: number = PATIENCE_MS): Promise<Client> {
    try {
      return new Client(await Deno.connect({ hostname: "127.0.0.1", port }), patienceMs);
    } catch (error) {
      throw new BrokenPromise(`Cannot connect to port ${port}: ${error}`);
    }
  }

  /**
   * Writes all of `data`. Waits as long as the server does not read, without a bound.
   *
   * @throws {BrokenPromise} If the connection breaks.
   */
  async send(data: string | Uint8Array): Promise<void> {
    let rest = typeof data === "string" ? new TextEncoder().encode(data) : data;
    try {
      while (rest.length > 0) rest = rest.subarray(await this.#connection.write(rest));
    } catch (error) {
      throw new BrokenPromise(`The connection broke while a request was sent: ${error}`);
    }
  }

  /** The port at this end. */
  get port(): number {
    return (this.#connection.localAddr as Deno.NetAddr).port;
  }

  /** Closes the half that sends (FIN); the other one stays open. */
  async finish(): Promise<void> {
    await this.#connection.closeWrite();
  }

  /**
   * Takes the next answer.
   *
   * @throws {BrokenPromise} If what comes is no answer, or none comes in time, or the connection ends.
   */
  async answer(): Promise<Answer> {
    for (;;) {
      const answer = this.#take(false);
      if (answer !== null) return answer;
      if (await this.#receive("an answer")) continue;
      const last = this.#take(true);
      if (last !== null) return last;
      throw new BrokenPromise("The connection was closed without an answer.");
    }
  }

  /** Asks for one target and takes the answer. */
  async ask(target: string, method?: string): Promise<Answer> {
    await this.send(head(target, method));
    return await this.answer();
  }

  /**
   * Waits for the end of what the server sends.
   *
   * @throws {BrokenPromise} If more comes before the end, the connection is reset, or it stays open.
   */
  async ended(): Promise<void> {
    if (this.#at < this.#text.length || await this.#receive("the end of the connection")) {
      throw new BrokenPromise(`More came in place of the end: ${JSON.stringify(this.#text.slice(this.#at, 200))}`);
    }
  }

  /** Reads once; false at the end. */
  async #receive(awaited: string): Promise<boolean> {
    let got: number | null;
    try {
      got = await within(this.#connection.read(this.#buffer), this.#patienceMs, awaited);
    } catch (error) {
      if (error instanceof BrokenPromise) throw error;
      throw new BrokenPromise(`The connection broke while ${awaited} was awaited: ${error}`);
    }
    if (got === null) return false;
    this.#text = this.#text.slice(this.#at) + this.#decoder.decode(this.#buffer.subarray(0, got));
    this.#at = 0;
    return true;
  }

  /** Takes an answer out of what was received; null as long as it is not complete. `ended`: no more will come. */
  #take(ended: boolean): Answer | null {
    const blank = this.#text.indexOf("\r\n\r\n", this.#at);
    if (blank < 0) {
      if (this.#text.length - this.#at <= MAX_HEAD_BYTES) return null;
      throw new BrokenPromise(`No head of an answer: ${JSON.stringify(this.#text.slice(this.#at, this.#at + 200))}`);
    }
    const [line, ...lines] = this.#text.slice(this.#at, blank).split("\r\n");
    const status = /^HTTP\/1\.[01] (\d{3}) /.exec(line!)?.[1];
    const fields = new Map(lines.map((field) => {
      const colon = field.indexOf(":");
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()] as const;
    }));
    // An answer that closes the connection may leave its length out: its body is what comes until then (RFC 9112, 6.3).
    const untilEnd = !fields.has("content-length") && fields.get("connection") === "close";
    if (untilEnd && !ended) return null;
    const length = untilEnd ? String(this.#text.length - blank - 4) : fields.get("content-length");
    if (status === undefined || length === undefined || !/^\d+$/.test(length)) {
      throw new BrokenPromise(`An answer without status or Content-Length: ${JSON.stringify(line)}`);
    }
    const end = blank + 4 + Number(length);
    if (end > this.#text.length) return null;
    this.#at = end;
    return { status: Number(status), fields, body: this.#text.slice(blank + 4, end) };
  }

  /** Closes both halves; the kernel resets the connection if something that came was not read. */
  [Symbol.dispose](): void {
    this.#connection.close();
  }
}
