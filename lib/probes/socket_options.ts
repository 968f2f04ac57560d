/**
 * What socket options are worth, one at a time: epoll.ts against copies of it that differ in one line, in pairs.
 *
 * @module
 */
import { find } from "../catalogue/catalogue.ts";
import { compare } from "../compare/compare.ts";
import { cannotChange, type Change, PatchedCopies } from "../catalogue/patched_copies.ts";
import { linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import type { ComparisonRow } from "../results/rows.ts";
import { isVoid, whyNoRatio } from "../tables/comparison.ts";

const NAME = "socket-options";
const SERVER = "epoll";
// Entries of its table of options.
const NODELAY = '  [IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"],\n';
const KEEPALIVE = '  [SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE"],\n';
// <asm-generic/socket.h>: SO_SNDBUF 7, SO_RCVBUF 8. Accepted sockets inherit them from the listener.
// The kernel doubles a size of buffers, and cuts it to net.core.rmem_max and wmem_max before that, see socket(7).
const set = (option: number, value: number) => `  [SOL_SOCKET, ${option}, ${value}, "an option"],\n`;
const BUFFER_BYTES = 256 * 1024;

/** The options, each as a change of the experiment. */
export const OPTIONS: readonly Change[] = [
  { name: "no-nodelay", replace: NODELAY, by: "" },
  { name: "no-keepalive", replace: KEEPALIVE, by: "" },
  { name: "large-buffers", replace: NODELAY, by: NODELAY + set(7, BUFFER_BYTES) + set(8, BUFFER_BYTES) },
  { name: "backlog-128", replace: "const BACKLOG = 4096;", by: "const BACKLOG = 128;" },
];

const METRICS = { p99_us: "p99_us_ratio", p50_us: "p50_us_ratio", cpu_us_per_request: "cpu_us_per_request_ratio" };

/** How it is measured: see lib/compare/compare.ts. */
export interface Extent {
  options: readonly Change[];
  connections: number;
  rounds: number;
  slices: number;
  seconds: number;
  settleSeconds: number;
}

/** A ratio as rows of this probe: one without a value, and why, where a bound is one of the two figures. */
export function ratioRows(row: ComparisonRow): ProbeRow[] {
  const { candidate, metric, ratio, ratio_low, ratio_high, rounds } = row;
  const name = METRICS[metric as keyof typeof METRICS];
  if (name === undefined) return [];
  if (ratio === null || isVoid(row)) return rowsOf(NAME, candidate).missing([name], whyNoRatio(row));
  const note = "option / none, at half of what the slower reaches; 1: no difference";
  const figures = { value: ratio, low: ratio_low, high: ratio_high, runs: rounds };
  return [{ ...rowsOf(NAME, candidate).missing([name], note)[0]!, ...figures }];
}

/** Compares each changed copy with the experiment, in interleaved rounds at a fixed rate. */
export async function measureOptions({ options, ...extent }: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  using changed = new PatchedCopies();
  const { rows } = await compare(find(SERVER), options.map((change) => changed.make(SERVER, change)), {
    ...extent,
    scenario: "rate",
    ratePerS: "half",
    heavy: null,
    signal: plan.signal,
    onRound: (round, candidate) => plan.onProgress(`${candidate}, round ${round} of ${extent.rounds}`),
  });
  plan.signal.throwIfAborted();
  return rows.flatMap(ratioRows);
}

export const socketOptions: Probe = {
  name: NAME,
  title: "Socket options, one at a time: TCP_NODELAY, SO_KEEPALIVE, buffers, backlog",
  obstacle: () => linuxOnly() ?? cannotChange(),
  run: (plan) =>
    measureOptions(
      plan.quick
        ? { options: OPTIONS.slice(0, 1), connections: 20, rounds: 2, slices: 2, seconds: 0.1, settleSeconds: 0.5 }
        : { options: OPTIONS, connections: 100, rounds: RUNS, slices: 2, seconds: 0.15, settleSeconds: 0.5 },
      plan,
    ),
};
