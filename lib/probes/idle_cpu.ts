/**
 * What servers use of a core while their clients are silent, and at a rate at which they mostly wait.
 *
 * @module
 */
import { delay } from "@std/async";
import { cpuUs } from "../sampling/process.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { CannotProbe, orMissing, Rig } from "./rig.ts";

const NAME = "idle-cpu";
const SERVERS = ["thread-per-conn", "prefork", "c-threads", "epoll", "io-uring"];
const CONNECTIONS = 100;
const RATE_PER_S = 200;
const METRICS = ["cpu_percent", "cpu_percent_at_rate"] as const;

/** How it is measured. */
export interface Extent {
  servers: readonly string[];
  connections: number;
  /** Windows of each kind, one after the other, and their length. */
  runs: number;
  seconds: number;
}

/**
 * The share of one core, in %, that a process tree uses in the next `seconds`.
 *
 * @throws {CannotProbe} If it ends meanwhile.
 */
export async function cpuPercent(pid: number, seconds: number, signal: AbortSignal): Promise<number> {
  const look = () => ({ at: performance.now(), used: cpuUs(pid) });
  const from = look();
  await delay(seconds * 1000, { signal });
  const to = look();
  if (from.used === null || to.used === null) throw new CannotProbe("the process has ended");
  return (to.used - from.used) / (to.at - from.at) / 10; // µs / ms = ‰
}

async function ofServer(server: string, { connections, runs, seconds }: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, server);
  return await orMissing([rows], METRICS, plan, async () => {
    await using rig = await Rig.start({ server, signal: plan.signal });
    await rig.climber()(connections);
    await rig.open(RATE_PER_S, seconds);
    const silent: number[] = [];
    const asked: number[] = [];
    for (let run = 0; run < runs; run++) {
      silent.push(await cpuPercent(rig.server.pid, seconds, plan.signal));
      const window = await rig.open(RATE_PER_S, seconds);
      asked.push(window.server_cpu_us! / window.seconds / 1e4);
    }
    const clients = `${connections} connected clients`;
    return [
      rows.of(METRICS[0], silent, `of one core, ${clients} that say nothing`),
      rows.of(METRICS[1], asked, `of one core, ${clients} that ask ${RATE_PER_S} times a second together`),
    ];
  });
}

/** Measures one server after the other. */
export const measureIdleCpu = (extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(extent.servers, plan, (server) => server, (server) => ofServer(server, extent, plan));

export const idleCpu: Probe = {
  name: NAME,
  title: "CPU that servers use while they wait",
  obstacle: linuxOnly,
  run: (plan) =>
    measureIdleCpu(
      plan.quick
        ? { servers: ["prefork", "c-threads", "epoll", "io-uring"], connections: CONNECTIONS, runs: 1, seconds: 0.3 }
        : { servers: SERVERS, connections: CONNECTIONS, runs: RUNS, seconds: 0.75 },
      plan,
    ),
};
