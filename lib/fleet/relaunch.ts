/**
 * Runs the part of a command that speaks to a broker in a process of its own: only that one has the client's package, and the
 * network permission for just the hosts that the user named. What it needs to know goes to it over a pipe: a command line can be read
 * by every user of the host, and a password may stand in the one that the user typed.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { EXIT } from "../cli/exit.ts";
import { linesOf, PIN_AND_BIND } from "../server/launch.ts";
import type { Broker } from "./address.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const LAUNCH = `${PIN_AND_BIND}
exec "$@"`; // without setpriv(1) it goes when stdin ends

/** What the process gets over its standard input. */
export interface Relaunched {
  /** The words that the user typed. */
  args: readonly string[];
  /** What is read of them, of files and of the environment. */
  broker: Broker;
}

/** What the process may do. */
export interface Relaunch extends Relaunched {
  /** Relative to the project. */
  script: string;
  /** Hosts, with their port where only that is needed. */
  net: readonly string[];
  /** Folders that it writes to. */
  write?: readonly string[];
}

/** The command that starts the process. */
function commandOf({ script, net, write = [] }: Relaunch): Deno.Command {
  const words = [
    ...[Deno.execPath(), "run", "--quiet", "--no-prompt", `--config=${ROOT}deno.json`],
    ...[`--lock=${ROOT}scripts/all.lock`, "--allow-read", "--allow-run", "--allow-ffi", "--allow-sys"],
    `--allow-net=${[...new Set(net)].join()}`,
    ...(write.length > 0 ? [`--allow-write=${write.join()}`] : []),
    `${ROOT}${script}`,
  ];
  const pipes = { stdin: "piped", stdout: "inherit", stderr: "inherit" } as const;
  return Deno.build.os === "windows"
    ? new Deno.Command(words[0]!, { ...pipes, args: words.slice(1) })
    // Detached: Ctrl-C in the terminal reaches this process alone, which passes it on once.
    : new Deno.Command("sh", { ...pipes, args: ["-c", LAUNCH, "sh", "", ...words], detached: true });
}

/** Passes a signal on. A process that has just ended takes none. */
export function passOn(child: Pick<Deno.ChildProcess, "kill">, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Runs a script to its end, and returns its exit code. SIGINT and SIGTERM are passed on. */
export async function relaunch(options: Relaunch): Promise<number> {
  const child = commandOf(options).spawn();
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? [] : ["SIGINT", "SIGTERM"];
  const listeners = signals.map((signal) => ({ signal, listener: () => passOn(child, signal) }));
  for (const { signal, listener } of listeners) Deno.addSignalListener(signal, listener);
  const { args, broker } = options;
  const input = child.stdin.getWriter();
  const given: Relaunched = { args, broker };
  const writing = input.write(new TextEncoder().encode(JSON.stringify(given) + "\n"));
  writing.catch(() => {}); // a process that ends before it has read this says why
  const { code, signal } = await child.status;
  await input.close().catch(() => {}); // the pipe may have broken with the process
  for (const { signal, listener } of listeners) Deno.removeSignalListener(signal, listener);
  if (signal === null) return code;
  return signals.includes(signal) ? EXIT.interrupted : EXIT.harness; // it may be ended before it listens for signals
}

/**
 * What {@linkcode relaunch} has given to this process. From now on the end of standard input, which is that of the process that has
 * started this one, ends it as SIGTERM does.
 */
export async function relaunched(): Promise<Relaunched> {
  const lines = linesOf(Deno.stdin.readable);
  const { value } = await lines.next();
  if (value === undefined) throw new TypeError("This script is started by another one, which tells it what to do.");
  lines.next().then(() => Deno.kill(Deno.pid, "SIGTERM"));
  return JSON.parse(value);
}
