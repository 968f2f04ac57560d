/**
 * A broker of one's own: the program nats-server, on a free port of this host.
 *
 * @module
 */
import { linesOf } from "../server/launch.ts";

const STDERR_LINES = 40; // of its log, for the message of a failure

/** A nats-server that runs. */
export class BrokerProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  readonly #ready = Promise.withResolvers<number>();

  private constructor(command: Deno.Command) {
    this.#child = command.spawn();
    this.#reading = this.#read();
  }

  /**
   * Starts one and waits until it listens.
   *
   * @param args Further words of its command line.
   * @param port Where it listens; default: a free port.
   * @param at Where it runs; default: on this host.
   */
  static async start(
    args: readonly string[] = [],
    port = -1,
    at: { host: string; wrap(words: string[]): string[] } = { host: "127.0.0.1", wrap: (words) => words },
  ): Promise<BrokerProcess & { port: number }> {
    const words = at.wrap(["nats-server", "-a", at.host, "-p", String(port), ...args]);
    const command = new Deno.Command(words[0]!, {
      args: words.slice(1),
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    });
    const broker = new BrokerProcess(command);
    return Object.assign(broker, { port: await broker.#ready.promise });
  }

  async #read(): Promise<void> {
    let port = 0;
    const said: string[] = [];
    for await (const line of linesOf(this.#child.stderr)) {
      said.push(line);
      if (said.length > STDERR_LINES) said.shift();
      port = Number(/Listening for client connections on .*:(\d+)$/.exec(line)?.[1] ?? port);
      if (line.endsWith("Server is ready")) this.#ready.resolve(port);
    }
    this.#ready.reject(new Error(`nats-server is not ready: ${said.join("\n")}`));
  }

  /** Ends it at once, as a crash does. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#reading;
  }

  /** Stops it without an end: its connections stay, and nothing comes from them. */
  freeze(): void {
    this.#child.kill("SIGSTOP");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended
    }
    await this.#child.status;
    await this.#reading;
  }
}
