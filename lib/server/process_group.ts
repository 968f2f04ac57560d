/**
 * A process in a session and group of its own, of which nothing stays behind, however it or this process ends.
 *
 * Three nets, since each has a hole. The group: one kill(2) reaches the process with all its children, and Ctrl-C of the
 * terminal does not. PR_SET_PDEATHSIG (Linux) ends the process at the moment its parent ends, but not its children. And a
 * watchdog, a shell in yet another session, reads a pipe that this process holds: when the pipe ends, at the end
 * of a run or by SIGKILL, it kills what is left of the group. On Linux it also finds what has left the group, such as a
 * server that daemonizes: a variable in the environment of each process marks it. A program that writes its title over its
 * environment, such as nginx, is known by an open descriptor where the group is `marked`. Windows has neither the shell nor
 * groups: there the process alone is killed, and SIGTERM is a kill.
 *
 * @module
 */
import { limited, PIN_AND_BIND, Tail } from "./launch.ts";
import { unlessGone } from "../sampling/process.ts";
import { linkProc } from "../sampling/procfs.ts";

/** A program to start. `env` is added to the environment of this process. */
export interface GroupCommand {
  command: string;
  args: string[];
  cwd?: string;
  env?: Record<string, string>;
  /** What it starts in sessions of their own serves others too, and stays. */
  keepsDaemons?: boolean;
}

/** Where and within which limits it runs. */
export interface GroupOptions {
  /** The core to pin it to, counted from 0, where there is taskset(1). */
  cpu?: number;
  /** The same for several cores. */
  cpus?: readonly number[];
  /** Limits in the words of prlimit(1), such as `--nofile=64`. */
  prlimit?: string[];
  /** Whether its processes are found also where they leave the group, as a server does that goes to the background. */
  marked?: boolean;
  /** Called with each line of stdout, from the first one. */
  onLine?: (line: string) => void;
}

const DRAIN_MS = 1_000; // how long output may stay open after the group is gone: somebody outside of it holds it
const TAIL = 8 * 1024; // characters of stderr that are kept
const LINE = 64 * 1024; // characters of one line of stdout that are kept

// Waits for the word that the watchdog stands, or ends if the pipe does. Then exec, so that the process id stays.
const LAUNCH = `
read -r go || exit 1
${PIN_AND_BIND}
exec "$@" </dev/null`;

// The pipe on which it heard that word has no writer any more, and stays open as a mark. A program that forks to the background
// closes it seldom.
const LAUNCH_MARKED = `
read -r go || exit 1
${PIN_AND_BIND}
exec "$@" 9<&0 </dev/null`;

// A killed process may take a while to give back its memory: wait until those of the group that are left are zombies, which
// hold nothing and are their new parent's to bury. Where there is no ps(1) nobody waits. Then those with the mark: a
// zombie has no environment, so it is not found.
const WATCH = `
while read -r line; do :; done
tries=0
while kill -s KILL -- "-$1" 2>/dev/null && [ $tries -lt 100 ] &&
  ps -A -o pgid= -o stat= 2>/dev/null | grep -q "^ *$1  *[^Z ]"
do tries=$((tries + 1)); sleep 0.05; done
marked() {
  if [ -n "$1" ]; then grep -lsF "$1=" /proc/[0-9]*/environ; fi
  if [ -n "$2" ]; then find /proc/[0-9]*/fd -lname "$2" 2>/dev/null; fi
}
tries=0
while found=$(marked "$2" "$3"); [ -n "$found" ] && [ $tries -lt 100 ]
do
  for path in $found; do
    pid=\${path#/proc/}
    pid=\${pid%%/*}
    if [ "$pid" != "$PPID" ]; then kill -s KILL "$pid" 2>/dev/null; fi
  done
  tries=$((tries + 1)); sleep 0.05
done`;

/** The name of a variable that marks the processes of one group: inside of one, those of another have both marks. */
const newMark = (): string => `C10K_LAB_GROUP_${crypto.randomUUID().replaceAll("-", "_")}`;

/** Resolves to true once `promise` has settled, to false after `ms`. */
export async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, ms, false);
  const settled = await Promise.race([promise.then(() => true, () => true), late]);
  clearTimeout(timer);
  return settled;
}

/** Hands on text as it comes, until the end, or DRAIN_MS after `over`: a pipe must never fill. */
async function drain(stream: ReadableStream<Uint8Array>, over: Promise<unknown>, onText: (text: string) => void) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const whole = (async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      onText(decoder.decode(part.value, { stream: true }));
    }
  })();
  await Promise.race([whole, over]);
  if (!await settles(whole, DRAIN_MS)) await reader.cancel();
  await whole;
}

