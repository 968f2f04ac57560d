import { broadcast } from "./broadcast.ts";
import { addErrors, type Bench, look, type Measured, NOTHING, percentiles, plateau, serverCoreUs } from "./bench.ts";
import { evidenceOf, lateness, throttleMeter } from "./evidence.ts";
import { counted } from "../text/format.ts";
import { hold, rise, startClimb } from "./hold.ts";
import { Histogram } from "../timing/histogram.ts";
import { answersPerS, type Window } from "../load/generator.ts";
import { switchesBetween } from "../sampling/sampler.ts";
import { errorsByKind } from "../results/findings.ts";
import type { Parameters, ScenarioName } from "../results/results.ts";
import { addProcesses } from "./trial.ts";

/** With more requests that failed than this no cost is charged to the others. */
const MAX_FAILED_SHARE = 0.01;

/** Why a window ended before its time, with what failed in it; null if it did not. */
function early({ stopped_early: sentence, errors }: Window): string | null {
  const kinds = errorsByKind(errors);
  return sentence === null || kinds === "" ? sentence : `${sentence.replace(/\.$/, "")}: ${kinds}`;
}

/** Runs a load and turns its window into metrics. Context switches count from before the warm-up, as do the requests. */
async function load(bench: Bench, drive: () => Promise<Window>): Promise<Measured> {
  const { generator, server, isWired } = bench;
  await bench.beforeWindow?.();
  const throttled = throttleMeter();
  const before = look(server);
  const answeredBefore = (await generator.totals()).answered;
  const window = await drive();
  const after = look(server);
  const answers = (await generator.totals()).answered - answeredBefore;
  const { requests, drained, histogram, raw, censored, unanswered, lost, errors } = window;
  const inTime = requests - drained; // its CPU time is that of the window, too
  const failed = Object.values(errors).reduce((sum, times) => sum + times, 0);
  // Answers of another status cost as well: beside many of them the cost of one request is not known.
  const isClean = inTime > 0 && failed <= MAX_FAILED_SHARE * inTime;
  const shares = evidenceOf([window]);
  const coreUs = isWired ? serverCoreUs(window) : null;
  const switches = before && after ? switchesBetween(before, after) : null;
  return {
    metrics: {
      connections: window.connections,
      answered: requests,
      lost,
      requests_per_s: window.seconds > 0 ? answersPerS(window) : 0,
      unanswered,
      reconnects: window.reconnects,
      closes_after: window.closes_after,
      server_core_share: shares.serverCoreShare,
      client_core_share: shares.generatorCoreShare,
      ...lateness([window]),
      ...percentiles(histogram, censored),
      ...(raw !== null && raw.count > 0 && {
        raw_p50_us: raw.percentile(50),
        raw_p99_us: raw.percentile(99),
        raw_p99_9_us: raw.percentile(99.9),
      }),
      cpu_us_per_request: window.server_cpu_us === null || !isClean ? null : window.server_cpu_us / inTime,
      ...(isWired && { core_us_per_request: coreUs === null || !isClean ? null : coreUs / inTime }),
      context_switches_per_request: switches === null || answers === 0 || !isClean ? null : switches / answers,
      ...plateau(after),
    },
    histogram,
    censored,
    errors,
    throttled: throttled(),
    window,
    lost,
    reason: early(window) ?? (unanswered > 0 ? `${counted(unanswered, "request")} got no answer` : null),
  };
}

/**
 * Makes the connections, then runs a load on them. The first request on each shows that the server has really taken it:
 * until then it may wait in the kernel's queue, or for its thread, and would stand idle in a window that counts it.
 */
async function loaded(bench: Bench, drive: () => Promise<Window>): Promise<Measured> {
  const climb = startClimb(bench);
  const short = await rise(bench, climb, bench.parameters.connections, true);
  const { answered, connected, dropped, held, histogram, errors } = climb;
  const lost = connected - held - dropped;
  if (answered === 0 || held === 0) {
    const metrics = { connections: held, answered, lost };
    return { ...NOTHING, metrics, histogram, errors, lost, reason: short };
  }
  const { parameters: { slow = 0 }, guard } = bench;
  const refusal = slow > 0 ? guard.refuses(held, slow) : null;
  if (refusal !== null) {
    return { ...NOTHING, metrics: { connections: held, answered, lost }, histogram, errors, lost, reason: refusal };
  }
  const measured = await load(bench, drive);
  return {
    ...measured,
    metrics: { ...measured.metrics, lost: lost + measured.lost },
    lost: lost + measured.lost,
    errors: addErrors(errors, measured.errors),
    reason: short ?? measured.reason,
  };
}

/** A load that makes all of its connections at once. */
async function unclimbed(bench: Bench, drive: () => Promise<Window>): Promise<Measured> {
  const refusal = bench.guard.refuses(0, bench.parameters.connections);
  if (refusal === null) return await load(bench, drive);
  return {
    ...NOTHING,
    metrics: { connections: 0, answered: 0 },
    histogram: new Histogram(),
    errors: {},
    lost: 0,
    reason: refusal,
  };
}

const rateOf = ({ rate_per_s }: Parameters): number => {
  if (rate_per_s === undefined) throw new TypeError("An open loop needs parameters.rate_per_s");
  return rate_per_s;
};

/** The scenarios. Each takes a fresh server and a fresh generator. */
export const SCENARIO: Record<ScenarioName, (bench: Bench) => Promise<Measured>> = {
  hold,
  throughput: async (bench) => {
    const trials = await addProcesses(bench);
    const measured = await loaded(bench, () => {
      const { seconds, warmup_seconds: warmupSeconds } = bench.parameters;
      return bench.generator.closed({ seconds, warmupSeconds });
    });
    return { ...measured, trials };
  },
  rate: (bench) =>
    loaded(bench, () => {
      const { seconds, warmup_seconds: warmupSeconds } = bench.parameters;
      return bench.generator.open({ rate: rateOf(bench.parameters), seconds, warmupSeconds });
    }),
  mixed: (bench) =>
    loaded(bench, () => {
      const { seconds, warmup_seconds: warmupSeconds, heavy_share = 0, heavy_path = "/" } = bench.parameters;
      const heavy = { heavyShare: heavy_share, heavyPath: heavy_path };
      return bench.generator.open({ rate: rateOf(bench.parameters), seconds, warmupSeconds, ...heavy });
    }),
  churn: (bench) =>
    unclimbed(bench, () => {
      const { connections: concurrency, seconds, warmup_seconds: warmupSeconds } = bench.parameters;
      return bench.generator.churn({ concurrency, seconds, warmupSeconds });
    }),
  slow: (bench) =>
    loaded(bench, () => {
      const { seconds, slow = 0 } = bench.parameters;
      return bench.generator.slow({ slow, rate: rateOf(bench.parameters), seconds });
    }),
  broadcast,
};
