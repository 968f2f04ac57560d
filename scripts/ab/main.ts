/**
 * Measures two against each other, in pairs: did it get slower, by how much, how sure?
 *
 * deno task ab event-loop --deno 2.8.x,2.9.6
 */
import { describePair, exitOfPair, type Pair, readPair } from "./pair.ts";
import { find } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { CONNECTIONS, judged, QUICK_ROUND, ROUND, tellRound } from "../../lib/regress/command.ts";
import { type Candidate, measurePairs, measureRounds, outcomeOf } from "../../lib/regress/rounds.ts";
import { fetchDeno } from "./deno_versions.ts";

const USAGE = `Usage: deno task ab <experiment> --deno 2.8.x,2.9.6       two versions of Deno, which npm fetches
       deno task ab <experiment> --v8-flags=--single-threaded   without and with flags of V8
       deno task ab <experiment> --ref HEAD~1                   as a commit had it, and as it is
       deno task ab --cmd "A" --cmd "B"                         two servers of one's own; PORT tells each its port
Flags: [--rounds ${ROUND.rounds}] [--connections ${CONNECTIONS}] [--rate N|half (requests/s)] [--quick] [--json]
       Without --rate both are asked as fast as they answer; half: of what the slower reaches. --quick: ${QUICK_ROUND.rounds} rounds, a first look.
Ends with 0: not slower, 1: slower, confirmed by fresh rounds, 3: inconclusive, 2: usage.`;
const FEWEST_ROUNDS = 7; // that an interval of 98 % can be made of

function readFlags() {
  const flags = parseFlags(Deno.args, {
    boolean: ["quick", "json"],
    string: ["deno", "v8-flags", "ref", "rounds", "connections", "rate"],
    collect: ["cmd"],
  });
  if (flags._.length > 1) throw new UsageError(`Unexpected ${flags._[1]}: one experiment at a time.`);
  const { rounds: most, ...load } = flags.quick ? QUICK_ROUND : ROUND;
  const { rate } = flags;
  return {
    load,
    rounds: numberFlag("rounds", flags.rounds ?? String(most), { min: FEWEST_ROUNDS, max: 1000, integer: true }),
    connections: numberFlag("connections", flags.connections ?? String(CONNECTIONS), {
      min: 1,
      max: 1e6,
      integer: true,
    }),
    ratePerS: rate === undefined
      ? null
      : rate === "half"
      ? rate as "half"
      : numberFlag("rate", rate, { min: 1, max: 1e6 }),
    json: flags.json,
    wish: {
      ...(flags._[0] !== undefined && { experiment: find(flags._[0]) }),
      ...(flags.deno !== undefined && { deno: flags.deno }),
      ...(flags["v8-flags"] !== undefined && { v8Flags: flags["v8-flags"] }),
      ...(flags.ref !== undefined && { ref: flags.ref }),
      commands: flags.cmd,
    },
  };
}

/** Where npm keeps what it has fetched: in the cache folder of this project, which experiments/peers use too. */
function cacheFolder(): string {
  const home = Deno.env.get("HOME");
  const caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) throw new UsageError("Versions of Deno are kept in a cache folder: set HOME or XDG_CACHE_HOME.");
  return `${caches}/c10k-lab/npm`;
}

/** Measures a pair, tells the answer, and returns the exit code. */
async function measure(pair: Pair, flags: ReturnType<typeof readFlags>, signal: AbortSignal): Promise<number> {
  const [a, b] = pair;
  const { rounds, connections, ratePerS, load } = flags;
  const candidate: Candidate = { subject: b, connections, ratePerS, baseline: null, rounds: [] };
  await measureRounds([candidate], {
    rounds,
    confirm: true,
    signal,
    measure: measurePairs(a, { ...load, signal }),
    keep: (candidate) => Promise.resolve(tellRound(candidate, rounds)),
  });
  const outcome = outcomeOf(candidate, { rounds });
  const exit = exitOfPair(outcome);
  if (flags.json) {
    console.log(JSON.stringify({ a: a.name, b: b.name, exit, ...outcome, rounds: candidate.rounds }, null, 2));
  } else console.log(describePair(pair, candidate, outcome));
  return exit;
}

await runScript(USAGE, () =>
  judged(async (signal) => {
    const flags = readFlags();
    const { ref } = flags.wish;
    const folder = ref === undefined ? null : await Deno.makeTempDir({ dir: "/tmp" }); // the task may write nowhere else
    try {
      return await measure(
        await readPair(flags.wish, folder ?? "", (version) => fetchDeno(version, cacheFolder())),
        flags,
        signal,
      );
    } finally {
      if (folder !== null) await Deno.remove(folder, { recursive: true });
    }
  }, "nothing of it is kept."));
