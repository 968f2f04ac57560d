/**
 * What it costs a server to say how many connections it has: a line of counts on SIGUSR1, as `exp` and `live` ask for.
 *
 * A server that waits wakes up anyway, to hear signals: what it uses in the same time without being asked is taken off.
 *
 * @module
 */
import { delay } from "@std/async";
import { cpuUs, monotonicUs } from "../sampling/process.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { CannotProbe, orMissing, Rig } from "./rig.ts";

const NAME = "stats-line";
const METRICS = ["cpu_us_first", "cpu_us", "wait_us"] as const;

/** How it is measured. */
export interface Extent {
  /** By the name of a server: how many clients are connected, and silent. */
  sizes: Record<string, number[]>;
  /** Lines of each run. */
  lines: number;
  runs: number;
}

/** CPU time of the server over some work, and how long that took. */
async function over(rig: Rig, work: () => Promise<unknown>): Promise<{ cpu: number; us: number }> {
  const from = { cpu: cpuUs(rig.server.pid), at: monotonicUs() };
  await work();
  const to = { cpu: cpuUs(rig.server.pid), at: monotonicUs() };
  if (from.cpu === null || to.cpu === null) throw new CannotProbe(`${rig.name}: its CPU time is not known`);
  return { cpu: to.cpu - from.cpu, us: to.at - from.at };
}

/** What a number of lines cost, each, and how long each was waited for. */
async function ask(rig: Rig, lines: number): Promise<{ cpu: number; wait: number }> {
  rig.signal.throwIfAborted();
  const asked = await over(rig, async () => {
    for (let line = 0; line < lines; line++) {
      if (await rig.server.stats() === null) throw new CannotProbe(`${rig.name}: shows no counts`);
    }
  });
  const idle = await over(rig, () => delay(asked.us / 1000, { signal: rig.signal }));
  return { cpu: (asked.cpu - idle.cpu * asked.us / idle.us) / lines, wait: asked.us / lines };
}

async function ofServer(
  { server, connections }: { server: string; connections: number },
  { lines, runs }: Extent,
  plan: ProbePlan,
): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, `${server} ${connections}`);
  return await orMissing([rows], METRICS, plan, async () => {
    await using rig = await Rig.start({ server, signal: plan.signal });
    await rig.climber()(connections);
    const first = await ask(rig, 1);
    const found: { cpu: number; wait: number }[] = [];
    for (let run = 0; run < runs; run++) found.push(await ask(rig, lines));
    const clients = `${connections} connected clients that say nothing`;
    return [
      rows.of(METRICS[0], [first.cpu], `the first line, whose code is compiled; ${clients}`),
      rows.of(METRICS[1], found.map(({ cpu }) => cpu), `each line after it; ${clients}`),
      rows.of(METRICS[2], found.map(({ wait }) => wait), `until it is there; ${clients}`),
    ];
  });
}

/** Measures one server after the other. */
export function measureStatsLine(extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const all = Object.entries(extent.sizes).flatMap(([server, sizes]) =>
    sizes.map((connections) => ({ server, connections }))
  );
  const nameOf = ({ server, connections }: typeof all[number]) => `${server}, ${connections} connections`;
  return inTurn(all, plan, nameOf, (each) => ofServer(each, extent, plan));
}

export const statsLine: Probe = {
  name: NAME,
  title: "What it costs a server to say how many connections it has",
  obstacle: linuxOnly,
  run: (plan) =>
    measureStatsLine(
      plan.quick
        ? { sizes: { epoll: [10], "thread-per-conn": [10] }, lines: 5, runs: 1 }
        : { sizes: { epoll: [10, 1000], "event-loop": [1000], "thread-per-conn": [10, 100] }, lines: 20, runs: RUNS },
      plan,
    ),
};
