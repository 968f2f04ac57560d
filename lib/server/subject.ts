/**
 * What can be measured: an experiment of this project, or a server of somebody's own that knows nothing of it.
 *
 * @module
 */
import { delay } from "@std/async";
import { type Experiment, runsHere } from "../catalogue/catalogue.ts";
import { obstacleTo } from "../catalogue/tools.ts";
import { shellQuote, taskLine } from "../cli/shell.ts";
import { type Listener, listeners, listenersOf, ownerOf, unixListenersOf } from "../sampling/listeners.ts";
import { processTree } from "../sampling/process.ts";
import { sample } from "../sampling/sampler.ts";
import { howEnded, withLastWords } from "./launch.ts";
import { type Group, type GroupCommand, settles, spawnGroup } from "./process_group.ts";
import {
  experimentCommand,
  type Runtime,
  type Server,
  type ServerOptions,
  StartError,
  type StartFailure,
  startServer,
  type Stats,
  type Stopped,
  thisRuntime,
  waiting,
} from "./server.ts";

/** A custom server: a command that starts it, or the address of one that runs already. */
export interface CustomServer {
  name: string;
  family: "custom";
  /** The words of the command, started with PORT in its environment; null: it runs already. */
  words: readonly string[] | null;
  /**
   * Where it runs already: `127.0.0.1`, `::1`, or `localhost` for whichever of them; any host, if agents load it; null: a
   * command.
   */
  host: string | null;
  /** Where it listens; null: a command gets a free port at each start. */
  port: number | null;
  /** What it is asked for, by GET; missing: `/`. */
  path?: string;
  /** Two of them run at a time, so that none can have a port of its own choice. */
  isPaired?: true;
  /** The broker of the agents, without user and password; missing: this machine loads it. */
  fleet?: string;
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
  /** The root of its process tree; null where it is not known. */
  readonly pid: number | null;
  /** The address at which it answers, where that is not 127.0.0.1. */
  readonly host?: string;
  readonly port: number;
  /** Which other process listens on its port, and what follows; null: none that is known. */
  readonly otherListener?: string | null;
  /** Resolves when it has ended. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** What it said last on stderr. */
  stderrTail(): string;
  /** Processes that work for it and are not counted as its own; missing where nobody knows, as with a custom server. */
  beside?(): number[];
  /** Asks it for its counts; missing where nobody may ask it, as with a custom server. */
  stats?(): Promise<Stats | null>;
  /** Ends it, and returns its stopped line; null where there is none, as with a custom server. */
  stop?(): Promise<{ stopped: Stopped | null }>;
}

export const isCustom = (subject: Subject): subject is CustomServer => subject.family === "custom";

/** What a subject is asked for where nothing else is said. */
export const pathOf = (subject: Subject): string => isCustom(subject) ? subject.path ?? "/" : "/";

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
const ELSEWHERE_LOOK_MS = 250; // it lists the sockets of the host, and the descriptors of the command's processes
const ELSEWHERE_MS = 1000; // so long it may listen on other ports only
const MAX_NAMED = 4; // sockets in a sentence
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
  const showsStats = !Object.hasOwn(subject.cannot, "show-stats");
  const started = startServer({ ...command, ...(env && { env }), showsStats }, rest);
  return await started.catch((error) => inOneWording(error, subject)) as RunningOf<S>;
}

