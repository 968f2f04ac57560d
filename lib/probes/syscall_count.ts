/**
 * Counts the system calls of processes that run: by perf(1), which hardly slows them, else by strace(1), which does.
 *
 * @module
 */
import { installLine, isInstalled, TOOLS } from "../catalogue/tools.ts";

/** What counts. */
export type Counter = "perf" | "strace";

const EVENT = "raw_syscalls:sys_enter";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Whether perf may count here: its tracepoints are for root, or where kernel.perf_event_paranoid is -1. */
async function perfCounts(): Promise<boolean> {
  if (!await isInstalled("perf")) return false;
  const { success, stderr } = await new Deno.Command("perf", { args: ["stat", "-x,", "-e", EVENT, "true"] }).output();
  return success && perfTotal(text(stderr)) !== null;
}

/** The better counter that works here; null if there is none. */
export async function counterHere(): Promise<Counter | null> {
  return await perfCounts() ? "perf" : await isInstalled("strace") ? "strace" : null;
}

/** How to get a counter. */
export const COUNTER_REMEDY = `It counts by perf or strace: ${
  installLine(TOOLS.filter(({ command }) => command === "strace"), "linux")
}.`;

/** The count in what `perf stat -x,` says; null if nothing was counted. */
export function perfTotal(said: string): number | null {
  const value = /^(\d+),[^,]*,raw_syscalls:sys_enter/m.exec(said)?.[1];
  return value === undefined ? null : Number(value);
}

/** The count in the table of `strace -c`; without any call there is no table. */
export function straceTotal(said: string): number | null {
  const value = /^100\.00 +\S+ +\S+ +(\d+) +(?:\d+ +)?total$/m.exec(said)?.[1];
  return value === undefined ? null : Number(value);
}

/** Reads on until `seen` says so, or the end; returns what was read. */
async function readUntil(reader: ReadableStreamDefaultReader<Uint8Array>, seen: (said: string) => boolean) {
  const decoder = new TextDecoder();
  let said = "";
  while (!seen(said)) {
    const { value, done } = await reader.read();
    if (done) break;
    said += decoder.decode(value, { stream: true });
  }
  return said;
}

/**
 * Counts for the time of a command, which perf starts once the counters run: it says so, and lives until its input ends,
 * also because this process has ended.
 */
async function byPerf(pids: readonly number[], load: () => Promise<void>): Promise<string> {
  await using child = new Deno.Command("perf", {
    args: ["stat", "-x,", "-e", EVENT, "-p", pids.join(), "--", "sh", "-c", "echo counting; exec cat >/dev/null"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const said = readUntil(child.stderr.getReader(), () => false);
  const reader = child.stdout.getReader();
  try {
    if (await readUntil(reader, (line) => line.includes("\n")) !== "") await load();
  } finally {
    await child.stdin.close();
    await reader.cancel();
  }
  await child.status;
  return await said;
}

/** Counts between two signals. The load slows down: with each call the process is stopped twice. */
async function byStrace(pids: readonly number[], load: () => Promise<void>): Promise<string> {
  await using child = new Deno.Command("strace", {
    args: ["-f", "-c", ...pids.flatMap((pid) => ["-p", String(pid)])],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const reader = child.stderr.getReader();
  // It takes all threads of a process before it names the process.
  const before = await readUntil(reader, (said) => said.split("attached").length > pids.length);
  try {
    await load();
  } finally {
    child.kill("SIGINT"); // it lets go of the processes and tells
  }
  return before + await readUntil(reader, () => false);
}

/**
 * Counts the system calls that processes make while `load` runs, all threads together.
 *
 * @throws {Error} If the counter cannot attach or tells nothing.
 */
export async function countSystemCalls(counter: Counter, pids: readonly number[], load: () => Promise<void>) {
  const said = await (counter === "perf" ? byPerf : byStrace)(pids, load);
  const total = counter === "perf" ? perfTotal(said) : straceTotal(said);
  if (total === null) throw new Error(`Cannot count system calls by ${counter}: ${said.trim().slice(-300)}`);
  return total;
}
