/**
 * A broker of one's own: the program nats-server, on a free port of this host.
 *
 * @module
 */
import { type Group, spawnGroup } from "../server/process_group.ts";

const LOG_LINES = 40; // of its log, for the message of a failure
const LAUNCH = `exec "$@" 2>&1`; // its log goes to stderr: here it is heard line by line

/** A nats-server that runs. It ends with the process that has started it, however that ends. */
export class BrokerProcess implements AsyncDisposable {
  readonly #group: Group;

  private constructor(group: Group, readonly port: number) {
    this.#group = group;
  }

  /**
   * Starts one and waits until it listens.
   *
   * @param args Further words of its command line.
   * @param port Where it listens; default: a free port.
   * @param at Where it runs; default: on this host.
   * @throws {Error} If it ends instead, with the end of its log.
   */
  static async start(
    args: readonly string[] = [],
    port = -1,
    at: { host: string; wrap(words: string[]): string[] } = { host: "127.0.0.1", wrap: (words) => words },
  ): Promise<BrokerProcess> {
    const words = at.wrap(["nats-server", "-a", at.host, "-p", String(port), ...args]);
    const ready = Promise.withResolvers<number>();
    const log: string[] = [];
    let listens = 0;
    const onLine = (line: string) => {
      log.push(line);
      if (log.length > LOG_LINES) log.shift();
      listens = Number(/Listening for client connections on .*:(\d+)$/.exec(line)?.[1] ?? listens);
      if (line.endsWith("Server is ready")) ready.resolve(listens);
    };
    const group = await spawnGroup({ command: "sh", args: ["-c", LAUNCH, "sh", ...words] }, { onLine });
    const ended = group.gone.then(() => {
      throw new Error(`nats-server is not ready: ${log.join("\n")}`);
    });
    return new BrokerProcess(group, await Promise.race([ready.promise, ended]));
  }

  /** Ends it at once, as a crash does. */
  async kill(): Promise<void> {
    await this.#group.kill();
  }

  /** Stops it without an end: its connections stay, and nothing comes from them. */
  freeze(): void {
    this.#group.signal("SIGSTOP");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
