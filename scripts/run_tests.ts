/**
 * Runs the tests, reports what was skipped and how to get it, and ends with one line of numbers.
 *
 * deno task test [file or folder…] [--filter text] [--only epoll] [--require-all] [--jsr] [--checks]
 */
import { chunk, limitAsync } from "es-toolkit";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import { catalogue, find } from "../lib/catalogue/catalogue.ts";
import { installLine, missingTools, obstacleTo } from "../lib/catalogue/tools.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../lib/cli/flags.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { passOn } from "../lib/fleet/relaunch.ts";

const USAGE = `Usage: deno task test [file or folder…] [--filter text] [--require-all] [--jsr]
       [--checks] [--only epoll,select] [--own | --peers] [--fuzz N] [--seed N]
       Without a file: the types once, then all tests but those that take long, which the last lines name.
       --filter: only tests with this text in their name, or with a name that matches /this/.
       --require-all: those that take long too, and fail if a tool is missing that this system could have.
       --jsr: with the packages of JSR in place of lib/std. --checks: format and lint first.
       --only: the contract of these experiments and peers; --own, --peers: of that half.
       --fuzz: N cases of each kind of stream; --seed: the cases of an earlier run, which has printed it.`;
const PERMISSIONS = [ // playwright-core looks into /proc, which would else need all permissions
  ..."--allow-read --allow-run --allow-ffi --allow-sys --allow-env --ignore-read=/proc".split(" "),
  "--allow-net=127.0.0.1,localhost,[::1]",
];
const FOLDERS = ["lib", "scripts", "experiments"];
const CONTRACT = ["contract", "contract_protocol", "contract_limits", "contract_fuzz", "contract_stress", "push"]
  .map((name) => `experiments/${name}_test.ts`);
/** Most of the time of all tests: measuring runs of many seconds, and what other tests find too where it is broken widely. */
const LONG = [
  "experiments/contract_limits_test.ts",
  "experiments/contract_stress_test.ts",
  "experiments/full_disk_test.ts",
  "experiments/xdp_wire_test.ts",
  "lib/compare/compare_test.ts",
  "lib/load/odd_servers_test.ts",
  "lib/notebook/pairs_test.ts",
  "lib/notebook/regress_test.ts",
  "lib/probes/generator_test.ts",
  "lib/probes/lateness_test.ts",
  "lib/probes/listings/listings_test.ts",
  "lib/probes/processes_test.ts",
  "lib/probes/serving_test.ts",
  "lib/probes/system_calls_test.ts",
  "lib/probes/waiting_test.ts",
  "lib/regress/decision_test.ts",
  "lib/run/broadcast_test.ts",
  "lib/run/wire_test.ts",
  "scripts/agent/launchers_test.ts",
  "scripts/c10m/c10m_test.ts",
  "scripts/exit_test.ts",
  "scripts/faults/faults_test.ts",
  "scripts/faults/main_test.ts",
  "scripts/faults/preload_test.ts",
  "scripts/faults/soak/soak_test.ts",
  "scripts/faults/wire_test.ts",
  "scripts/fleet/fleet_test.ts",
  "scripts/harness_faults_test.ts",
  "scripts/interrupt_test.ts",
  "scripts/kills_test.ts",
  "scripts/list_test.ts",
  "scripts/live/chat_test.ts",
  "scripts/live/page/chat_test.ts",
  "scripts/live/page/page_test.ts",
  "scripts/live/server_test.ts",
  "scripts/machines_test.ts",
  "scripts/measure/fleet_hosts_test.ts",
  "scripts/measure/fleet_loss_test.ts",
  "scripts/measure/fleet_secrets_test.ts",
  "scripts/measure/fleet_test.ts",
  "scripts/measure/odd_servers_test.ts",
  "scripts/notebooks/open_test.ts",
  "scripts/notebooks/run_test.ts",
  "scripts/report/browser_test.ts",
  "scripts/report/page_test.ts",
  "scripts/run_tests_test.ts",
  "scripts/scaling/scaling_test.ts",
  "scripts/selftest/selftest_test.ts",
  "scripts/sweep/main_test.ts",
];
/** What is tried of a peer: it runs alone as its header says, and counts truly. */
const OF_PEERS = [
  ...["--filter", "/ runs alone in an empty folder| in its last line truly how many requests/"],
  "experiments/contract_test.ts",
];
const HAS_GROUPS = Deno.build.os !== "windows"; // of processes
const FEW_CASES = "--fuzz=20"; // for each kind of stream; without it the tests take more

