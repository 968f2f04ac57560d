/**
 * The process behind a load generator, seen from its parent: started so that it cannot outlive it, asked one command
 * at a time.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { KnownFailure, UsageError } from "../cli/errors.ts";
import { howEnded, linesOf, PIN_AND_BIND, Tail } from "../server/launch.ts";
import type { Namespace } from "../network/namespaces.ts";
import type { AudienceCommand, Command, EngineConfig, LoadUnit, Progress, Reply, StressCommand } from "./types.ts";

const STDERR_TAIL = 4096; // characters kept of what the process says on stderr
const START_MS = 30_000; // a cold start on a busy machine compiles the sources first
const STOP_MS = 2000; // it sees the end of stdin within 100 ms, unless the machine is overloaded

const LAUNCH = `${PIN_AND_BIND}
exec "$@"`; // without setpriv(1) it goes when stdin ends

/** What the engine needs and no more: libc, or connections to the one target, or both for the clocks of the portable one. */
function permissions({ engine, addresses, port }: EngineConfig): string[] {
  const targets = addresses.map((address) => address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);
  const net = engine === "portable" ? [`--allow-net=${targets.join()}`] : [];
  return ["--no-prompt", ...(Deno.build.os === "linux" ? ["--allow-ffi"] : []), ...net];
}

function command(config: EngineConfig, within: Namespace | null): Deno.Command {
  const main = fileURLToPath(new URL("./main.ts", import.meta.url));
  const program = {
    command: Deno.execPath(),
    args: ["run", "--quiet", ...permissions(config), main, JSON.stringify(config)],
  };
  const started = within?.command(program) ?? program;
  const words = [started.command, ...started.args];
  // Detached: Ctrl-C in the terminal reaches the parent alone, which then ends things in its order.
  const pipes = { stdin: "piped", stdout: "piped", stderr: "piped", detached: true } as const;
  if (Deno.build.os === "windows") return new Deno.Command(words[0]!, { ...pipes, args: words.slice(1) });
  return new Deno.Command("sh", { ...pipes, args: ["-c", LAUNCH, "sh", String(config.cpu ?? ""), ...words] });
}

/** The process of a load generator has ended, and with it what it was to do. */
export class GeneratorEnded extends KnownFailure {
  override readonly name = "GeneratorEnded";
}

/** Load from other hosts has ended before its time: what it was to do is not done. */
export class LoadLost extends KnownFailure {
  override readonly name = "LoadLost";
}

/** A running process of main.ts. */
export class LoadChild implements LoadUnit {
  /** How many clients it held after the last command. */
  clients = 0;
  /** Its clock, as it was when it said it was ready, less `clock()` of this process when that was read. */
  clockOffsetUs = 0;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #replies: AsyncGenerator<Reply, void>;
  readonly #said = new Tail(STDERR_TAIL);
  readonly #stderr: Promise<void>;
  #last: Promise<unknown> = Promise.resolve();
  #stopped: Promise<void> | null = null;

  private constructor(
    config: EngineConfig,
    within: Namespace | null,
    readonly onProgress: (progress: Progress) => void,
  ) {
    this.#process = command(config, within).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#replies = this.#read();
    this.#stderr = this.#said.collect(this.#process.stderr);
  }

  /**
   * Starts the process, in a network namespace of the lab or in that of this process, and waits until it takes commands.
   *
   * @throws {Error} If it ends instead, with what it said, or is not ready within 30 s.
   */
  static async start(
    config: EngineConfig,
    within: Namespace | null,
    clockUs: () => number,
    onProgress: (progress: Progress) => void,
  ): Promise<LoadChild> {
    const child = new LoadChild(config, within, onProgress);
    const timer = setTimeout(() => child.#process.kill("SIGKILL"), START_MS);
    const reply = await child.#reply().finally(() => clearTimeout(timer));
    if (!("ready" in reply)) throw new Error(`The load generator begins with ${JSON.stringify(reply)}.`);
    // CLOCK_MONOTONIC is the same everywhere. Else the reply has been on its way for a millisecond or so: the timers are no better.
    child.clockOffsetUs = config.engine === "epoll" ? 0 : reply.clockUs - clockUs();
    return child;
  }

  get pid(): number {
    return this.#process.pid;
  }

  async *#read(): AsyncGenerator<Reply, void> {
    for await (const line of linesOf(this.#process.stdout)) yield JSON.parse(line);
  }

  /** The next reply that is not progress. */
  async #reply(): Promise<Exclude<Reply, { progress: Progress }>> {
    for (;;) {
      const { value } = await this.#replies.next();
      if (value === undefined) throw await this.#ended();
      if (!("progress" in value)) return value;
      this.onProgress(value.progress);
    }
  }

  async #ended(): Promise<Error> {
    const [status] = await Promise.all([this.#process.status, this.#stderr]);
    const how = this.#stopped !== null ? "was stopped" : `ended ${howEnded(status)}`;
    return new GeneratorEnded(`The load generator ${how}. ${this.#said.text}`.trim());
  }

  /**
   * Runs a command after those that were given before, and returns its outcome as it came over the pipe.
   *
   * @throws {UsageError} If the command cannot be done as asked.
   * @throws {Error} If the process ends before the answer.
   */
  run(command: Command | StressCommand | AudienceCommand): Promise<unknown> {
    const outcome = this.#last.then(() => this.#run(command));
    this.#last = outcome.catch(() => {}); // the caller of that command gets its error; the next one is independent of it
    return outcome;
  }

  async #run(command: Command | StressCommand | AudienceCommand): Promise<unknown> {
    try {
      await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
    } catch {
      throw await this.#ended(); // the pipe broke: how the process ended says more than EPIPE
    }
    const reply = await this.#reply();
    if ("refused" in reply) throw new UsageError(reply.refused);
    if (!("done" in reply)) throw new Error(`The load generator answers ${JSON.stringify(reply)}.`);
    this.clients = reply.clients;
    return reply.done;
  }

  /** Ends the process, a command that runs included. Resolves when it is gone. */
  stop(): Promise<void> {
    return this.#stopped ??= this.#stop();
  }

  async #stop(): Promise<void> {
    await this.#input.close().catch(() => {}); // it fails if the process has ended by itself, which is what was wanted
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), STOP_MS);
    await this.#process.status;
    clearTimeout(timer);
    await this.#last; // a command that was running has failed, and has read stdout to its end
    while (!(await this.#replies.next()).done);
    await this.#stderr;
  }
}
