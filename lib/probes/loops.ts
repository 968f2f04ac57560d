/**
 * How the kernel spreads connections over loops that share a port (SO_REUSEPORT), and what a second loop brings.
 *
 * @module
 */
import type { Stopped } from "../server/server.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { CannotProbe, orMissing, Rig } from "./rig.ts";

const NAME = "loops";
const SERVER = "multi-reactor";
export const SHARES = ["largest_share_of_connections", "largest_share_of_requests"] as const;
export const RATES = ["requests_per_s", "server_cores", "client_cores"] as const;
const LOAD_CONNECTIONS = 100;

/** The largest share that one of the loops has of something. */
export function largestShare(of: readonly number[]): number {
  return Math.max(...of) / of.reduce((sum, each) => sum + each, 0);
}

/** How it is measured. */
export interface Extent {
  /** Numbers of connections, each spread over fresh loops in each run. */
  sizes: readonly number[];
  runs: number;
  loops: number;
  seconds: number;
}

const start = (loops: number, signal: AbortSignal) =>
  Rig.start({ server: SERVER, args: ["--workers", String(loops)], pinned: false, signal });

/** What each loop has counted, by its own account. */
async function loopsOf(rig: Rig): Promise<NonNullable<Stopped["loops"]>> {
  const { stopped } = await rig.server.stop();
  if (stopped?.loops === undefined) throw new CannotProbe(`${SERVER} did not report the counts of its loops`);
  return stopped.loops;
}

async function spread(size: number, { runs, loops, seconds }: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, String(size));
  return await orMissing([rows], SHARES, plan, async () => {
    const found: NonNullable<Stopped["loops"]>[] = [];
    for (let run = 0; run < runs; run++) {
      await using rig = await start(loops, plan.signal);
      await rig.climber()(size);
      await rig.closed(seconds);
      found.push(await loopsOf(rig));
    }
    const shares = (key: "accepted" | "served") => found.map((loops) => largestShare(loops.map((loop) => loop[key])));
    const note = `of ${loops} loops; in a closed loop every connection asks as often as it is answered`;
    return [rows.of(SHARES[0], shares("accepted"), `of ${loops} loops`), rows.of(SHARES[1], shares("served"), note)];
  });
}

const named = (loops: number) => loops === 1 ? "1 loop" : `${loops} loops`;

/** Requests/s of so many loops, and the cores that both sides used: where these are all there are, it says no more. */
async function throughput(loops: number, { runs, seconds }: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, named(loops));
  const cores = navigator.hardwareConcurrency;
  return await orMissing([rows], RATES, plan, async () => {
    await using rig = await start(loops, plan.signal);
    await rig.climber()(LOAD_CONNECTIONS);
    await rig.closed(seconds, 2 * seconds);
    const windows = [];
    for (let run = 0; run < runs; run++) windows.push(await rig.closed(seconds));
    const note = `the load generator, a single thread, shares the ${cores} cores with the server`;
    return [
      rows.of(RATES[0], windows.map(({ requests, seconds }) => requests / seconds), note),
      rows.of(RATES[1], windows.map((of) => of.server_cpu_us! / of.seconds / 1e6)),
      rows.of(RATES[2], windows.map((of) => of.client_cpu_us / of.seconds / 1e6)),
    ];
  });
}

/** Measures the spread at each size, and the throughput of one loop and of several. */
export async function measureLoops(extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  return [
    ...await inTurn(extent.sizes, plan, (size) => `${size} connections`, (size) => spread(size, extent, plan)),
    ...await inTurn([1, extent.loops], plan, named, (loops) => throughput(loops, extent, plan)),
  ];
}

export const loops: Probe = {
  name: NAME,
  title: "How evenly the kernel spreads connections over two loops, and what the second brings",
  obstacle: linuxOnly,
  run: (plan) =>
    measureLoops(
      plan.quick
        ? { sizes: [10, 100], runs: 1, loops: 2, seconds: 0.2 }
        : { sizes: [10, 100, 1000], runs: 2 * RUNS, loops: 2, seconds: 0.3 },
      plan,
    ),
};