// Tests mostly wait, for servers and for a browser, so six parts share a machine well, even one of two cores.
const PARTS_AT_ONCE = 6;
const CHUNKS = 12; // of what is no contract: enough to share out evenly, and few, as each starts a process

/** The flags that were given. */
interface Flags {
  files: string[];
  filter: string[];
  requireAll: boolean;
  /** Format and lint too. */
  checks: boolean;
  /** What is passed on to the tests of the contract; those that choose experiments leave out all other tests. */
  contract: { chosen: string[]; fuzz: string[]; seed: string[] };
  packages: string[];
}

/** What the last lines of `deno test` said. */
export interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Reads the summary of `deno test`, `ok | 13 passed (4 steps) | 0 failed | 2 ignored (49ms)`; the last one, as a test may
 * print one too. Null if there is none: then no test was run, as when a type is wrong.
 */
export function readSummary(output: string): Outcome | null {
  const line = /^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed(?:.*? \| (\d+) ignored)?/gm;
  const last = [...stripVTControlCharacters(output).matchAll(line)].at(-1);
  return last ? { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3] ?? 0) } : null;
}

/** The names of the tests that `deno test` passed over. */
export function readIgnored(output: string): string[] {
  return [...stripVTControlCharacters(output).matchAll(/^(.+) \.\.\. ignored \(/gm)].map(([_, name]) => name!.trim());
}

/** What `deno test` said of each test that failed: its name, where it stands, and the first line of its error. */
export function readFailed(output: string): string[] {
  const failed = /^(.+) => (?:\.\/)?(\S+:\d+:\d+)\n(?:error: )?(.*)/gm; // a second list names them without an error
  const found = [...stripVTControlCharacters(output).matchAll(failed)]
    .map(([_, name, place, error]) => [`${name} (${place})`, error!.trim()] as const);
  return [...Map.groupBy(found, ([test]) => test)].map(([test, [first]]) => `${test}: ${first![1]}`);
}

/** Prints what a process writes, line by line, so that several can print at once; and returns it. */
async function show(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let text = "";
  for await (const line of createInterface({ input: Readable.fromWeb(stream) })) {
    console.log(line);
    text += `${line}\n`;
  }
  return text;
}

/** Which packages the code gets: the arguments that each `deno` gets. The adapters give way to what they stand in for. */
function packageArgs(jsr: boolean): string[] {
  if (!jsr) return ["--lock=scripts/all.lock"];
  const { imports } = JSON.parse(Deno.readTextFileSync("scripts/imports.json"));
  const originals = JSON.parse(Deno.readTextFileSync("scripts/jsr.json"));
  const map = JSON.stringify({ imports: { ...imports, ...originals.imports } });
  return ["--no-lock", `--import-map=data:application/json,${encodeURIComponent(map)}`]; // the lock files have no JSR in them
}

/** Runs `deno` and waits; throws if the signal aborts. */
async function succeeds(args: string[], signal: AbortSignal): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), { args, stdin: "null", signal }).spawn().status;
  signal.throwIfAborted();
  return success;
}

