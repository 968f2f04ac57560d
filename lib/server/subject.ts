/**
 * What can be measured: an experiment of this project, or a server of somebody's own that knows nothing of it.
 *
 * @module
 */
import { delay } from "@std/async";
import { type Experiment, runsHere } from "../catalogue/catalogue.ts";
import { shellQuote, taskLine } from "../cli/shell.ts";
import { sample } from "../sampling/sampler.ts";
import { howEnded, withLastWords } from "./launch.ts";
import { type GroupCommand, settles, spawnGroup } from "./process_group.ts";
import {
  experimentCommand,
  type Runtime,
  type Server,
  type ServerOptions,
  StartError,
  type StartFailure,
  startServer,
  type Stopped,
  thisRuntime,
  waiting,
} from "./server.ts";

/** A custom server: a command that starts it, or the address of one that runs already. */
export interface CustomServer {
  name: string;
  family: "own";
  /** The words of the command, started with PORT in its environment; null: it runs already. */
  words: readonly string[] | null;
  /** Where it listens; null: a command is told a free port at each start. */
  port: number | null;
  /** The process to sample, where it runs already; null: its CPU time and memory are not known. */
  pid: number | null;
}

/** An experiment under a Deno of its own: another version, or other flags. */
export interface Variant extends Experiment {
  runtime: Runtime;
}

/** Whatever can be measured. */
export type Subject = Experiment | Variant | CustomServer;

/** A server that runs. */
export interface Running extends AsyncDisposable {
  /** The root of its process tree; null where nobody has told. */
  readonly pid: number | null;
  readonly port: number;
  /** Resolves when it has ended. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** What it said last on stderr. */
  stderrTail(): string;
  /** Ends it, and returns its stopped line; null where there is none, as with a custom server. */
  stop?(): Promise<{ stopped: Stopped | null }>;
}

export const isCustom = (subject: Subject): subject is CustomServer => subject.family === "own";

/** Whether it serves around the kernel: it needs an interface and an address of its own, so a network of its own. */
export const bypassesKernel = (subject: Subject): boolean => subject.family === "bypass";

/** Whether it has requests that burn CPU: nginx and Apache have none, and of a custom server nobody knows. */
export const hasWork = (subject: Subject): boolean => !isCustom(subject) && !Object.hasOwn(subject.cannot, "burn-cpu");

/** The Deno that an experiment runs under. */
export const runtimeOf = (subject: Experiment | Variant): Runtime =>
  "runtime" in subject ? subject.runtime : thisRuntime();

const LOCAL_NET = "--allow-net=127.0.0.1"; // of an `@run` line
const READY_MS = 60_000; // somebody's framework may compile first
const LOOK_MS = 20;
const STOP_MS = 5_000; // as for experiments

/** Where a server runs, if not in the network of this process. */
export interface Place {
  /** The command that runs a command there. */
  command<T extends GroupCommand>(command: T): T;
  interface: string;
  /** Where it is to answer. */
  address: string;
}

/** How a subject is started. */
export interface SubjectOptions extends ServerOptions {
  /** Where an experiment runs; default: in the network of this process, on 127.0.0.1. */
  place?: Place;
  /** Further options of an experiment, such as `["--workers", "2"]`. */
  args?: string[];
  /** Added to the environment of an experiment. */
  env?: Record<string, string>;
}

/** What runs of a subject: an experiment says more of itself than a custom server. */
export type RunningOf<S extends Subject> = S extends CustomServer ? Running : Server;

/**
 * Starts what is to be measured. A server that runs already is left as it is, also at the end.
 *
 * @throws {StartError} If it cannot run here, or does not get ready.
 */
export async function startSubject<S extends Subject>(subject: S, options: SubjectOptions = {}): Promise<RunningOf<S>> {
  const { args = [], env, place, ...rest } = options;
  if (isCustom(subject)) {
    const started = subject.words === null ? attach(subject) : startCustom(subject, subject.words, rest);
    return await started as RunningOf<S>;
  }
  const here = runsHere(subject);
  if (!here.runs) throw new StartError({ ended: "skipped", reason: here.reason });
  if (bypassesKernel(subject) && place === undefined) {
    const reason = `${subject.name} needs a network of its own, which is not made here: deno task exp makes one.`;
    throw new StartError({ ended: "skipped", reason });
  }
  const command = place === undefined
    ? experimentCommand(subject, args, runtimeOf(subject))
    : commandAt(place, subject, args);
  return await startServer({ ...command, ...(env && { env }) }, rest) as RunningOf<S>;
}

