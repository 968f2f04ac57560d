import type { Experiment } from "./catalogue.ts";
import { LoadGenerator, type Window } from "./load.ts";
import { experimentCommand, startServer } from "./server.ts";
import { type Interval, median, ratioInterval } from "./stats.ts";

/** How two experiments are compared. */
export interface ComparePlan {
  /** Keep-alive connections that each server holds. */
  connections: number;
  /** Rounds; each has a fresh pair of processes. Their number decides the width of the interval. */
  rounds: number;
  /** Length of one slice in seconds. A round has SLICES of them for each server. */
  seconds: number;
  /** Requests per second of an open loop; null: closed loop, as fast as they answer. */
  rate: number | null;
  onRound?: (round: number, values: Record<Compared, number>) => void;
}

/** What is compared. Ratios are candidate / reference: under 1 is cheaper, or for `requests_per_s` slower. */
export const COMPARED = ["cpu_us_per_request", "requests_per_s", "p99_us"] as const;
export type Compared = typeof COMPARED[number];

/** The outcome: for each figure the medians of both, and the ratio with its 98 % interval. */
export type Comparison = Record<Compared, { reference: number; candidate: number; ratio: Interval }>;

/** Slices of each server in a round: ABBA ABBA ABBA ABBA, so that a drift of the machine falls on both alike. */
const SLICES = 8;
/** Seconds of load before the first slice: code is compiled, heap and buffers have their size. */
const WARMUP_SECONDS = 1;

/** One server with the generator that drives it; both on cores of their own, shared with the other contender. */
interface Contender extends AsyncDisposable {
  slice(warmupSeconds: number): Promise<Window>;
}

async function contender(experiment: Experiment, plan: ComparePlan): Promise<Contender> {
  await using stack = new AsyncDisposableStack();
  const pin = (cpu: number) => navigator.hardwareConcurrency > 1 ? { cpu } : {};
  const server = stack.use(await startServer(experimentCommand(experiment), pin(0)));
  const target = { host: "127.0.0.1", port: server.port };
  const generator = stack.use(await LoadGenerator.start(target, { ...pin(1), serverPid: server.pid }));
  await generator.connect(plan.connections);
  const { answered } = await generator.ask();
  if (answered < plan.connections) throw new Error(`${experiment.name} holds ${answered} of ${plan.connections}`);
  const owned = stack.move();
  return {
    slice: async (warmupSeconds) => {
      const { rate, seconds } = plan;
      if (rate !== null) return await generator.open({ rate, seconds, warmupSeconds });
      return (await generator.closed({ seconds, warmupSeconds }))[0]!;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The compared figures of one slice. @throws {Error} If a connection got no answer: a ratio would compare unlike things. */
function figures(name: string, window: Window): Record<Compared, number> {
  if (window.requests === 0 || window.lost > 0 || window.unanswered > 0) {
    const { requests, lost, unanswered } = window;
    throw new Error(`${name} cannot be compared: ${requests} answers, ${lost} lost, ${unanswered} unanswered`);
  }
  return {
    cpu_us_per_request: (window.server_cpu_us ?? NaN) / window.requests,
    requests_per_s: window.requests / window.seconds,
    p99_us: window.histogram.percentile(99),
  };
}

/** One round: a fresh pair, started in random order, slices in ABBA order. Returns the slices of both, in pairs. */
async function round(reference: Experiment, candidate: Experiment, plan: ComparePlan) {
  const swapped = Math.random() < 0.5;
  await using first = await contender(swapped ? candidate : reference, plan);
  await using second = await contender(swapped ? reference : candidate, plan);
  const [a, b] = swapped ? [second, first] : [first, second];
  for (const each of [first, second]) await each.slice(WARMUP_SECONDS);
  const pairs: { reference: Record<Compared, number>; candidate: Record<Compared, number> }[] = [];
  for (let i = 0; i < SLICES; i++) {
    const early = i % 2 === 0 ? a : b, late = early === a ? b : a;
    const x = await early.slice(0), y = await late.slice(0);
    const [ofReference, ofCandidate] = early === a ? [x, y] : [y, x];
    pairs.push({
      reference: figures(reference.name, ofReference),
      candidate: figures(candidate.name, ofCandidate),
    });
  }
  return pairs;
}

/**
 * Compares two experiments by interleaved rounds. The value of a round is the median over its pairs of slices of
 * ln(candidate / reference); the interval is a bootstrap over rounds, for slices of a round share what disturbed them.
 *
 * @throws {StartError} If one of them cannot start.
 * @throws {Error} If one of them does not answer on every connection.
 */
export async function compare(reference: Experiment, candidate: Experiment, plan: ComparePlan): Promise<Comparison> {
  const logs: Record<Compared, number[]> = { cpu_us_per_request: [], requests_per_s: [], p99_us: [] };
  const ofReference = structuredClone(logs), ofCandidate = structuredClone(logs);
  for (let i = 0; i < plan.rounds; i++) {
    const pairs = await round(reference, candidate, plan);
    const values = {} as Record<Compared, number>;
    for (const key of COMPARED) {
      const log = median(pairs.map((pair) => Math.log(pair.candidate[key] / pair.reference[key])));
      logs[key].push(log);
      ofReference[key].push(median(pairs.map((pair) => pair.reference[key])));
      ofCandidate[key].push(median(pairs.map((pair) => pair.candidate[key])));
      values[key] = Math.exp(log);
    }
    plan.onRound?.(i + 1, values);
  }
  const outcome = {} as Comparison;
  for (const key of COMPARED) {
    outcome[key] = {
      reference: median(ofReference[key]),
      candidate: median(ofCandidate[key]),
      ratio: ratioInterval(logs[key]),
    };
  }
  return outcome;
}
