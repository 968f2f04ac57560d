/**
 * The client of the probe `million`, seen from its parent: it is started so that it cannot outlive it, gets commands, and says
 * its state.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { howEnded, limited, linesOf, Tail } from "../../server/launch.ts";
import { settles } from "../../server/process_group.ts";
import { CannotProbe } from "../rig.ts";
import type { ClientState, MillionCommand, MillionConfig } from "./protocol.ts";

const STDERR_TAIL = 4096; // characters kept of what the process says on stderr
const STOP_MS = 10_000; // it sees the end of stdin at once, and then the kernel closes up to a million connections

/** How it is started. */
export interface MillionOptions {
  /** Limits in the words of prlimit(1), such as `--nofile=256`. */
  prlimit?: string[];
  /** Ends the process. */
  signal: AbortSignal;
}

/** A running client. Bind it with `await using`. */
export class MillionChild implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: Promise<void>;
  readonly #stderr: Promise<void>;
  #state: ClientState | null = null;
  readonly #said = new Tail(STDERR_TAIL);
  #changed: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  #hasEnded = false;
  #commands = 0;

  private constructor(config: MillionConfig, { prlimit = [], signal }: MillionOptions) {
    const worker = fileURLToPath(new URL("./worker.ts", import.meta.url));
    const deno = [Deno.execPath(), "run", "--quiet", "--no-prompt", "--allow-ffi", worker, JSON.stringify(config)];
    const [command, ...args] = limited(prlimit, deno);
    const pipes = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    // Detached: Ctrl-C in the terminal reaches the parent alone, which then ends things in its order.
    this.#process = new Deno.Command(command!, { ...pipes, args, signal, detached: true }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#stderr = this.#said.collect(this.#process.stderr);
    this.#output = this.#read();
  }

  /**
   * Starts a client and waits until it is ready.
   *
   * @throws {CannotProbe} If it ends instead, with what it said: the system does not give it what it needs.
   */
  static async start(config: MillionConfig, options: MillionOptions): Promise<MillionChild> {
    const child = new MillionChild(config, options);
    try {
      await child.until(() => true);
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw new CannotProbe((error as Error).message);
    }
    return child;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** What it said last. */
  get state(): ClientState {
    return this.#state!;
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  async #read(): Promise<void> {
    for await (const line of linesOf(this.#process.stdout)) {
      this.#state = JSON.parse(line);
      this.#wake();
    }
    this.#hasEnded = true;
    this.#wake();
  }

  /**
   * Waits for a state.
   *
   * @throws {Error} If the client ends before.
   */
  async until(holds: (state: ClientState) => boolean): Promise<ClientState> {
    while (this.#state === null || !holds(this.#state)) {
      if (this.#hasEnded) throw await this.#ended();
      await this.#changed.promise;
    }
    return this.#state;
  }

  async #ended(): Promise<Error> {
    const [status] = await Promise.all([this.#process.status, this.#stderr]);
    return new Error(`The client ended ${howEnded(status)}. ${this.#said.text}`.trim());
  }

  /**
   * Has it do something, and waits until it is done: the next one only then.
   *
   * @throws {Error} If the client ends before.
   */
  async run(command: MillionCommand): Promise<ClientState> {
    const done = ++this.#commands;
    try {
      await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
    } catch {
      throw await this.#ended(); // the pipe broke: how the process ended says more than EPIPE
    }
    return await this.until((state) => state.done === done);
  }

  /** Ends it at once, by SIGKILL. Resolves when it is gone. */
  async kill(): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended by itself, which is what was wanted
    }
    await Promise.all([this.#process.status, this.#stderr, this.#output]);
  }

  /** Ends stdin, and so the client. Resolves when it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {}); // it fails if the process has ended by itself, which is what was wanted
    await settles(this.#process.status, STOP_MS);
    await this.kill();
  }
}
