/**
 * A server for tests of clients, in the process of the test: what it does with each request is a function of the test, so that
 * it can misbehave in any way.
 *
 * @module
 */

/** One connection, as the function that answers sees it. */
export interface FakeConnection {
  readonly connection: Deno.TcpConn;
  /** The address the client comes from. */
  readonly from: string;
  /** Writes all of `text`, in one piece as far as the system allows. */
  write(text: string): Promise<void>;
}

/** Answers one request: the `number`-th on this connection, from 1, for `path`. */
export type Answering = (client: FakeConnection, number: number, path: string) => void | Promise<void>;

/** An answer that a client of the lab counts. */
export const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";

const READ_BYTES = 16 * 1024;
const { BadResource, BrokenPipe, ConnectionReset, Interrupted, NotConnected } = Deno.errors;
const ENDED = [BadResource, BrokenPipe, ConnectionReset, Interrupted, NotConnected];

/** A listening socket on a port of this machine, and what came in on it. */
export class FakeServer implements AsyncDisposable {
  readonly port: number;
  /** Paths in the order in which they were asked for. */
  readonly paths: string[] = [];
  /** The last whole head that came. */
  lastHead = "";
  /** What each connection has sent since its last whole head, and where it came from. */
  readonly clients: { connection: Deno.TcpConn; from: string; rest: string }[] = [];
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Deno.TcpConn>();
  readonly #over: Promise<unknown>;

  /**
   * @param hostname Where it listens.
   * @param greet What it does with a connection before anything has come on it.
   */
  constructor(
    readonly answer: Answering,
    hostname = "127.0.0.1",
    port = 0,
    readonly greet: (client: FakeConnection) => void | Promise<void> = () => {},
  ) {
    this.#listener = Deno.listen({ hostname, port });
    this.port = this.#listener.addr.port;
    this.#over = this.#accept();
  }

  async #accept(): Promise<void> {
    const lives: Promise<void>[] = [];
    for (;;) {
      try {
        lives.push(this.#serve(await this.#listener.accept()));
      } catch (error) {
        if (error instanceof NotConnected) continue; // the client was gone before it was accepted
        if (!(error instanceof BadResource)) throw error;
        break; // the listener was closed
      }
    }
    await Promise.all(lives);
  }

  async #serve(connection: Deno.TcpConn): Promise<void> {
    this.#connections.add(connection);
    try {
      await this.#converse(connection);
    } catch (error) {
      // Else it was closed, by the client or by the test, at whatever moment.
      if (!ENDED.some((kind) => error instanceof kind)) throw error;
    }
    this.#close(connection);
  }

  async #converse(connection: Deno.TcpConn): Promise<void> {
    const from = connection.remoteAddr.hostname;
    const client = { connection, from, rest: "" };
    const write = async (text: string) => {
      for (let rest = new TextEncoder().encode(text); rest.length > 0;) {
        rest = rest.subarray(await connection.write(rest));
      }
    };
    this.clients.push(client);
    connection.setNoDelay();
    await this.greet({ connection, from, write });
    const buffer = new Uint8Array(READ_BYTES);
    const decoder = new TextDecoder();
    for (let got = await connection.read(buffer), number = 0; got !== null; got = await connection.read(buffer)) {
      const heads = (client.rest + decoder.decode(buffer.subarray(0, got))).split("\r\n\r\n");
      client.rest = heads.pop()!;
      for (const head of heads) {
        const path = head.split(" ")[1]!;
        this.paths.push(path);
        this.lastHead = head;
        await this.answer({ connection, from, write }, ++number, path);
      }
    }
  }

  #close(connection: Deno.TcpConn): void {
    if (this.#connections.delete(connection)) connection.close();
  }

  /** How many connections there are now. */
  get open(): number {
    return this.#connections.size;
  }

  /** Closes the connection of a client. */
  hangUp({ connection }: FakeConnection): void {
    this.#close(connection);
  }

  /** Closes the connections of all clients whose unfinished head `isWanted` picks. */
  throwOut(isWanted: (rest: string) => boolean): void {
    for (const { connection, rest } of this.clients) if (isWanted(rest)) this.#close(connection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) this.#close(connection);
    await this.#over;
  }
}