/** Runs `deno test` once. An interrupt reaches all that it has started, so that tasks under test end as they do by Ctrl-C. */
async function denoTest(args: string[], own: string[], signal: AbortSignal): Promise<{ code: number; output: string }> {
  const written = `--allow-write=results,${tmpdir()}`;
  // The servers under test are on this machine, whatever proxy leads to others.
  const unproxied = [Deno.env.get("no_proxy") ?? Deno.env.get("NO_PROXY") ?? [], "127.0.0.1", "localhost"].flat()
    .join();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-prompt", "--sanitize-ops", ...PERMISSIONS, written, ...args, "--", ...own],
    env: { NO_PROXY: unproxied, no_proxy: unproxied },
    stdout: "piped",
    detached: HAS_GROUPS,
  }).spawn();
  const stop = () => passOn(HAS_GROUPS ? { kill: (signal) => Deno.kill(-child.pid, signal) } : child, "SIGTERM");
  signal.addEventListener("abort", stop);
  const output = await show(child.stdout);
  const { code } = await child.status;
  signal.removeEventListener("abort", stop);
  signal.throwIfAborted();
  return { code, output };
}

function* testsIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* testsIn(`${folder}/${name}`);
    else if (name.endsWith("_test.ts")) yield `${folder}/${name}`;
  }
}

/** One `deno test`: its arguments, and those of the tests. */
type Part = [args: string[], own: string[]];

/** The parts of the run, the longest first, so that no long one is left at the end. */
export function split({ files, requireAll, filter, contract: { chosen, fuzz, seed } }: Flags): Part[] {
  if (files.length > 0) return [[files, [...chosen, ...fuzz, ...seed]]];
  if (chosen.length > 0) return CONTRACT.map((file): Part => [[file], [...chosen, ...fuzz, ...seed]]);
  const few = fuzz.length > 0 || requireAll ? fuzz : [FEW_CASES];
  const isLong = (path: string) => !requireAll && LONG.includes(path);
  const contract = CONTRACT.filter((path) => !isLong(path));
  const rest = FOLDERS.flatMap((folder) => [...testsIn(folder)])
    .filter((path) => !CONTRACT.includes(path) && !LONG.includes(path)).sort();
  const long = requireAll ? LONG.filter((path) => !CONTRACT.includes(path)) : [];
  // In two parts the whole contract of the peers ends when the rest does; one that is compiled for both is found by the other.
  const ofPeers = requireAll || filter.length > 0 ? chunk(CONTRACT, CONTRACT.length / 2) : [OF_PEERS];
  return [
    ...ofPeers.map((args): Part => [args, ["--peers", ...fuzz, ...seed]]),
    ...long.map((file): Part => [[file], []]),
    ...contract.toReversed().map((file): Part => [[file], ["--own", ...few, ...seed]]), // the last one takes longest
    ...Array.from({ length: CHUNKS }, (_, chunk): Part => [rest.filter((_, i) => i % CHUNKS === chunk), []]),
  ];
}

/** Prints which experiments were not tried, and why. One that a test ran was, if only under another system. */
async function printUntried(output: string): Promise<void> {
  for (const experiment of catalogue()) {
    const reason = await obstacleTo(experiment);
    if (reason !== null && !output.includes(`\n${experiment.name} says on one line`)) {
      console.log(`Skipped experiment: ${reason}`);
    }
  }
}

/** Whether format, lint and types are right. `deno test` need not check types again then. */
async function areChecked({ checks, packages }: Flags, signal: AbortSignal): Promise<boolean> {
  const tests = FOLDERS.flatMap((folder) => [...testsIn(folder)]);
  const commands = [
    ...(checks ? [["fmt", "--check"], ["lint"]] : []),
    ["cache", ...packages, ...tests], // else a child of a test writes what it downloads among its messages
    ["check", "--quiet", ...packages],
  ];
  for (const args of commands) {
    if (!await succeeds(args, signal)) return false;
  }
  return true;
}