/** The command that starts an experiment in a place, with the permission for its address. */
function commandAt(place: Place, subject: Experiment | Variant, args: readonly string[]) {
  const { interface: name, address } = place;
  const where = bypassesKernel(subject) ? ["--interface", name, "--address", address] : ["--host", address];
  const command = experimentCommand(subject, [...where, ...args], runtimeOf(subject));
  const permitted = command.args.map((word) => word === LOCAL_NET ? `--allow-net=${address}` : word);
  return place.command({ ...command, args: permitted });
}

/** The command line that measures a subject again, with flags; a shell reads it back as it was. */
export function repeat(subject: Subject, flags: readonly string[]): string {
  if (!isCustom(subject)) return taskLine("exp", [subject.name, ...flags]);
  const { name, words, port } = subject;
  const line = ["--name", name, ...flags];
  if (words === null) return taskLine("measure", [...line, "--url", `http://127.0.0.1:${port}`]);
  const own = port === null ? [] : ["--port", String(port)];
  return `${taskLine("measure", [...line, ...own])} -- ${shellQuote(words)}`;
}

/** Why a process cannot be sampled; null if it can, or if the system has no /proc to ask. */
function cannotSample(pid: number): string | null {
  if (Deno.build.os !== "linux") return null;
  try {
    return sample(pid) === null ? `there is no process ${pid}.` : null;
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    return `process ${pid} belongs to another user: measure as that user, or leave out --pid. ${error.message}`;
  }
}

async function attach({ name, pid, ...own }: CustomServer): Promise<Running> {
  const port = own.port!; // an address has one
  const obstacle = pid === null ? null : cannotSample(pid);
  if (obstacle !== null) throw new StartError({ ended: "not_ready", reason: `${name}: ${obstacle}` });
  if (!await answers(port)) {
    throw new StartError({ ended: "not_ready", reason: `${name}: nothing listens on 127.0.0.1:${port}.` });
  }
  return {
    pid,
    port,
    exited: new Promise(() => {}), // it is not this process's child: its connections tell when it has gone
    stderrTail: () => "",
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** A port that nothing listens on now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Starts a command and waits until something listens on its port. */
async function startCustom(own: CustomServer, words: readonly string[], options: ServerOptions): Promise<Running> {
  const { name } = own;
  const port = own.port ?? freePort();
  if (await answers(port)) {
    throw new StartError({ ended: "not_ready", reason: `${name}: port ${port} is in use already.` });
  }
  const [command, ...args] = words;
  const group = await spawnGroup({ command: command!, args, env: { PORT: String(port) } }, options).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new StartError({ ended: "crashed", reason: `${name} cannot be started: ${error.message}` });
  });
  let over: Deno.CommandStatus | null = null;
  group.gone.then((status) => over = status);
  const deadline = performance.now() + (options.readyTimeoutMs ?? READY_MS);
  const { signal } = options;
  using _ = waiting(options.onWait);
  while (over === null && !signal?.aborted && performance.now() < deadline && !await answers(port)) {
    await delay(LOOK_MS);
  }
  if (signal?.aborted) {
    await group.kill();
    throw signal.reason;
  }
  const running = {
    pid: group.pid,
    port,
    exited: group.gone,
    stderrTail: () => group.stderrTail,
    [Symbol.asyncDispose]: async () => {
      group.terminate();
      await (await settles(group.status, STOP_MS) ? group.gone : group.kill());
    },
  };
  if (over === null && performance.now() < deadline) return running;
  const ended = over; // before it is ended here
  await group.kill();
  throw new StartError(failureOf(name, port, ended, group.stderrTail));
}

/** Why nothing listens: the command has ended, or is not ready in time (`over` is null). */
function failureOf(name: string, port: number, over: Deno.CommandStatus | null, stderrTail: string): StartFailure {
  const what = over === null ? "does not listen on" : `ended ${howEnded(over)} before it listened on`;
  const left = over?.success ? ": it must stay in the foreground, without becoming a daemon" : "";
  const reason = withLastWords(`${name} ${what} port ${port}, which PORT names in its environment${left}`, stderrTail);
  return { ended: over === null ? "not_ready" : "crashed", reason };
}

/** Whether a connection to a port of this machine is taken. */
async function answers(port: number): Promise<boolean> {
  try {
    using _ = await Deno.connect({ hostname: "127.0.0.1", port });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}
