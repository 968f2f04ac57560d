/**
 * What a connection that is kept saves: one request over a fresh connection against one over a connection that is there.
 *
 * @module
 */
import type { Window } from "../load/generator.ts";
import { linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = "pooling";
const SERVER = "epoll";
const FIGURES = {
  requests_per_s: ({ requests, seconds }: Window) => requests / seconds,
  cpu_us_per_request: ({ server_cpu_us, requests }: Window) => server_cpu_us! / requests,
  p50_us: ({ histogram }: Window) => histogram.percentile(50),
};
const METRICS = Object.keys(FIGURES) as (keyof typeof FIGURES)[];

/** How it is measured. */
export interface Extent {
  connections: number;
  /** Pairs of windows, one of each kind, and their length. */
  runs: number;
  seconds: number;
}

/** Measures both in turn on one server: fresh connections (connect, ask once, close) and pooled ones, as many at a time. */
export async function measurePooling({ connections, runs, seconds }: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const [fresh, pooled, ratio] = ["fresh", "pooled", "fresh / pooled"].map((variant) => rowsOf(NAME, variant));
  return await orMissing([fresh!, pooled!], METRICS, plan, async () => {
    await using rig = await Rig.start({ server: SERVER, signal: plan.signal });
    const churn = async (seconds: number) =>
      rig.whole(await rig.generator.churn({ concurrency: connections, seconds, warmupSeconds: 0 }));
    await rig.climber()(connections);
    await churn(seconds);
    await rig.closed(seconds);
    const windows: Record<"fresh" | "pooled", Window[]> = { fresh: [], pooled: [] };
    for (let run = 0; run < runs; run++) {
      plan.onProgress(`pair ${run + 1} of ${runs}`);
      windows.fresh.push(await churn(seconds));
      windows.pooled.push(await rig.closed(seconds));
    }
    const note = `${connections} at a time; of a fresh connection the latency counts from before connect(2)`;
    const latencies = (kind: "fresh" | "pooled") => windows[kind].map(({ histogram }) => histogram);
    return METRICS.flatMap((metric) => {
      const figure = FIGURES[metric];
      const a = windows.fresh.map(figure);
      const b = windows.pooled.map(figure);
      return [
        metric === "p50_us" ? fresh!.ofLatencies(metric, 50, latencies("fresh"), note) : fresh!.of(metric, a, note),
        metric === "p50_us" ? pooled!.ofLatencies(metric, 50, latencies("pooled"), note) : pooled!.of(metric, b, note),
        ratio!.ofLogs(`${metric}_ratio`, a.map((value, i) => Math.log(value / b[i]!))),
      ];
    });
  });
}

export const pooling: Probe = {
  name: NAME,
  title: "A fresh connection for each request against connections that are kept",
  obstacle: linuxOnly,
  run: (plan) =>
    measurePooling(
      { connections: 100, ...plan.quick ? { runs: 2, seconds: 0.3 } : { runs: 3 * RUNS, seconds: 0.5 } },
      plan,
    ),
};
