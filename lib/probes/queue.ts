/**
 * What becomes of connection N + 1 where N workers serve one connection each.
 *
 * @module
 */
import { SILENCE_MS } from "../run/bench.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = "queue";
const METRICS = ["answered", "waiting", "connected"] as const;
const MEMORY = "pss_bytes" as const;

/** What is tried. */
export interface Extent {
  workers: number;
  /** Numbers of connections, ascending, by server; each starts where the one before has ended. */
  sizes: Readonly<Record<string, readonly number[]>>;
  /** So long, without any progress, answers are waited for. */
  silenceMs: number;
  /** Fresh servers of each. */
  runs: number;
}

/** What one server made of one number of connections. Its memory is reported where each worker has a connection. */
interface Count {
  size: number;
  answered: number;
  waiting: number;
  connected: number;
  pss_bytes: number | null;
}

async function count(server: string, { workers, sizes, silenceMs }: Extent, signal: AbortSignal): Promise<Count[]> {
  await using rig = await Rig.start({ server, args: ["--workers", String(workers)], signal });
  const counts: Count[] = [];
  let connected = 0;
  let answered = 0;
  for (const size of sizes[server]!) {
    signal.throwIfAborted();
    connected += (await rig.generator.connect(size - connected, { timeoutMs: silenceMs })).connected;
    // The window is wide enough for all: a client that waits for its answer delays no other.
    answered += (await rig.generator.ask({ onlyNew: true, window: size, timeoutMs: silenceMs })).answered;
    const pss_bytes = size === workers ? rig.look().pss_bytes : null;
    counts.push({ size, answered, waiting: connected - answered, connected, pss_bytes });
  }
  return counts;
}

async function ofServer(server: string, extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const { sizes, runs, workers, silenceMs } = extent;
  const wanted = sizes[server]!;
  const of = (size: number) => rowsOf(NAME, `${server} ${size}`);
  return await orMissing(wanted.map(of), METRICS, plan, async () => {
    const found: Count[] = [];
    const note = `of ${workers} workers; waited for ${silenceMs} ms without an answer`;
    for (let run = 0; run < runs; run++) found.push(...await count(server, extent, plan.signal));
    return wanted.flatMap((size) => {
      const here = found.filter((count) => count.size === size);
      const metrics = [...METRICS, ...(size === workers ? [MEMORY] : [])];
      return metrics.map((metric) => of(size).of(metric, here.map((count) => count[metric]), note));
    });
  });
}

/** Counts the answered clients, one server after the other. */
export const measureQueue = (extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(Object.keys(extent.sizes), plan, (server) => server, (server) => ofServer(server, extent, plan));

const WORKERS = 100;
const MANY = 10_000;

export const queue: Probe = {
  name: NAME,
  title: "A hundred workers: which clients wait when more connections come",
  obstacle: linuxOnly,
  run: (plan) =>
    measureQueue({
      workers: WORKERS,
      silenceMs: plan.quick ? SILENCE_MS / 4 : SILENCE_MS / 2,
      runs: plan.quick ? 1 : RUNS,
      sizes: {
        prefork: [WORKERS, WORKERS + 1],
        "worker-pool": plan.quick ? [WORKERS, WORKERS + 1] : [WORKERS, WORKERS + 1, MANY],
      },
    }, plan),
};
