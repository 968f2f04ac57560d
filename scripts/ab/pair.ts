/**
 * Two of anything, to be measured against each other: two versions of Deno, with a flag of V8 and without, an experiment
 * before a commit and now, two servers of one's own.
 *
 * @module
 */
import { basename, join } from "node:path";
import type { Decision, Says } from "../../lib/regress/decision.ts";
import { KnownFailure, Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { type Experiment, parseHeader } from "../../lib/catalogue/header.ts";
import { changeInterval } from "../../lib/regress/record.ts";
import { readCustom } from "../../lib/server/custom.ts";
import { commandOf, countedRounds, mediansOf } from "./report.ts";
import { type Candidate, lostRounds, type Outcome, spoiltBy, validLogs } from "../../lib/regress/rounds.ts";
import { type FindingId, foundOften } from "../../lib/results/findings.ts";
import { describeHost, type HostFacts } from "../../lib/sampling/host.ts";
import { type Runtime, StartError, thisRuntime } from "../../lib/server/server.ts";
import { addErrors, openBench } from "../../lib/run/bench.ts";
import { mainCause } from "../../lib/run/hold.ts";
import { type CustomServer, isCustom, pathOf, type Subject, type Variant } from "../../lib/server/subject.ts";
import { count, counted } from "../../lib/text/format.ts";
import { ratioInterval } from "../../lib/timing/stats.ts";

/** Before and after: B is judged against A. */
export type Pair = [a: Subject, b: Subject];

/** Fetches a version of Deno: see `fetchDeno`. */
export type Fetch = (version: string) => Promise<Runtime>;

/** How two versions of Deno run a server of the user's own, as flags and as a command. */
export const DENOS = ["2.8.3", "2.9.6"].map((version) => `--cmd "npx -y deno@${version} run -A /my-api/server.ts"`);
const TWO_DENOS = `deno task ab ${DENOS.join(" ")}`;
/** What refuses another word than the name of an experiment, such as a file. */
export const OWN_SERVER = `A server of your own is two commands: ${TWO_DENOS}`;
/** How the error of the measurement itself is seen. */
const CONTROL = "A control is the same command twice, --cmd A --cmd A: what it shows is the error of the measurement.";

const HOW = "--deno A,B, --v8-flags=FLAGS, --ref COMMIT or --cmd A --cmd B";

/** What the command line says of the two. */
export interface PairWish {
  experiment?: Experiment;
  deno?: string;
  v8Flags?: string;
  ref?: string;
  commands: readonly string[];
  /** What the commands are asked for. */
  path?: string;
}

/** An experiment of which only the Deno below it is another. */
function variant(experiment: Experiment, runtime: Runtime): Variant {
  const label = [runtime.version, ...runtime.v8Flags].join(" ");
  return { ...experiment, name: `${experiment.name} ${label}`, runtime };
}

async function byVersion(experiment: Experiment, versions: string, fetch: Fetch): Promise<Pair> {
  const two = versions.split(",");
  if (two.length !== 2) throw new UsageError(`--deno ${versions} is not two versions, such as 2.8.x,2.9.6.`);
  const runtimes = [await fetch(two[0]!), await fetch(two[1]!)] as const;
  if (runtimes[0].version === runtimes[1].version) {
    throw new UsageError(`--deno ${versions} is Deno ${runtimes[0].version} twice. ${CONTROL}`);
  }
  return [variant(experiment, runtimes[0]), variant(experiment, runtimes[1])];
}

function byFlags(experiment: Experiment, flags: string): Pair {
  const v8Flags = flags.split(",");
  const wrong = v8Flags.find((flag) => !flag.startsWith("--"));
  if (wrong !== undefined) throw new UsageError(`--v8-flags ${wrong}: a flag of V8 begins with --.`);
  return [variant(experiment, thisRuntime()), variant(experiment, { ...thisRuntime(), v8Flags })];
}

/** What git prints. */
async function git(cwd: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("git", { args, cwd, stdin: "null" }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new UsageError(`git ${args.join(" ")} failed: ${new TextDecoder().decode(stderr).trim()}`);
}

/**
 * An experiment as a commit had it, written into a folder. Its header counts, not that of today.
 *
 * @throws {UsageError} If git does not know the commit, or the commit not the file.
 */
export async function asOf(ref: string, { name, path, peer }: Experiment, folder: string): Promise<Experiment> {
  if (peer) throw new UsageError(`${name} has sources beside it: --ref takes experiments of one file.`);
  const file = basename(path);
  const text = await git(join(path, ".."), "show", "--end-of-options", `${ref}:./${file}`);
  const copy = join(folder, file);
  await Deno.writeTextFile(copy, text);
  return { ...parseHeader(name, copy, text, "any order"), name: `${name} ${ref}` };
}

/** What a shell does itself: no program can take its place. */
const BUILTIN =
  /^\s*(cd|exec|eval|export|set|unset|ulimit|umask|\.|source|for|while|until|if|case|\(|\{)(\s|$)|&&|\|\||[;\n]/;

/**
 * A command of one's own. The shell reads it, so that it may have variables and $PORT in it. It becomes the program where
 * there is only one, so that the shell itself is not measured.
 */
const byCommand = (name: string, command: string, path: string | undefined): CustomServer => ({
  ...readCustom({ name, ...(path !== undefined && { path }) }, [
    "sh",
    "-c",
    BUILTIN.test(command) ? command : `exec env ${command}`,
  ], []),
  isPaired: true,
});

/**
 * Starts a subject once, asks it once, and stops it: one that cannot start is a failure of the measurement, and no verdict on
 * its speed.
 *
 * @returns Why no load can be put on it; null: it answers as it must.
 * @throws {Unavailable} If it cannot run here.
 * @throws {KnownFailure} If it does not start.
 */
export async function mustStart(subject: Subject, signal: AbortSignal): Promise<string | null> {
  try {
    await using bench = await openBench(subject, { signal }); // with its network, where it needs one
    const { errors } = await bench.generator.connect(1);
    const { answered, closed, errors: more } = await bench.generator.ask();
    if (answered === 1 && closed === 0) return null;
    return `${subject.name} is asked for ${pathOf(subject)}: connections ${mainCause(addErrors(errors, more), closed)}`;
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    const { ended, reason } = error.failure;
    const text = reason.startsWith(subject.name) ? reason : `${subject.name}: ${reason}`;
    throw ended === "skipped" ? new Unavailable(text) : new KnownFailure(`Nothing can be compared: ${text}`);
  }
}

/**
 * Makes the two. Permissions: those of `fetchDeno`; or `--allow-run=git` and `--allow-write` for the folder.
 *
 * @param folder Where an experiment of another commit is written to.
 * @throws {UsageError} If the wish does not say which two, in one way.
 * @throws {CannotFetch} If a version of Deno cannot be had.
 */
export async function readPair(wish: PairWish, folder: string, fetch: Fetch): Promise<Pair> {
  const { experiment, deno, v8Flags, ref, commands, path } = wish;
  if (commands.length > 0 && deno !== undefined) {
    throw new UsageError(`--deno takes an experiment. Two versions below a server of your own: ${TWO_DENOS}`);
  }
  const ways = [deno, v8Flags, ref].filter((way) => way !== undefined).length + (commands.length > 0 ? 1 : 0);
  if (ways !== 1) throw new UsageError(`Say in one way which two: ${HOW}.`);
  if (commands.length > 0) {
    if (experiment !== undefined) throw new UsageError(`--cmd names two servers: leave out ${experiment.name}.`);
    if (commands.length !== 2) throw new UsageError(`Give --cmd twice, before and after, such as ${TWO_DENOS}`);
    return [byCommand("a", commands[0]!, path), byCommand("b", commands[1]!, path)];
  }
  if (path !== undefined) throw new UsageError("--path belongs to --cmd: experiments are asked for /.");
  if (experiment === undefined) {
    throw new UsageError(`Name an experiment: deno task ab event-loop --deno 2.8.x,2.9.6. ${OWN_SERVER}`);
  }
  if (ref !== undefined) return [await asOf(ref, experiment, folder), experiment];
  if (experiment.version !== null) {
    throw new UsageError(`${experiment.name} is not served by Deno: compare two commands, --cmd A --cmd B.`);
  }
  return deno !== undefined ? await byVersion(experiment, deno, fetch) : byFlags(experiment, v8Flags!);
}

const ANSWER: Record<Says, string> = {
  slower: "slower by more than 2 %",
  not_slower: "not slower by 2 %",
  undecided: "the interval includes +2 %",
  too_few: "too few valid rounds",
};

/** What may be wrong with a ratio although its rounds count. */
const CAVEATS: Partial<Record<FindingId, string>> = {
  // A server that waits for its core finds more requests at once when it runs, so that each costs less.
  shared_core: "server and load generator shared a core, which changes the CPU time per request",
  // One that is idle now and then sleeps less often once it is slower, and a wake-up is expensive.
  client_bound:
    "the load generator was at its limit and the server was not, which hides part of a slowdown; --rate half does not",
};

/** The caveats of most rounds, a line each. */
function caveats({ rounds }: Candidate): string[] {
  const ids = new Set(foundOften(rounds).map(({ id }) => id));
  return [...ids].flatMap((id) => CAVEATS[id] === undefined ? [] : [`  ${id}: ${CAVEATS[id]}`]);
}

/** What a subject is: the command of one's own, or the program that an experiment runs under. */
const whatIs = (subject: Subject): string => isCustom(subject) ? commandOf(subject)! : subject.title;

/** What was measured, where, and what a request cost either of them: as much as a reader needs to repeat it. */
export function describeSides([a, b]: Pair, { rounds, connections, ratePerS }: Candidate, host: HostFacts): string {
  const valid = countedRounds(rounds);
  const medians = mediansOf(valid.length > 0 ? valid : rounds);
  const mark = valid.length > 0 ? "" : " in rounds that do not count";
  const cost = (cpuUs: number | null) => cpuUs === null ? "" : `, ${count(cpuUs, 2)} CPU-µs per request${mark}`;
  const rate = ratePerS === null
    ? "as fast as they answer"
    : ratePerS === "half"
    ? "at half of what the slower reaches"
    : `at ${count(ratePerS)} requests/s`;
  return [
    `  ${a.name}: ${whatIs(a)}${cost(medians.a)}`,
    `  ${b.name}: ${whatIs(b)}${cost(medians.b)}`,
    `  ${counted(rounds.length, "round")}, ${counted(connections, "connection")}, GET ${pathOf(b)} ${rate}`,
    `  ${describeHost(host)}`,
  ].join("\n");
}

/** What the brackets are; nothing where no line has an interval. */
const bracketsOf = ({ all, fresh }: Decision): string[] =>
  [all, fresh].some((of) => of !== null && of.change !== null && of.change.low !== null && of.change.high !== null)
    ? ["  (in brackets the interval that holds the true change in 98 of 100 repetitions)"]
    : [];

/** What to do where rounds are missing because something else used the machine. */
const againOf = ({ rounds }: Candidate, { verdict }: Decision): string[] =>
  verdict === "inconclusive" && rounds.some((round) => spoiltBy(round).length > 0)
    ? ["  Measure again when the machine is quiet."]
    : [];

/** The answer in words: did it get slower, by how much, how sure. */
export function describePair([a, b]: Pair, candidate: Candidate, outcome: Outcome): string {
  if (outcome.ended !== "decided") return `${b.name} against ${a.name}: ${outcome.ended}. ${outcome.reason}`;
  const { verdict, reason, all, fresh }: Decision = outcome.decision;
  const line = (which: string, { says, change }: Decision["all"]) =>
    change === null
      ? `  ${which}: no valid round`
      : `  ${which}: ${changeInterval(change.estimate, change.low, change.high)} CPU time per request, ${ANSWER[says]}`;
  const lost = lostRounds(candidate);
  return [
    `${b.name} against ${a.name}: ${verdict.replace("_", " ")}${reason === null ? "" : `, ${reason}`}`,
    line(fresh === null ? "rounds" : "all rounds", all),
    ...(fresh === null ? [] : [line("fresh rounds", fresh)]),
    ...(lost === null ? [] : [`  ${lost}`]),
    ...caveats(candidate),
    ...againOf(candidate, outcome.decision),
    ...bracketsOf(outcome.decision),
  ].join("\n");
}

/** What the rounds until an interrupt say: an estimate, and no verdict. */
export function describeInterrupted([a, b]: Pair, candidate: Candidate): string {
  const logs = validLogs(candidate, "first");
  const after = `Interrupted after ${counted(candidate.rounds.length, "round")}`;
  if (logs.length === 0) return `${b.name} against ${a.name}: no verdict. ${after}, of which none counts.`;
  const { estimate, low, high } = ratioInterval(logs);
  const figure = `${changeInterval(estimate, low, high)} CPU time per request`;
  return `${b.name} against ${a.name}: no verdict. ${after}: ${figure}`;
}

/** The exit code: failed if the second is slower, and confirmed, or breaks under the load. */
export function exitOfPair(outcome: Outcome): number {
  if (outcome.ended === "skipped") return EXIT.unavailable;
  if (outcome.ended !== "decided") return outcome.ended === "broken" ? EXIT.failed : EXIT.inconclusive;
  const { verdict } = outcome.decision;
  if (verdict === "slower") return EXIT.failed;
  return verdict === "inconclusive" ? EXIT.inconclusive : EXIT.ok;
}
