/**
 * Whether several processes of the load generator are one instrument: a server is asked at one rate by one process and by four
 * in turns. The same of one process against one shows by how much two equal runs differ.
 *
 * @module
 */
import { LoadGenerator } from "../load/generator.ts";
import { coresOf } from "../run/setup.ts";
import { Histogram } from "../timing/histogram.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { CannotProbe, orMissing, Rig } from "./rig.ts";

const NAME = "processes";
/** The server that costs least, so that what is seen is the generator's. */
const SERVER = "c-epoll";
const CONNECTIONS = 100;
const RATE_PER_S = 2000;
const SEVERAL = 4;
export const WARM_SECONDS = 0.5;
const PERCENTS = { p50: 50, p90: 90, p99: 99, p99_9: 99.9 } as const;
const COUNTS = ["answered", "answered_less_served", "connected_less_accepted"] as const;
export const METRICS = [...Object.keys(PERCENTS).map((name) => `${name}_ratio`), ...COUNTS];

/** How it is measured. */
export interface Extent {
  server: string;
  /** Of each of the two generators. */
  connections: number;
  ratePerS: number;
  /** Rounds of four slices, and the length of a slice. */
  runs: number;
  seconds: number;
}

/** The cores of the load. Where several processes share one, none may spin: it would keep the others from their core. */
function coresHere(): { load: readonly number[]; spin: { spinUs?: number } } {
  const load = coresOf({})?.load ?? [];
  return { load, spin: load.length >= SEVERAL ? {} : { spinUs: 0 } };
}

/** A second generator for the server of a rig, with as many connections. */
async function second(rig: Rig, processes: number, { connections }: Extent): Promise<LoadGenerator> {
  const { load, spin } = coresHere();
  const cores = load.length === 0
    ? { processes }
    : { cpus: Array.from({ length: processes }, (_, i) => load[i % load.length]!) };
  await using stack = new AsyncDisposableStack();
  const target = { host: "127.0.0.1", port: rig.server.port };
  const generator = stack.use(await LoadGenerator.start(target, { ...cores, ...spin, serverPid: rig.server.pid }));
  await generator.connect(connections);
  const { answered } = await generator.ask();
  if (answered < connections) {
    throw new CannotProbe(`${rig.name}: ${answered} of ${connections} connections were answered`);
  }
  stack.move();
  return generator;
}

/** One slice of one of them. */
async function slice(rig: Rig, generator: LoadGenerator, rate: number, seconds: number): Promise<Histogram> {
  rig.signal.throwIfAborted();
  return rig.whole(await generator.open({ rate, seconds, warmupSeconds: 0 })).histogram;
}

/** One round, in ABBA order. Returns ln(second / first) at each percentile of the latencies of all slices of a side. */
async function round(rig: Rig, other: LoadGenerator, { ratePerS, seconds }: Extent, isEven: boolean) {
  const [first, last] = isEven ? [rig.generator, other] : [other, rig.generator];
  const seen = new Map([[rig.generator, new Histogram()], [other, new Histogram()]]);
  for (const generator of [first, last, last, first]) {
    seen.get(generator)!.merge(await slice(rig, generator, ratePerS, seconds));
  }
  const at = (generator: LoadGenerator, percent: number) => seen.get(generator)!.percentile(percent);
  return Object.values(PERCENTS).map((percent) => Math.log(at(other, percent) / at(rig.generator, percent)));
}

/** What both generators have counted together, less what the server has. */
async function counts(rig: Rig, other: LoadGenerator) {
  const generators = [rig.generator, other];
  for (const generator of generators) await generator.drop();
  const totals = await Promise.all(generators.map((generator) => generator.totals()));
  const sum = (key: "answered" | "connections") => totals.reduce((all, total) => all + total[key], 0);
  const { stopped } = await rig.server.stop();
  if (stopped === null) throw new CannotProbe(`${rig.name} ended without its stopped line`);
  return [sum("answered"), sum("answered") - stopped.served, sum("connections") - stopped.accepted];
}

async function ofVariant(processes: number, extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, `1 against ${processes}`);
  const { load, spin } = coresHere();
  return await orMissing([rows], METRICS, plan, async () => {
    await using rig = await Rig.start({ server: extent.server, signal: plan.signal, ...spin });
    await rig.climber()(extent.connections);
    await using other = await second(rig, processes, extent);
    for (const generator of [rig.generator, other]) await slice(rig, generator, extent.ratePerS, WARM_SECONDS);
    const rounds: number[][] = [];
    for (let run = 0; run < extent.runs; run++) rounds.push(await round(rig, other, extent, run % 2 === 0));
    const counted = await counts(rig, other);
    const cores = Math.min(processes, Math.max(load.length, 1));
    const note = `at ${extent.ratePerS} requests/s to ${extent.server}; the second side has ${processes} on ${cores} ` +
      `${cores === 1 ? "core" : "cores"}`;
    return [
      ...Object.keys(PERCENTS).map((name, i) => rows.ofLogs(`${name}_ratio`, rounds.map((logs) => logs[i]!), note)),
      ...COUNTS.map((metric, i) => rows.of(metric, [counted[i]!], "of both sides, connects and warm-up included")),
    ];
  });
}

/** Measures one variant after the other. */
export const measureProcesses = (extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(
    [1, SEVERAL],
    plan,
    (processes) => `one process against ${processes}`,
    (processes) => ofVariant(processes, extent, plan),
  );

export const processes: Probe = {
  name: NAME,
  title: "One process of the load generator against four: latencies and counts at an equal rate",
  obstacle: linuxOnly,
  run: (plan) => {
    const common = { server: SERVER, connections: CONNECTIONS, ratePerS: RATE_PER_S };
    return measureProcesses(
      plan.quick ? { ...common, runs: 1, seconds: 0.5 } : { ...common, runs: RUNS, seconds: 2 },
      plan,
    );
  },
};
