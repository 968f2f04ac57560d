/**
 * Starts a server as a process of its own, speaks the contract of the experiments with it (the ready line, SIGTERM, the
 * stopped line, exit code 69) and leaves nothing of it behind: see group.ts.
 *
 * @example
 * ```ts
 * await using server = await startServer(experimentCommand(find("epoll")), { cpu: 0 });
 * console.log(`http://127.0.0.1:${server.port}/`);
 * ```
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import type { Experiment } from "../catalogue/catalogue.ts";
import { type Group, type GroupCommand, type GroupOptions, settles, spawnGroup } from "./process_group.ts";
import { EXIT } from "../cli/exit.ts";
import { howEnded, lastWords } from "./launch.ts";
import { processTree } from "../sampling/process.ts";

/** The first line of stdout, once the server accepts. */
export interface Ready {
  event: "ready";
  experiment: string;
  port: number;
  pid: number;
  /** What does the input and output, where there is a choice: `io_uring` or `epoll`. */
  io?: string;
}

/** The last line of stdout: connections accepted, requests answered with 200, and errors by status or errno name. */
export interface Stopped {
  event: "stopped";
  accepted: number;
  served: number;
  /** Of a server that pushes: messages that the sockets of listeners took. `served` counts those that came. */
  delivered?: number;
  /** Bytes that the sockets gave and took; missing where the server cannot count them. */
  bytes_in?: number;
  bytes_out?: number;
  errors: Record<string, number>;
  /** The same of each loop, where a server has several. */
  loops?: { accepted: number; served: number }[];
}

/** What a server says of itself while it runs. */
export interface Stats {
  /** Connections that it holds now. */
  open: number;
  accepted: number;
  served: number;
}

/** What to start. */
export interface ServerCommand extends GroupCommand {
  /** Whether it prints its counts on SIGUSR1. Another server may end by that signal; by default it gets none. */
  showsStats?: boolean;
  /** The signal that asks it to stop; SIGTERM by default. */
  stopSignal?: Deno.Signal;
}

/** How to start it. */
export interface ServerOptions extends GroupOptions {
  /** How long it may take until the ready line, in milliseconds; 120 000 by default. */
  readyTimeoutMs?: number;
  /** Ends the wait until it is ready. */
  signal?: AbortSignal;
  /** Called once a second while it is waited for. */
  onWait?: (seconds: number) => void;
}

/** Why there is no server: it cannot run here, was not ready in time, or ended before it was ready. */
export type StartFailure = { ended: "skipped" | "not_ready" | "crashed"; reason: string };

/** What `startServer` throws. */
export class StartError extends Error {
  override readonly name = "StartError";
  constructor(readonly failure: StartFailure) {
    super(failure.reason);
  }
}

const READY_MS = 120_000; // a peer may compile its source and what it stands on first
const STOP_MS = 5_000; // the contract gives a server 1 s for what is in flight

