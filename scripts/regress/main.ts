/**
 * Measures experiments next to a reference and judges them against the baseline of this machine: did one get slower?
 *
 * deno task regress --experiments event-loop,deno-serve
 */
import { obstacleTo } from "../../lib/catalogue/tools.ts";
import { cacheFolder, fetchDeno } from "../../lib/server/deno_versions.ts";
import type { Variant } from "../../lib/server/subject.ts";
import { catalogue, type Experiment, find, findHttp, runsHere, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { join } from "node:path";
import { machineOf } from "../../lib/results/machine.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { courses, tellChanges } from "../../lib/regress/trend.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { appendTo, CONNECTIONS, QUICK_ROUND, ROUND, tellRound } from "../../lib/regress/command.ts";
import { nightMarkdown, readHistory, showNight } from "../../lib/regress/record.ts";
import { regress } from "./regress.ts";
import { measurePairs } from "../../lib/regress/rounds.ts";

/** The reference is a program in C: a slower runtime would slow a reference on the same runtime too, and hide behind it. */
const REFERENCE = "c-epoll";
/** Without a C compiler it is this one, on a Deno that stays the same. */
const FALLBACK = "epoll";
const PINNED_DENO = "2.9.6";
const USAGE = `Usage: deno task regress [--experiments a,b] [--quick] [--update-baseline] [--json]
       Without --experiments: all that run here, but for the peers.
       The reference is ${REFERENCE}; without a C compiler ${FALLBACK} on Deno ${PINNED_DENO}.
       --quick: ${QUICK_ROUND.rounds} rounds in place of ${ROUND.rounds}, a first look: an alarm is not confirmed,
       and nothing is written into the history.
       --update-baseline: these rounds are what later ones are compared with.`;

/** The reference that can be had here. */
async function referenceHere(): Promise<Experiment | Variant> {
  const reference = find(REFERENCE);
  if (await obstacleTo(reference) === null) return reference;
  const fallback = find(FALLBACK);
  const runtime = await fetchDeno(PINNED_DENO, cacheFolder());
  return { ...fallback, name: `${FALLBACK} ${runtime.version}`, runtime };
}

/** Those that were named, or all that run here. */
function choose(names: string | undefined): Experiment[] {
  if (names === undefined) {
    return catalogue().filter((each) => !each.peer && speaksHttp(each) && runsHere(each).runs);
  }
  const chosen = names.split(",").map((name) => findHttp(name));
  if (new Set(chosen.map(({ name }) => name)).size < chosen.length) throw new UsageError("Name each experiment once.");
  if (chosen.some(({ name }) => name === REFERENCE)) {
    throw new UsageError(`${REFERENCE} is the reference: leave it out.`);
  }
  return chosen;
}

/** What changed over the nights: it advises, and fails nothing. */
async function advice(): Promise<string> {
  const changes = tellChanges(courses((await readHistory(join("results", machineOf(hostFacts())))).values)); // of damaged lines `regress` has told
  return changes.length === 0 ? "" : ["", "In the history, which fails nothing:", ...changes, ""].join("\n");
}

/** One that serves a single connection at a time is measured with one. */
const connectionsOf = ({ cannot }: Experiment) => Object.hasOwn(cannot, "serve-others") ? 1 : CONNECTIONS;

await runScript(USAGE, () =>
  interruptible(async (signal) => {
    const flags = parseFlags(Deno.args, { boolean: ["quick", "update-baseline", "json"], string: ["experiments"] });
    if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: --experiments takes the names.`);
    if (flags.quick && flags["update-baseline"]) {
      throw new UsageError("A baseline takes all rounds: leave out --quick.");
    }
    const host = hostFacts();
    const reference = await referenceHere();
    const { rounds, ...load } = flags.quick ? QUICK_ROUND : ROUND;
    const candidates = choose(flags.experiments).map((experiment) => ({
      experiment,
      connections: connectionsOf(experiment),
    }));
    if (flags.quick) console.error(`Quick: ${rounds} rounds, where a judgement takes ${ROUND.rounds}.`);
    const night = await regress({
      reference,
      candidates,
      rounds,
      load,
      signal,
      measure: measurePairs(reference, { ...load, signal }),
      host,
      updateBaseline: flags["update-baseline"],
      quick: flags.quick,
      dir: join("results", machineOf(host)),
      command: taskLine("regress", Deno.args),
      say: (sentence) => console.error(sentence),
      onRound: (candidate) => tellRound(candidate, rounds),
    });
    const changes = await advice();
    console.log(flags.json ? JSON.stringify(night, null, 2) : showNight(night) + changes);
    const summary = Deno.env.get("GITHUB_STEP_SUMMARY");
    if (summary) await appendTo(summary, nightMarkdown(night) + changes.replaceAll("\n", "\n\n"));
    return night.exit;
  }, "the rounds until then are stored, and the same command goes on from there."));
