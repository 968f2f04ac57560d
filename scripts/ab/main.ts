/**
 * Measures two against each other, in pairs: did it get slower, by how much, how sure?
 *
 * deno task ab event-loop --deno 2.8.x,2.9.6
 */
import {
  DENOS,
  describeInterrupted,
  describePair,
  describeSides,
  exitOfPair,
  mustStart,
  OWN_SERVER,
  type Pair,
  readPair,
} from "./pair.ts";
import { reportJson, reportOf } from "./report.ts";
import { findHttp } from "../../lib/catalogue/catalogue.ts";
import { KnownFailure, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { temporaryFolder } from "../../lib/cli/temporary_folder.ts";
import { CONNECTIONS, QUICK_ROUND, ROUND, TAKES, tellRound } from "../../lib/regress/command.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import { type Candidate, measurePairs, measureRounds, outcomeOf } from "../../lib/regress/rounds.ts";
import { readSetup, SETUP_FLAGS, SETUP_USAGE, setupFlags } from "../../lib/run/setup.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { readPath } from "../../lib/server/custom.ts";
import { cacheFolder, fetchDeno } from "../../lib/server/deno_versions.ts";

const USAGE = `Usage: deno task ab <experiment> --deno 2.8.x,2.9.6
         two versions of Deno, from npm
       deno task ab <experiment> --v8-flags=--single-threaded
         without and with flags of V8
       deno task ab <experiment> --ref HEAD~1
         as a commit had it, and as it is
       deno task ab --cmd "A" --cmd "B"
         two servers of your own, in the syntax of sh; PORT is the port. They
         run in the folder of the lab: cd /my-api && exec node x.js
Flags: [--rounds ${ROUND.rounds}] [--connections ${CONNECTIONS}] [--rate N|half] [--path /] [--quick] [--json]
       ${SETUP_USAGE}
       --rate: requests/s. Without it both are asked as fast as they answer;
       half: of what the slower reaches.
       --path: what two commands are asked for by GET; the answer must have
       status 200, and the connection must stay open.
       --quick: ${QUICK_ROUND.rounds} rounds, a first look.
       Judged is CPU time per request, and a change under 2 % is of no interest;
       latency is not judged.
       It takes ${TAKES}.
       Nothing is stored.
       It ends with 1 if B is slower, confirmed by fresh rounds, or does not
       answer; with 70 if A does not answer, or one of the two does not start.`;

const EXAMPLE = `Example: two versions of Deno below a server of your own
       deno task ab ${DENOS.join(" \\\n         ")}`;

/** An experiment by its name. A file or a command is a server of the user's own. */
function readExperiment(name: string) {
  if (!/[./\s]/.test(name)) return findHttp(name);
  throw new UsageError(`${name} is no experiment. ${OWN_SERVER}`);
}

function readFlags() {
  const flags = parseFlags(Deno.args, {
    boolean: ["quick", "json"],
    string: ["deno", "v8-flags", "ref", "rounds", "connections", "rate", "path", ...SETUP_FLAGS],
    collect: ["cmd"],
  });
  const [name] = flags._;
  const experiment = name === undefined ? undefined : readExperiment(name);
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
      ...(experiment !== undefined && { experiment }),
      ...(flags.deno !== undefined && { deno: flags.deno }),
      ...(flags["v8-flags"] !== undefined && { v8Flags: flags["v8-flags"] }),
      ...(flags.ref !== undefined && { ref: flags.ref }),
      commands: flags.cmd,
      ...readPath(flags.path),
    },
  };
}

/**
 * Whether both can be compared.
 *
 * @returns Why B broke; null: it answers.
 * @throws {KnownFailure} If one of them does not start, or if A does not answer: there is nothing to compare with.
 */
async function reasonOfB([a, b]: Pair, signal: AbortSignal): Promise<string | null> {
  const [ofA, ofB] = [await mustStart(a, signal), await mustStart(b, signal)];
  if (ofA !== null) throw new KnownFailure(`Nothing can be compared: ${ofA}.`);
  return ofB;
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
  const answer = signal.aborted ? describeInterrupted(pair, candidate) : describePair(pair, candidate, outcome);
  const text = `${answer}\n${describeSides(pair, candidate, hostFacts())}`;
  if (flags.json) {
    console.log(reportJson(reportOf(pair, candidate, { exit, setup, outcome }, hostFacts())));
  } else {
    const named = setupFlags(setup);
    console.log(named.length > 0 ? `${text}\nNot the default: ${named.join(" ")}.` : text);
  }
  return exit;
}

await runScript(`${USAGE}\n${EXAMPLE}`, async () => {
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const flags = readFlags();
  using folder = flags.wish.ref === undefined ? null : temporaryFolder();
  const pair = await readPair(flags.wish, folder?.path ?? "", (version) => fetchDeno(version, cacheFolder()));
  const reason = await reasonOfB(pair, signal);
  if (reason === null) return await measure(pair, flags, signal);
  const [{ name: a }, { name: b }] = pair;
  if (flags.json) {
    const { connections, ratePerS, setup } = flags;
    const outcome = { ended: "broken", reason } as const;
    const none = { rounds: [], connections, ratePerS };
    console.log(reportJson(reportOf(pair, none, { exit: EXIT.failed, setup, outcome }, hostFacts())));
  } else console.log(`${b} against ${a}: broken. ${reason}.`);
  return EXIT.failed;
});
