/**
 * Measures experiments beside epoll and judges them against the baseline of this machine: did one get slower?
 *
 * deno task regress --experiments event-loop,deno-serve
 */
import { catalogue, type Experiment, find, runsHere } from "../../lib/catalogue/catalogue.ts";
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

const REFERENCE = "epoll";
const USAGE = `Usage: deno task regress [--experiments a,b] [--quick] [--update-baseline] [--json]
       Without --experiments: all that run here, but for the peers and ${REFERENCE}, which is the reference.
       --quick: ${QUICK_ROUND.rounds} rounds in place of ${ROUND.rounds}, a first look: an alarm is not confirmed,
       and nothing is written into the history.
       --update-baseline: these rounds are what later ones are compared with.`;

/** Those that were named, or all that run here. */
function choose(names: string | undefined): Experiment[] {
  if (names === undefined) {
    return catalogue().filter((each) => !each.peer && each.name !== REFERENCE && runsHere(each).runs);
  }
  const chosen = names.split(",").map((name) => find(name));
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
    const reference = find(REFERENCE);
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
