/**
 * What a request costs while the same number of requests comes over more and more connections: with a thread for each,
 * does the scheduler's work grow?
 *
 * @module
 */
import { linuxOnly, type Probe, type ProbePlan, type ProbeRow, type Rows, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = "thread-count";
const METRICS = ["cpu_us_per_request", "context_switches_per_request"] as const;
const RATE_PER_S = 2000;

/** How it is measured. */
export interface Extent {
  /** Numbers of connections, ascending, by server. */
  sizes: Readonly<Record<string, readonly number[]>>;
  ratePerS: number;
  /** Windows at each size, and their length. */
  runs: number;
  seconds: number;
}

/** Measures at one size, on a server that has so many connections. */
async function atSize(rig: Rig, { of }: Rows, { ratePerS, runs, seconds }: Extent): Promise<ProbeRow[]> {
  const costs: number[] = [];
  const switches: number[] = [];
  const answered = async () => (await rig.generator.totals()).answered;
  await rig.open(ratePerS, seconds); // until code is compiled, and each connection has had its turn
  for (let run = 0; run < runs; run++) {
    const before = rig.look().context_switches;
    const from = await answered();
    const { server_cpu_us, requests } = await rig.open(ratePerS, seconds);
    costs.push(server_cpu_us! / requests);
    switches.push((rig.look().context_switches - before) / (await answered() - from));
  }
  const note = `at ${ratePerS} requests/s in all, windows of one server`;
  return [of(METRICS[0], costs, note), of(METRICS[1], switches, note)];
}

/** Measures one server after the other, each with more and more connections. */
export async function measureThreadCount(extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows: ProbeRow[] = [];
  for (const [server, sizes] of Object.entries(extent.sizes)) {
    const variants = sizes.map((size) => ({ size, variant: `${server} ${size}` }));
    const all = variants.map(({ variant }) => rowsOf(NAME, variant));
    const found = await orMissing(all, METRICS, plan, async () => {
      await using rig = await Rig.start({ server, signal: plan.signal });
      const climb = rig.climber();
      const found: ProbeRow[] = [];
      for (const [i, { size, variant }] of variants.entries()) {
        plan.onProgress(variant);
        const measure = () => climb(size).then(() => atSize(rig, all[i]!, extent));
        found.push(...await orMissing([all[i]!], METRICS, plan, measure)); // what was found before is kept
      }
      return found;
    });
    plan.onRows?.(found);
    rows.push(...found);
  }
  return rows;
}

export const threadCount: Probe = {
  name: NAME,
  title: "The cost of a request at the same load over 10, 100 and 1 000 connections",
  obstacle: linuxOnly,
  run: (plan) =>
    measureThreadCount({
      ratePerS: RATE_PER_S,
      ...plan.quick ? { runs: 1, seconds: 0.25, sizes: { "c-threads": [10, 100, 1000], epoll: [10, 100, 1000] } } : {
        runs: RUNS,
        seconds: 0.5,
        sizes: { "c-threads": [10, 100, 1000], "thread-per-conn": [10, 100, 500], epoll: [10, 100, 1000] },
      },
    }, plan),
};
