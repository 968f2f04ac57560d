/**
 * How many hosts a rate takes, and what they cost the coordinator: from figures, in words.
 *
 * @module
 */
import { BEAT_MS } from "../../lib/fleet/protocol.ts";
import type { ProbeRow } from "../../lib/results/rows.ts";
import { bytes, count } from "../../lib/text/format.ts";

/** How busy a load process may be: it has to be awake when a request is due. */
const BUSY_SHARE = 0.5;
/** Load cores of a host. */
const CORES = [1, 4, 16];

/** What a plan rests on. */
export interface Basis {
  /** Requests per second. */
  rate: number;
  /** CPU time of the load generator per request, and the machine on which it was measured; null: not measured. */
  cpu: { us: number; machine: string } | null;
  /** What agents cost, and how many they were. */
  rows: readonly ProbeRow[];
  agents: number;
  /** Where that was measured. */
  machine: string;
}

/** How many load processes make a rate, each on a core. */
export const processesFor = (rate: number, cpuUs: number): number => Math.ceil(rate * cpuUs / 1e6 / BUSY_SHARE);

function hosts({ rate, cpu }: Basis, processes: number): string[] {
  const { us, machine } = cpu!;
  const cells = CORES.map((cores) => `| ${cores} | ${count(Math.ceil(processes / cores))} |`);
  return [
    `${count(rate)} requests/s take ${
      count(processes)
    } load processes, a core each: in a closed loop the generator needs ` +
    `${count(us, 1)} µs of CPU time per request on \`${machine}\` (\`deno task crosscheck\`), and to send in time no ` +
    `process is to be busy for more than ${count(100 * BUSY_SHARE)} % of it.`,
    "",
    "| load cores of a host | hosts |",
    "| -------------------: | ----: |",
    ...cells,
  ];
}

/** The plan in Markdown. What other numbers of agents cost is in proportion. */
export function planOf(basis: Basis): string {
  const { rows, agents, machine, rate, cpu } = basis;
  const processes = cpu === null ? null : processesFor(rate, cpu.us);
  const numbers = [...new Set([agents, processes ?? agents])].toSorted((a, b) => a - b);
  const value = (metric: string) => rows.find((row) => row.metric === metric)?.value ?? NaN;
  const line = (name: string, of: number, show: (value: number) => string) =>
    `| ${name} | ${numbers.map((number) => show(of * number / agents)).join(" | ")} |`;
  const whole = (number: number) => count(number);
  const ms = (number: number) => `${count(number, 1)} ms`;
  return [
    ...(cpu === null
      ? ["How many hosts it takes is not known: `deno task crosscheck epoll` comes first."]
      : hosts(basis, processes!)),
    "",
    `What they cost the coordinator if each of these processes is an agent, measured on \`${machine}\` with ${
      count(agents)
    } agents that make no load; another number of them is in proportion:`,
    "",
    `| | ${numbers.map((number) => `${count(number)} agents`).join(" | ")} |`,
    `| :-- | ${numbers.map(() => "--:").join(" | ")} |`,
    line("messages of a window", value("window_messages"), whole),
    line("bytes of these", value("window_bytes"), bytes),
    line("barrier, commands and answers", value("window_ms"), ms),
    line("of it: merge of counts and histograms", value("merge_ms"), ms),
    line("heartbeats per second", agents * 1000 / BEAT_MS, whole),
  ].join("\n");
}
