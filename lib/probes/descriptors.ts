/**
 * How many clients a server holds with the limit of descriptors that most systems start a process with.
 *
 * A process may raise its soft limit up to the hard one by itself, and runtimes do so at their start. So both limits are set.
 *
 * @module
 */
import { DESCRIPTORS } from "../results/conventions.ts";
import { SILENCE_MS } from "../run/bench.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = DESCRIPTORS.probe;
const SERVER = "epoll";
const METRICS = ["answered", "connected"] as const;

/** How it is measured. */
export interface Extent {
  /** Both limits of the server. */
  limits: readonly number[];
  /** How many come, and stay. */
  clients: number;
  /** So long, without any progress, answers are waited for. */
  silenceMs: number;
  /** Fresh servers of each. */
  runs: number;
}

/** How many a fresh server answers. None of them leaves: whoever waits for a descriptor gets no answer. */
async function count(limit: number, { clients, silenceMs }: Extent, signal: AbortSignal) {
  await using rig = await Rig.start({ server: SERVER, prlimit: [`--nofile=${limit}`], signal });
  const { connected } = await rig.generator.connect(clients, { timeoutMs: silenceMs });
  // The window is wide enough for all: a client that waits for its answer delays no other.
  const { answered } = await rig.generator.ask({ onlyNew: true, window: clients, timeoutMs: silenceMs });
  return { answered, connected };
}

async function ofLimit(limit: number, extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, String(limit));
  const note =
    `${SERVER}; of ${extent.clients} clients; the kernel completes connections that the server cannot accept`;
  return await orMissing([rows], METRICS, plan, async () => {
    const found: Awaited<ReturnType<typeof count>>[] = [];
    for (let run = 0; run < extent.runs; run++) found.push(await count(limit, extent, plan.signal));
    return METRICS.map((metric) => rows.of(metric, found.map((each) => each[metric]), note));
  });
}

/** Counts the answered clients within each limit. */
export const measureDescriptors = (extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(extent.limits, plan, (limit) => `${limit} descriptors`, (limit) => ofLimit(limit, extent, plan));

export const descriptors: Probe = {
  name: NAME,
  title: "Clients of a server that may open the usual number of descriptors",
  obstacle: linuxOnly,
  run: (plan) =>
    measureDescriptors({
      limits: [DESCRIPTORS.usual],
      clients: DESCRIPTORS.clients,
      silenceMs: plan.quick ? SILENCE_MS / 4 : SILENCE_MS / 2,
      runs: plan.quick ? 1 : RUNS,
    }, plan),
};
