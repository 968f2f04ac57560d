/**
 * Runs the part of a command that speaks to a broker in a process of its own: only that one has the client's package, and the
 * network permission for just the hosts that the user named.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { EXIT } from "../cli/exit.ts";
import { PIN_AND_BIND } from "../server/launch.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
// It ends with this process, however that ends.
const LAUNCH = `${PIN_AND_BIND}
exec "$@"`;

/** What the process may do. */
export interface Relaunch {
  /** Relative to the project. */
  script: string;
  /** Hosts, with their port where only that is needed. */
  net: readonly string[];
  /** Folders that it writes to. */
  write?: readonly string[];
  args: readonly string[];
}

/** Runs a script to its end, and returns its exit code. SIGINT and SIGTERM are passed on. */
export async function relaunch({ script, net, write = [], args }: Relaunch): Promise<number> {
  const words = [
    ...[Deno.execPath(), "run", "--quiet", "--no-prompt", `--config=${ROOT}deno.json`],
    ...[`--lock=${ROOT}scripts/all.lock`, "--allow-read", "--allow-run", "--allow-ffi", "--allow-sys"],
    `--allow-net=${[...new Set(net)].join()}`,
    ...(write.length > 0 ? [`--allow-write=${write.join()}`] : []),
    ...[`${ROOT}${script}`, ...args],
  ];
  const common = { stdin: "null", stdout: "inherit", stderr: "inherit" } as const;
  const isWindows = Deno.build.os === "windows";
  const child = isWindows
    ? new Deno.Command(words[0]!, { ...common, args: words.slice(1) }).spawn()
    // Detached: Ctrl-C in the terminal reaches this process alone, which passes it on once.
    : new Deno.Command("sh", { ...common, args: ["-c", LAUNCH, "sh", "", ...words], detached: true }).spawn();
  const signals: Deno.Signal[] = isWindows ? [] : ["SIGINT", "SIGTERM"];
  const passOn = signals.map((signal) => ({ signal, pass: () => child.kill(signal) }));
  for (const { signal, pass } of passOn) Deno.addSignalListener(signal, pass);
  const { code, signal } = await child.status;
  for (const { signal, pass } of passOn) Deno.removeSignalListener(signal, pass);
  return signal === null ? code : EXIT.harness;
}
