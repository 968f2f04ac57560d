/**
 * The floor of the instrument: how late the load generator sends the requests of an open loop, if it sleeps until each is due, and
 * if it asks for events without sleeping for the last of that time.
 *
 * @module
 */
import type { Window } from "../load/generator.ts";
import { Histogram } from "../timing/histogram.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = "lateness";
/** The server that costs least, so that what is seen is the generator's. */
const SERVER = "c-epoll";
const CONNECTIONS = 100;
const RATE_PER_S = 10_000;
const WARM_SECONDS = 0.5;
/** The variants, and for how many µs before a request is due the generator does not sleep; undefined: as it does by default. */
const VARIANTS = { sleep: 0, spin: undefined } as const;
const PERCENTS = { p50: 50, p90: 90, p99: 99, p99_9: 99.9 } as const;
export const METRICS = [
  ...Object.keys(PERCENTS).map((name) => `late_${name}_us`),
  ...Object.keys(PERCENTS).map((name) => `latency_${name}_us`),
];

/** How it is measured. */
export interface Extent {
  server: string;
  runs: number;
  seconds: number;
}

/** The percentiles of all runs, as rows. */
const percentileRows = (of: readonly Histogram[], prefix: string, rows: ReturnType<typeof rowsOf>, note: string) =>
  Object.entries(PERCENTS).map(([name, percent]) => rows.ofLatencies(`${prefix}_${name}_us`, percent, of, note));

async function ofVariant(variant: keyof typeof VARIANTS, extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, variant);
  const spinUs = VARIANTS[variant];
  return await orMissing([rows], METRICS, plan, async () => {
    await using rig = await Rig.start({
      server: extent.server,
      signal: plan.signal,
      ...(spinUs !== undefined && { spinUs }),
    });
    await rig.climber()(CONNECTIONS);
    await rig.open(RATE_PER_S, WARM_SECONDS);
    const windows: Window[] = [];
    for (let run = 0; run < extent.runs; run++) windows.push(await rig.open(RATE_PER_S, extent.seconds));
    const at = `${RATE_PER_S} requests/s over ${CONNECTIONS} connections to ${extent.server}`;
    return [
      ...percentileRows(
        windows.map(({ lateness }) => lateness ?? new Histogram()),
        "late",
        rows,
        `behind the due time, ${at}`,
      ),
      ...percentileRows(windows.map(({ histogram }) => histogram), "latency", rows, `from the due time, ${at}`),
    ];
  });
}

/** Measures one variant after the other. */
export const measureLateness = (extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(
    Object.keys(VARIANTS) as (keyof typeof VARIANTS)[],
    plan,
    (variant) => variant,
    (variant) => ofVariant(variant, extent, plan),
  );

export const lateness: Probe = {
  name: NAME,
  title: "How late the load generator sends at 10 000 requests/s: the floor of an open loop",
  obstacle: linuxOnly,
  run: (plan) =>
    measureLateness(
      plan.quick ? { server: SERVER, runs: 1, seconds: 1 } : { server: SERVER, runs: RUNS, seconds: 3 },
      plan,
    ),
};