/** Adds up what the parts of the run said. A part without a summary ran no test, which counts as a failure. */
function total(runs: { code: number; output: string }[]): Outcome {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { code, output } of runs) {
    const outcome = readSummary(output);
    if (outcome === null) console.log(`No test was run: deno test ended with code ${code}.`);
    const { passed, failed, skipped } = outcome ?? { passed: 0, failed: 1, skipped: 0 };
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped += skipped;
  }
  return sum;
}

/** Runs the tests and reports how it went. */
async function runTests(flags: Flags, signal: AbortSignal): Promise<number> {
  const isWhole = flags.files.length === 0 && flags.contract.chosen.length === 0;
  if ((isWhole || flags.checks) && !await areChecked(flags, signal)) return EXIT.failed;
  const common = [...flags.packages, ...(isWhole ? ["--no-check"] : []), ...flags.filter];
  const own = flags.requireAll ? ["--require-all"] : [];
  const run = limitAsync(denoTest, PARTS_AT_ONCE);
  const runs = await Promise.all(
    split(flags).map(([files, half]) => run([...common, ...files], [...half, ...own], signal)),
  );
  const output = runs.map((of) => of.output).join("\n");
  for (const name of readIgnored(output)) console.log(`Skipped: ${name}`);
  await printUntried(output);
  const missing = await missingTools();
  for (const { command, reason } of missing) console.log(`Not installed: ${command}, ${reason}.`);
  const tooFew = flags.requireAll && missing.length > 0;
  if (missing.length > 0) console.log(`${tooFew ? "Required by --require-all" : "Install"}: ${installLine(missing)}`);
  if (isWhole && !flags.requireAll) {
    console.log(
      `Left out, as it takes long: ${LONG.join(", ")}, and most of the contract of the peers.`,
    );
    console.log("All: deno task test --require-all");
  }
  const { passed, failed, skipped } = total(runs);
  for (const test of readFailed(output)) console.log(`Failed: ${test}`);
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  return tooFew || runs.some(({ code }) => code !== 0) ? EXIT.failed : EXIT.ok;
}

/**
 * What the tests of the contract are given, as they read it.
 *
 * @throws {UsageError} If a name is none of an experiment, or a number is none.
 */
function contractArgs(
  flags: { only?: string; fuzz?: string; seed?: string; own: boolean; peers: boolean },
): Flags["contract"] {
  if (flags.own && flags.peers) throw new UsageError("--own and --peers are the two halves: leave both out.");
  const names = flags.only?.split(",").map((name) => find(name).name);
  const { fuzz, seed } = flags;
  const range = { min: -(2 ** 31), max: 2 ** 31 - 1, integer: true };
  return {
    chosen: [
      ...(names === undefined ? [] : [`--only=${names.join()}`]),
      ...(flags.own ? ["--own"] : []),
      ...(flags.peers ? ["--peers"] : []),
    ],
    fuzz: fuzz === undefined ? [] : [`--fuzz=${numberFlag("fuzz", fuzz, { ...range, min: 1 })}`],
    seed: seed === undefined ? [] : [`--seed=${numberFlag("seed", seed, range)}`],
  };
}

/** @throws {UsageError} If an argument is not known, or names no file. */
export function readFlags(args: string[]): Flags {
  const words = args.filter((arg) => arg !== "--"); // deno task passes separators on
  const flags = parseFlags(words, {
    string: ["filter", "only", "fuzz", "seed"],
    boolean: ["require-all", "jsr", "checks", "own", "peers"],
  });
  for (const path of flags._) {
    if (!existsSync(path)) throw new UsageError(`There is no file or folder ${path}.`);
  }
  return {
    files: flags._,
    filter: flags.filter === undefined ? [] : ["--filter", flags.filter],
    requireAll: flags["require-all"],
    checks: flags.checks,
    contract: contractArgs(flags),
    packages: packageArgs(flags.jsr),
  };
}

if (import.meta.main) {
  await runScript(USAGE, async () => {
    const flags = readFlags(Deno.args);
    using interrupt = onInterrupt();
    return await runTests(flags, interrupt.signal);
  });
}