/** A process, its group, the watchdog of the group, and what the process has said. */
export class Group {
  readonly pid: number;
  /** The first line of stdout. */
  readonly firstLine: Promise<string>;
  /** The leader has ended. */
  readonly status: Promise<Deno.CommandStatus>;
  /** The leader has ended, nothing is left of its group, and its output was read to the end. */
  readonly gone: Promise<Deno.CommandStatus>;
  /** The last line of stdout that is not blank. */
  lastLine = "";
  readonly #stderr = new Tail(TAIL);
  #child: Deno.ChildProcess;
  #watchdog: Deno.ChildProcess | null;
  #swept: Promise<unknown> | null = null;
  readonly #listeners = new Set<(line: string) => void>();

  constructor(child: Deno.ChildProcess, watchdog: Deno.ChildProcess | null, { onLine }: GroupOptions) {
    if (onLine !== undefined) this.#listeners.add(onLine);
    this.#child = child;
    this.#watchdog = watchdog;
    this.pid = child.pid;
    this.status = child.status;
    const first = Promise.withResolvers<string>();
    this.firstLine = first.promise;
    const over = child.status.then(() => this.#sweep());
    let line = "";
    const output = drain(child.stdout, over, (text) => {
      const lines = (line + text).split("\n");
      line = lines.pop()!.slice(0, LINE);
      if (lines.length > 0) first.resolve(lines[0]!);
      for (const whole of lines) for (const listener of this.#listeners) listener(whole);
      this.lastLine = lines.findLast((text) => text.trim() !== "") ?? this.lastLine;
    });
    const errors = drain(child.stderr, over, (text) => this.#stderr.add(text));
    const said = output.then(() => this.lastLine = line.trim() === "" ? this.lastLine : line);
    this.gone = Promise.all([child.status, over, said, errors]).then(([status]) => status);
  }

  /** What it said last on stderr. */
  get stderrTail(): string {
    return this.#stderr.text;
  }

  /** Hands each line of stdout that comes from now on to a listener, until what is returned is disposed of. */
  onLine(listener: (line: string) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Ends the pipe that the watchdog reads: it kills what there is of the group, and ends. */
  #sweep(): Promise<unknown> {
    return this.#swept ??= this.#watchdog
      ? this.#watchdog.stdin.close().then(() => this.#watchdog!.status)
      : Promise.resolve();
  }

  terminate(signal: Deno.Signal = "SIGTERM"): void {
    this.signal(signal);
  }

  /** SIGKILL to all of the group. */
  async kill(): Promise<Deno.CommandStatus> {
    if (this.#watchdog === null) this.signal("SIGKILL");
    await this.#sweep();
    return await this.gone;
  }

  /** Sends a signal to the leader; to one that has ended, nothing. */
  signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended by itself, which is what was wanted
    }
  }
}

/** The pipe that a launcher reads, as a pattern of find(1); the empty string where the system does not tell. */
function pipeOf(launcher: number): string {
  if (Deno.build.os !== "linux") return "";
  return unlessGone(() => linkProc(`/proc/${launcher}/fd/0`))?.replace(/[[\]]/g, "\\$&") ?? "";
}

/** Spawns the command as the leader of a group that a watchdog stands behind before the first instruction runs. */
export async function spawnGroup(server: GroupCommand, options: GroupOptions = {}): Promise<Group> {
  const { cwd } = server;
  const mark = server.keepsDaemons ? "" : newMark();
  const env = { ...server.env, ...(mark !== "" && { [mark]: "1" }) };
  const words = limited(options.prlimit ?? [], [server.command, ...server.args]);
  const common = { ...(cwd && { cwd }), env, stdout: "piped", stderr: "piped" } as const;
  if (Deno.build.os === "windows") {
    return new Group(
      new Deno.Command(words[0]!, { ...common, args: words.slice(1), stdin: "null" }).spawn(),
      null,
      options,
    );
  }
  const shell = (script: string, args: string[], rest: Deno.CommandOptions) =>
    new Deno.Command("sh", { ...rest, args: ["-c", script, "sh", ...args], detached: true, stdin: "piped" }).spawn();
  // PR_SET_PDEATHSIG means the thread that called fork(2), not its process. Deno spawns on the thread that runs this
  // code: the main thread, or the thread of a Worker, which takes its servers with it.
  const isMarked = options.marked === true;
  const cores = (options.cpus ?? [options.cpu ?? ""]).join(",");
  const child = shell(isMarked ? LAUNCH_MARKED : LAUNCH, [cores, ...words], common);
  const pipe = isMarked ? pipeOf(child.pid) : "";
  const watchdog = shell(WATCH, [String(child.pid), mark, pipe], { stdout: "null", stderr: "null" });
  const group = new Group(child, watchdog, options);
  const go = child.stdin.getWriter();
  await go.write(new TextEncoder().encode("go\n"));
  await go.close();
  return group;
}
