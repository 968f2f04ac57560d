/**
 * Measures two against each other, in pairs: did it get slower, by how much, how sure?
 *
 * deno task ab event-loop --deno 2.8.x,2.9.6
 */
import { describeInterrupted, describePair, exitOfPair, mustStart, type Pair, readPair } from "./pair.ts";
import { findHttp } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { temporaryFolder } from "../../lib/cli/temporary_folder.ts";
import { CONNECTIONS, QUICK_ROUND, ROUND, tellRound } from "../../lib/regress/command.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import { type Candidate, measurePairs, measureRounds, outcomeOf } from "../../lib/regress/rounds.ts";
import { readSetup, SETUP_FLAGS, SETUP_USAGE, setupFlags } from "../../lib/run/setup.ts";
import { cacheFolder, fetchDeno } from "../../lib/server/deno_versions.ts";

const USAGE = `Usage: deno task ab <experiment> --deno 2.8.x,2.9.6       two versions of Deno, from npm
       deno task ab <experiment> --v8-flags=--single-threaded
                                                 without and with flags of V8
       deno task ab <experiment> --ref HEAD~1    as a commit had it, and as it is
       deno task ab --cmd "A" --cmd "B"          two servers of your own, in the
                                                 syntax of sh; PORT is the port
Flags: [--rounds ${ROUND.rounds}] [--connections ${CONNECTIONS}] [--rate N|half (requests/s)] [--quick] [--json]
       ${SETUP_USAGE}
       Without --rate both are asked as fast as they answer; half: of what the
       slower reaches. --quick: ${QUICK_ROUND.rounds} rounds, a first look.
       It ends with 1 if B is slower, confirmed by fresh rounds, or breaks under
       the load, and with 70 if one of the two cannot be started.`;

function readFlags() {
  const flags = parseFlags(Deno.args, {
    boolean: ["quick", "json"],
    string: ["deno", "v8-flags", "ref", "rounds", "connections", "rate", ...SETUP_FLAGS],
    collect: ["cmd"],
  });
  if (flags._.length > 1) throw new UsageError(`Unexpected ${flags._[1]}: one experiment at a time.`);
  const { rounds: most, ...load } = flags.quick ? QUICK_ROUND : ROUND;
  const { rate } = flags;
  return {
    load,
    rounds: numberFlag("rounds", flags.rounds ?? String(most), { min: MIN_ROUNDS, max: 1000, integer: true }),
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
    setup: readSetup(flags),
    json: flags.json,
    wish: {
      ...(flags._[0] !== undefined && { experiment: findHttp(flags._[0]) }),
      ...(flags.deno !== undefined && { deno: flags.deno }),
      ...(flags["v8-flags"] !== undefined && { v8Flags: flags["v8-flags"] }),
      ...(flags.ref !== undefined && { ref: flags.ref }),
      commands: flags.cmd,
    },
  };
}

/** Measures a pair, shows the answer, and returns the exit code. An interrupt shows what the rounds until then say. */
async function measure(pair: Pair, flags: ReturnType<typeof readFlags>, signal: AbortSignal): Promise<number> {
  const [a, b] = pair;
  const { rounds, connections, ratePerS, load, setup } = flags;
  const candidate: Candidate = { subject: b, connections, ratePerS, baseline: null, rounds: [] };
  await measureRounds([candidate], {
    rounds,
    confirm: true,
    signal,
    measure: measurePairs(a, { ...load, setup, signal }),
    keep: (candidate) => Promise.resolve(tellRound(candidate, rounds)),
  }).catch((error) => {
    if (!signal.aborted) throw error;
  });
  const outcome = outcomeOf(candidate, { rounds });
  const exit = signal.aborted ? EXIT.interrupted : exitOfPair(outcome);
  const text = signal.aborted ? describeInterrupted(pair, candidate) : describePair(pair, candidate, outcome);
  if (flags.json) {
    console.log(
      JSON.stringify({ a: a.name, b: b.name, exit, ...setup, ...outcome, rounds: candidate.rounds }, null, 2),
    );
  } else {
    const named = setupFlags(setup);
    console.log(named.length > 0 ? `${text}\nNot the default: ${named.join(" ")}.` : text);
  }
  return exit;
}

await runScript(USAGE, async () => {
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const flags = readFlags();
  using folder = flags.wish.ref === undefined ? null : temporaryFolder();
  const pair = await readPair(flags.wish, folder?.path ?? "", (version) => fetchDeno(version, cacheFolder()));
  for (const subject of pair) await mustStart(subject, signal);
  return await measure(pair, flags, signal);
});