/** Calls `onWait` once a second, with the seconds since now, until it is disposed of. */
export function waiting(onWait: ServerOptions["onWait"]): Disposable {
  const from = performance.now();
  const timer = onWait === undefined ? undefined : setInterval(() => onWait((performance.now() - from) / 1000), 1000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Parses a line of JSON; null if it is none or not an object. */
function parseLine(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function parseReady(line: string): Ready | null {
  const { event, experiment, port, pid, io } = parseLine(line) ?? {};
  const right = event === "ready" && typeof experiment === "string" && isCount(port) && port > 0 && port < 65536 &&
    isCount(pid);
  return right ? { event, experiment, port, pid, ...(typeof io === "string" && { io }) } : null;
}

function parseStopped(line: string): Stopped | null {
  const { event, accepted, served, delivered, bytes_in, bytes_out, errors, loops } = parseLine(line) ?? {};
  const right = event === "stopped" && isCount(accepted) && isCount(served) && typeof errors === "object" &&
    errors !== null && Object.values(errors).every(isCount);
  const perLoop = Array.isArray(loops) && loops.every((loop) => isCount(loop?.accepted) && isCount(loop?.served));
  if (!right) return null;
  return {
    ...{ event, accepted, served, errors: errors as Record<string, number> },
    ...(isCount(delivered) && { delivered }),
    ...(isCount(bytes_in) && { bytes_in }),
    ...(isCount(bytes_out) && { bytes_out }),
    ...(perLoop && { loops }),
  };
}

function parseStats(line: string): Stats | null {
  const { event, open, accepted, served } = parseLine(line) ?? {};
  const right = event === "stats" && isCount(open) && isCount(accepted) && isCount(served);
  return right ? { open, accepted, served } : null;
}

/** A server hears signals within 100 ms; a busy machine may need more. */
const STATS_MS = 1_000;
/** Where Deno and Node open a debugger on SIGUSR1, whatever else they are to do at that signal. */
export const DEBUGGER = { hostname: "127.0.0.1", port: 9229 };

/** Another command may hold that port while it asks, for a tenth of a second. */
const HOLD_TRIES = 10;
const HOLD_PAUSE_MS = 25;

/**
 * Holds the port of the debugger. A debugger would be a thread more in the server, which figures would count, and a door for
 * every user of this machine. Without its port there is none, and the server says so on stderr.
 */
async function holdDebuggerPort(): Promise<Disposable> {
  for (let tries = 1; tries <= HOLD_TRIES; tries++) {
    try {
      return Deno.listen(DEBUGGER);
    } catch (error) {
      if (error instanceof Deno.errors.AddrNotAvailable) break; // the server is in another network
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, HOLD_PAUSE_MS));
  }
  return { [Symbol.dispose]() {} }; // or somebody has it for long, which does as well
}

/** Sends a signal to a process, or to a group by its negative number; to what has ended, nothing. */
export function signalIfAlive(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** A running server. Stop it, or bind it with `await using`. */
export class Server implements AsyncDisposable {
  /**
   * The root of the server's process tree: the process that the ready line names if it is one of the group's leader, which
   * may be a launcher, else the leader itself.
   */
  readonly pid: number;
  /** The leader of the group: the process that hears the signals. */
  readonly leaderPid: number;
  readonly port: number;
  readonly ready: Ready;
  /** Resolves when the server has ended, by `stop` or by itself, and nothing is left of its group. */
  readonly exited: Promise<Deno.CommandStatus>;
  #group: Group;
  readonly #command: ServerCommand;
  #asking: Promise<Stats | null> | null = null;
  #stopping: ReturnType<Server["stop"]> | null = null;

  /** Called by `startServer`. */
  constructor(group: Group, ready: Ready, command: ServerCommand) {
    this.#group = group;
    this.#command = command;
    this.pid = processTree(group.pid)?.includes(ready.pid) ? ready.pid : group.pid; // under Wine the ids are its own
    this.leaderPid = group.pid;
    this.port = ready.port;
    this.ready = ready;
    this.exited = group.gone;
  }

  /** The last 8 192 characters of stderr. */
  stderrTail(): string {
    return this.#group.stderrTail;
  }

  /** The last line of stdout. */
  lastLine(): string {
    return this.#group.lastLine;
  }

  /** What its launcher runs beside it, and the launcher: such as the backend of a proxy. Empty where it has no launcher. */
  beside(): number[] {
    const own = processTree(this.pid) ?? [];
    return (processTree(this.leaderPid) ?? []).filter((pid) => !own.includes(pid));
  }

  /** Sends a signal to every process of the server: also to those that a launcher has put into a session of their own. */
  signalAll(signal: Deno.Signal): void {
    for (const pid of [-this.leaderPid, ...processTree(this.leaderPid) ?? []]) signalIfAlive(pid, signal);
  }

  /**
   * Asks for its counts by SIGUSR1. A line of them takes the server about a millisecond: ask between windows, and not in one.
   * Needs `--allow-net=127.0.0.1:9229`.
   *
   * @returns Null where it shows none, or none within a second.
   */
  async stats(): Promise<Stats | null> {
    if (this.#command.showsStats !== true || Deno.build.os === "windows" || this.#stopping !== null) return null;
    return await (this.#asking ??= this.#askStats().finally(() => this.#asking = null));
  }

  async #askStats(): Promise<Stats | null> {
    using _port = await holdDebuggerPort();
    const told = Promise.withResolvers<Stats | null>();
    using _lines = this.#group.onLine((line) => {
      const stats = parseStats(line);
      if (stats !== null) told.resolve(stats);
    });
    const timer = setTimeout(() => told.resolve(null), STATS_MS);
    this.#group.signal("SIGUSR1");
    const stats = await Promise.race([told.promise, this.#group.gone.then(() => null)]);
    clearTimeout(timer);
    return stats;
  }

  /**
   * Sends SIGTERM (or what its command names instead) and, after 5 s, SIGKILL to the whole group. The second call gives
   * what the first one gave.
   *
   * @returns The stopped line (null if the last line is none), the exit code, and the signal that ended it, if one did.
   */
  stop(): Promise<{ stopped: Stopped | null; code: number; signal: string | null }> {
    return this.#stopping ??= this.#stop();
  }

  async #stop() {
    this.#group.terminate(this.#command.stopSignal);
    const { code, signal } = await settles(this.#group.status, STOP_MS) ? await this.exited : await this.#group.kill();
    return { stopped: parseStopped(this.#group.lastLine), code, signal };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Tells why a server ended before it was ready. */
function failureOf(status: Deno.CommandStatus, stderrTail: string): StartFailure {
  const said = stderrTail.trim();
  if (status.code === EXIT.unavailable) {
    return { ended: "skipped", reason: lastWords(said) || "It cannot run here and did not say why." };
  }
  return { ended: "crashed", reason: `Ended ${howEnded(status)} before it was ready${said ? `: ${said}` : "."}` };
}

/**
 * Starts a server and resolves once it accepts. Needs `--allow-run=sh` (on Windows: for the command itself).
 *
 * @throws {StartError} If it cannot run here (exit code 69), ends before it is ready, says something else first, or is
 * not ready in time. Nothing of it is left then.
 */
export async function startServer(command: ServerCommand, options: ServerOptions = {}): Promise<Server> {
  const readyMs = options.readyTimeoutMs ?? READY_MS;
  const group = await spawnGroup(command, options);
  const { promise: abort, resolve: onAbort } = Promise.withResolvers<null>();
  options.signal?.addEventListener("abort", () => onAbort(null), { once: true });
  using _ = waiting(options.onWait);
  const first = Promise.race([group.firstLine, group.gone, abort]);
  const said = await settles(first, readyMs) ? await first : null;
  const ready = typeof said === "string" ? parseReady(said) : null;
  if (ready !== null) return new Server(group, ready, command);
  await group.kill();
  options.signal?.throwIfAborted();
  if (said !== null && typeof said === "object") throw new StartError(failureOf(said, group.stderrTail));
  const reason = said === null
    ? `Not ready after ${readyMs} ms.`
    : `Its first line is not the ready line: ${said.slice(0, 200)}`;
  throw new StartError({ ended: "not_ready", reason });
}

/** A Deno that experiments can run under. */
export interface Runtime {
  /** The path of its program. */
  path: string;
  version: string;
  /** Flags for V8, such as `--single-threaded`. */
  v8Flags: readonly string[];
}

/** The Deno that runs this. */
export const thisRuntime = (): Runtime => ({ path: Deno.execPath(), version: Deno.version.deno, v8Flags: [] });

/**
 * The command that starts an experiment on a port of the kernel's choice, with the permissions that its `@run` line
 * names and nothing of this project: it runs as a file alone would.
 *
 * @param args Further options of the experiment, such as `["--workers", "2"]`.
 * @param runtime The Deno that it runs under; by default this one.
 */
export function experimentCommand(
  { path, run }: Experiment,
  args: string[] = [],
  runtime: Runtime = thisRuntime(),
): { command: string; args: string[]; cwd: string } {
  const words = run.split(" ");
  const file = resolve(path);
  // What stands between `deno run` and the file, which a copy may have another name for. Paths in it start at the file's folder.
  const flags = words.slice(2, words.findIndex((word) => /^[^-].*\.ts$/.test(word)));
  if (runtime.v8Flags.length > 0) flags.push(`--v8-flags=${runtime.v8Flags.join(",")}`);
  return {
    command: runtime.path,
    args: ["run", "--no-prompt", "--no-config", "--no-lock", ...flags, file, "--port", "0", ...args],
    cwd: dirname(file),
  };
}
