/**
 * Connections over `Deno.connect`, on every system. The event loop of the runtime stands between: a request costs more than
 * half as much CPU time again as over epoll, and its timers are good to a few milliseconds, so the rest of a wait is spun.
 *
 * Sources are not spread, because `Deno.connect` cannot bind: one address has some 28 000 ports (16 000 on macOS), and a closed
 * connection keeps its port in TIME_WAIT.
 *
 * @module
 */
import process from "node:process";
import { Connections, HOUSEKEEPING_US, type Steps } from "./connections.ts";
import type { EngineConfig } from "./types.ts";

const READ_BYTES = 4096; // each connection has a buffer of its own, so it is no larger than usual answers
const TIMER_US = 3000; // a timer may be so late: what is left is waited for by turns of the event loop

/** User and system CPU time of this process in µs. */
export function ownCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** The name of the errno behind an error of the runtime, or the name of its class. */
function nameOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return typeof code === "string" ? code : String(name);
}

/** Lets the event loop of the runtime poll for input and output, and waits for none. */
const poll = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A connection that is under way as long as `conn` is null. */
interface Socket {
  conn: Deno.TcpConn | null;
}

/** Gives the thread back to the runtime while a loop waits. */
export class PortableConnections extends Connections {
  readonly #sockets: (Socket | null)[] = [];
  readonly #freeIds: number[] = [];
  #wake: () => void = () => {};
  #housekeepingAt = 0;

  /** Where to connect, and addresses of the same name that were not tried yet. */
  #address: string;
  readonly #others: string[];

  constructor(readonly config: EngineConfig, light: Uint8Array<ArrayBuffer>) {
    super(light, config.method === "HEAD");
    const [first, ...others] = config.addresses;
    this.#address = first!;
    this.#others = others;
  }

  override clockUs(): number {
    return performance.now() * 1e3;
  }

  override open(): number {
    const id = this.#freeIds.pop() ?? this.#sockets.length;
    const socket: Socket = { conn: null };
    this.#sockets[id] = socket;
    this.opened(id);
    this.#serve(id, socket);
    return id;
  }

  /** True as long as this connection was not closed: its number may belong to another one by now. */
  #lives(id: number, socket: Socket): boolean {
    return this.#sockets[id] === socket;
  }

  /** The life of a connection. What happens in a life that was ended here is of no interest to anybody. */
  async #serve(id: number, socket: Socket): Promise<void> {
    try {
      socket.conn = await this.#connect();
    } catch (error) {
      if (this.#lives(id, socket)) this.settled(id, nameOf(error));
      return this.#wake();
    }
    if (!this.#lives(id, socket)) return socket.conn.close();
    socket.conn.setNoDelay();
    this.settled(id, "");
    this.#wake();
    const buffer = new Uint8Array(READ_BYTES);
    while (this.#lives(id, socket)) {
      await this.#receive(id, socket, buffer);
      this.#wake();
    }
  }

  async #connect(): Promise<Deno.TcpConn> {
    const { port } = this.config;
    for (;;) {
      const hostname = this.#address;
      try {
        return await Deno.connect({ hostname, port });
      } catch (error) {
        if (!(error instanceof Deno.errors.ConnectionRefused) || this.tally.connections > 0) throw error;
        // Nobody listens where the name was resolved to first; another attempt may have found that out before.
        if (hostname === this.#address) {
          if (this.#others.length === 0) throw error;
          this.#address = this.#others.shift()!;
        }
      }
    }
  }

  async #receive(id: number, socket: Socket, buffer: Uint8Array): Promise<void> {
    let got: number | null = null;
    let error = "";
    try {
      got = await socket.conn!.read(buffer);
    } catch (thrown) {
      error = nameOf(thrown);
    }
    if (!this.#lives(id, socket)) return;
    if (error !== "") return this.lose(id, error);
    if (got === null) return this.ended(id);
    this.answers.inbox.set(buffer.subarray(0, got));
    this.received(id, got, false);
  }

  protected override transmit(id: number, bytes: Uint8Array<ArrayBuffer>): string {
    this.#write(id, this.#sockets[id]!, bytes);
    return ""; // a failure shows later, and is told then
  }

  async #write(id: number, socket: Socket, bytes: Uint8Array): Promise<void> {
    try {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await socket.conn!.write(rest));
    } catch (error) {
      if (this.#lives(id, socket)) this.lose(id, nameOf(error));
      this.#wake();
    }
  }

  protected override hangUp(id: number): void {
    this.#sockets[id]!.conn?.close();
    this.#sockets[id] = null;
    this.#freeIds.push(id);
  }

  override async drive<T>(steps: Steps<T>): Promise<T> {
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      await this.#turn(step.value);
    }
  }

  /** Waits for an event until `untilUs`, but not beyond the next housekeeping. */
  async #turn(untilUs: number): Promise<void> {
    const us = Math.min(untilUs - this.clockUs(), HOUSEKEEPING_US);
    if (us < TIMER_US) await poll();
    else {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, (us - TIMER_US) / 1e3);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
    }
    this.now = this.clockUs();
    if (this.now < this.#housekeepingAt) return;
    this.#housekeepingAt = this.now + HOUSEKEEPING_US;
    this.dropEndless();
    this.housekeeping();
  }
}