/** Says of a server that cannot run here what all commands say of it, where that is known; else its own words stand. */
async function inOneWording(error: unknown, subject: Experiment): Promise<never> {
  if (!(error instanceof StartError) || error.failure.ended !== "skipped") throw error;
  const reason = await obstacleTo(subject);
  throw reason === null ? error : new StartError({ ...error.failure, reason });
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
  const { name, words, host, port, path, fleet } = subject;
  const line = ["--name", name, ...flags, ...(fleet === undefined ? [] : ["--fleet", fleet])];
  if (words === null) return taskLine("measure", [...line, "--url", `http://${inUrl(host!, port!)}${path ?? ""}`]);
  const own = [...(port === null ? [] : ["--port", String(port)]), ...(path === undefined ? [] : ["--path", path])];
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

/** Where something listens that is reached at 127.0.0.1, or at ::1. */
const ANY_HOST: Record<string, readonly string[]> = {
  "127.0.0.1": ["127.0.0.1", "0.0.0.0", "::"],
  "::1": ["::1", "::"],
};
const LOCAL_HOSTS = Object.keys(ANY_HOST);

/** The address at which a port of this machine answers, of those that are asked for; null if at none. */
async function whereAnswers(port: number, hosts: readonly string[] = LOCAL_HOSTS): Promise<string | null> {
  if (hosts.includes("127.0.0.1") && await answers(port)) return "127.0.0.1";
  const listening = hosts.includes("::1") ? listeners() ?? [] : [];
  // No connection is tried: to do without the permission for this address.
  return listening.some((each) => each.port === port && ANY_HOST["::1"]!.includes(each.host)) ? "::1" : null;
}

/** An address as it stands in a URL. */
const inUrl = (host: string, port: number): string => `${host.includes(":") ? `[${host}]` : host}:${port}`;

/**
 * Whether a listening socket on the port belongs to another process than those of the tree, and to none of the tree: `pid` is
 * null then, since CPU time and memory of the tree would be those of a bystander. Null: nothing of that is known or so.
 */
function otherListenerOn(host: string, port: number, pid: number): { sentence: string; isAlone: boolean } | null {
  const tree = processTree(pid);
  const all = listeners()?.filter((each) => each.port === port && ANY_HOST[host]!.includes(each.host)) ?? [];
  const own = tree === null ? null : listenersOf(tree, all);
  const others = own === null ? [] : all.filter(({ inode }) => !own.some((each) => each.inode === inode));
  if (own === null || others.length === 0) return null;
  const who = ownerOf(others[0]!);
  const other = who === null ? "another process, which this user may not see," : `process ${who}`;
  const isAlone = own.length === 0;
  const sentence = isAlone
    ? `${other} listens on port ${port} and is no part of the server: CPU time and memory of the server are not known`
    : `${other} listens on port ${port} as well, and takes a part of the connections: no figure is that of the server alone`;
  return { sentence, isAlone };
}

/** What of a running server follows from who listens. */
function listening(host: string, port: number, pid: number | null) {
  const other = pid === null ? null : otherListenerOn(host, port, pid);
  return { host, port, pid: other?.isAlone ? null : pid, otherListener: other?.sentence ?? null };
}

async function attach({ name, pid, fleet, ...own }: CustomServer): Promise<Running> {
  const port = own.port!; // an address has one
  const obstacle = pid === null ? null : cannotSample(pid);
  if (obstacle !== null) throw new StartError({ ended: "not_ready", reason: `${name}: ${obstacle}` });
  // Only the agents need to reach a server that they load.
  return attached(
    fleet === undefined ? listening(await findHost(name, port, own.host), port, pid) : {
      host: own.host!,
      port,
      pid,
      otherListener: null,
    },
  );
}

/**
 * The address of this machine at which a running server answers.
 *
 * @throws {StartError} If it answers nowhere.
 */
async function findHost(name: string, port: number, asked: string | null): Promise<string> {
  const wanted = asked === null || asked === "localhost" ? LOCAL_HOSTS : [asked];
  const host = await whereAnswers(port, wanted);
  if (host !== null) return host;
  const elsewhere = await whereAnswers(port);
  const hint = elsewhere === null
    ? ""
    : ` A server listens on ${inUrl(elsewhere, port)}: --url http://${inUrl(elsewhere, port)}`;
  const places = wanted.map((each) => inUrl(each, port)).join(" and ");
  throw new StartError({ ended: "not_ready", reason: `${name}: nothing listens on ${places}.${hint}` });
}

/** A server that is not this process's child: its connections tell when it has gone. */
const attached = (of: ReturnType<typeof listening>): Running => ({
  ...of,
  exited: new Promise(() => {}),
  stderrTail: () => "",
  [Symbol.asyncDispose]: () => Promise.resolve(),
});

/** A port that nothing listens on now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Sockets on which a command listens instead of on its port. */
interface Elsewhere {
  tcp: Listener[];
  /** Paths of Unix sockets. */
  unix: string[];
}

/** The sockets on which the processes of a command listen, but for `port` of this machine; none where that is not known. */
function elsewhere(group: Group, port: number): Elsewhere {
  const tree = processTree(group.pid);
  const all = tree === null ? null : listeners();
  if (all === null) return { tcp: [], unix: [] };
  const own = listenersOf(tree!, all) ?? [];
  const tcp = own.filter((each) => each.port !== port || !Object.values(ANY_HOST).flat().includes(each.host));
  return { tcp, unix: unixListenersOf(tree!) };
}

const isNowhere = ({ tcp, unix }: Elsewhere): boolean => tcp.length + unix.length === 0;

const socketsInWords = ({ tcp, unix }: Elsewhere): string =>
  [...new Set([...tcp.map(({ host, port }) => inUrl(host, port)), ...unix.map((path) => `the Unix socket ${path}`)])]
    .slice(0, MAX_NAMED).join(", ");

/** How waiting for a server ended. */
type Outcome =
  | { host: string }
  | { over: Deno.CommandStatus }
  | { late: true }
  | { elsewhere: Elsewhere };

/**
 * Waits until something listens on the port. A command that got its port by PORT, and listens on another one instead for
 * a while, has not read it: that is no reason to wait for a minute. One whose port the user has named is waited for.
 */
async function awaitListening(group: Group, port: number, own: CustomServer, options: ServerOptions): Promise<Outcome> {
  let over: Deno.CommandStatus | null = null;
  void group.status.then((status) => over = status);
  const deadline = performance.now() + (options.readyTimeoutMs ?? READY_MS);
  let elsewhereSince = Infinity;
  for (let nextLook = performance.now() + ELSEWHERE_LOOK_MS; performance.now() < deadline;) {
    options.signal?.throwIfAborted();
    const host = await whereAnswers(port);
    if (over !== null) return { over };
    if (host !== null) return { host };
    await delay(LOOK_MS);
    if (own.port !== null || performance.now() < nextLook) continue;
    nextLook = performance.now() + ELSEWHERE_LOOK_MS;
    const sockets = elsewhere(group, port);
    elsewhereSince = isNowhere(sockets) ? Infinity : Math.min(elsewhereSince, performance.now());
    if (performance.now() - elsewhereSince >= ELSEWHERE_MS) return { elsewhere: sockets };
  }
  return { late: true };
}

/** Starts a command and waits until something listens on its port. */
async function startCustom(own: CustomServer, words: readonly string[], options: ServerOptions): Promise<Running> {
  const { name } = own;
  const port = own.port ?? freePort();
  const taken = await whereAnswers(port);
  if (taken !== null) {
    const socket = listeners()?.find((each) => each.port === port && ANY_HOST[taken]!.includes(each.host));
    const who = socket === undefined ? null : ownerOf(socket);
    const by = who === null ? "" : ` by process ${who}`;
    throw new StartError({ ended: "not_ready", reason: `${name}: port ${port} is in use already${by}.` });
  }
  const [command, ...args] = words;
  const program = { command: command!, args, env: { PORT: String(port) } };
  const group = await spawnGroup(program, { ...options, marked: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new StartError({ ended: "crashed", reason: `${name} cannot be started: ${error.message}` });
  });
  using _ = waiting(options.onWait);
  const outcome = await awaitListening(group, port, own, options).catch(async (error) => {
    await group.kill();
    throw error;
  });
  if ("host" in outcome) return runningCustom(group, outcome.host, port);
  const sockets = "elsewhere" in outcome ? outcome.elsewhere : elsewhere(group, port);
  await group.kill();
  if ("over" in outcome) throw new StartError(await endedEarly(name, port, outcome.over, group.stderrTail));
  throw new StartError({ ended: "not_ready", reason: notListening(own, port, sockets, group.stderrTail) });
}

function runningCustom(group: Group, host: string, port: number): Running {
  return {
    ...listening(host, port, group.pid),
    exited: group.gone,
    stderrTail: () => group.stderrTail,
    [Symbol.asyncDispose]: async () => {
      group.terminate();
      await (await settles(group.status, STOP_MS) ? group.gone : group.kill());
    },
  };
}

/** Why nothing listens although the command runs. */
function notListening({ name, isPaired }: CustomServer, port: number, sockets: Elsewhere, stderrTail: string): string {
  if (isNowhere(sockets)) {
    return withLastWords(`${name} does not listen on port ${port}, which PORT names in its environment`, stderrTail);
  }
  const found = sockets.tcp.find(({ host }) => Object.values(ANY_HOST).flat().includes(host));
  const remedy = found === undefined
    ? "let it listen on 127.0.0.1"
    : isPaired === true
    ? "two run at a time, so let it listen on the port in PORT"
    : `say --port ${found.port}, or --port N if it opens port N later`;
  return `${name} listens on ${
    socketsInWords(sockets)
  }, and not on port ${port}, which PORT names in its environment: ` +
    remedy;
}

/** What a command that has ended says of itself: one that goes to the background ends without a failure. */
async function endedEarly(
  name: string,
  port: number,
  status: Deno.CommandStatus,
  stderrTail: string,
): Promise<StartFailure> {
  if (status.code !== 0) {
    const what = `${name} ended ${
      howEnded(status)
    } before it listened on port ${port}, which PORT names in its environment`;
    return { ended: "crashed", reason: withLastWords(what, stderrTail) };
  }
  const left = await whereAnswers(port);
  const socket = left === null ? undefined : listeners()?.find((each) => each.port === port);
  const who = socket === undefined ? null : ownerOf(socket);
  const stays = left === null
    ? ""
    : ` It has left ${who === null ? "a process" : `process ${who}`} on port ${port}: end that.`;
  const what = `${name} ended with exit code 0 before its port ${port}, which PORT names in its environment, was ` +
    `listened on: a server that goes to the background is to stay in the foreground (nginx: daemon off).${stays}`;
  return { ended: "crashed", reason: withLastWords(what.replace(/\.$/, ""), stderrTail) };
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
