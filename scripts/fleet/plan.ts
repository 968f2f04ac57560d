/**
 * How many hosts a rate takes, and what they cost the coordinator: from figures, in words.
 *
 * @module
 */
import { BEAT_MS } from "../../lib/fleet/protocol.ts";
import type { ProbeRow } from "../../lib/results/rows.ts";
import type { Stored } from "../../lib/results/stored.ts";
import { bytes, count, counted } from "../../lib/text/format.ts";
import { medianOf } from "../../lib/timing/stats.ts";

/** The rows of what agents cost, and how they say the number of agents. */
export const PROBE = "fleet";
export const variantOf = (agents: number): string => `${agents} agents`;

/** How busy a load process may be: it has to be awake when a request is due. */
const BUSY_SHARE = 0.5;
/** Load cores of a host. */
const CORES = [1, 4, 16];

/** What stands in the document where nothing is measured. */
export const NO_PLAN = "Not measured yet.";

/** What a plan rests on, all of it measured on one machine. */
export interface Basis {
  /** Requests per second. */
  rate: number;
  /** CPU time of the load generator per request; null: not measured. */
  cpuUs: number | null;
  /** What agents cost, and how many they were. */
  rows: readonly ProbeRow[];
  agents: number;
  /** Where that was measured. */
  machine: string;
}

/** How many load processes make a rate, each on a core. */
export const processesFor = (rate: number, cpuUs: number): number => Math.ceil(rate * cpuUs / 1e6 / BUSY_SHARE);

/** CPU time of the load generator per request, in µs, in the newest full study of a machine; null: there is none. */
export function generatorCpuUs({ studies }: Pick<Stored, "studies">): number | null {
  const study = studies.crosscheck.findLast(({ quick }) => !quick);
  const rows = study?.rows.filter(({ client }) => client === "lab") ?? [];
  return medianOf(rows.map((row) => row.client_cpu_us_per_request));
}

/** The plan that the newest full study of a machine gives; null: there is none. */
export function storedPlan(stored: Pick<Stored, "studies" | "machine">, rate: number): string | null {
  const study = stored.studies.probe.findLast(({ quick, rows }) => !quick && rows[0]?.probe === PROBE);
  if (study === undefined) return null;
  const agents = parseInt(study.rows[0]!.variant!);
  return planOf({ rate, agents, rows: study.rows, machine: stored.machine, cpuUs: generatorCpuUs(stored) });
}

function hosts({ rate, machine }: Basis, cpuUs: number, processes: number): string[] {
  const needed = counted(processes, "load process", "load processes");
  const cells = CORES.map((cores) => `| ${cores} | ${count(Math.ceil(processes / cores))} |`);
  return [
    `${
      count(rate)
    } requests/s take at least ${needed}, each on a core of its own. In a closed loop the generator needs ` +
    `${count(cpuUs, 1)} µs of CPU time per request on \`${machine}\` (\`deno task crosscheck\`). To send in time, a ` +
    `process may be busy for ${count(100 * BUSY_SHARE)} % of the time.`,
    "",
    "| load cores of a host | hosts |",
    "| -------------------: | ----: |",
    ...cells,
  ];
}

/** The plan in Markdown. What another number of agents costs is estimated in proportion. */
export function planOf(basis: Basis): string {
  const { rows, agents, machine, rate, cpuUs } = basis;
  const processes = cpuUs === null ? null : processesFor(rate, cpuUs);
  const numbers = [...new Set([agents, processes ?? agents])].toSorted((a, b) => a - b);
  const headings = numbers.map((number) =>
    `${counted(number, "agent")}, ${number === agents ? "measured" : "estimated"}`
  );
  const value = (metric: string) => rows.find((row) => row.metric === metric)?.value ?? NaN;
  const line = (name: string, of: number, show: (value: number) => string) =>
    `| ${name} | ${numbers.map((number) => show(of * number / agents)).join(" | ")} |`;
  const whole = (number: number) => count(number);
  const ms = (number: number) => `${count(number, 1)} ms`;
  return [
    ...(cpuUs === null
      ? ["How many hosts it takes is not known: `deno task crosscheck epoll` comes first."]
      : hosts(basis, cpuUs, processes!)),
    "",
    `The next table shows what agents cost the coordinator, if each has one process. It was measured on \`${machine}\` with ` +
    `${count(agents)} agents that make no load.` +
    (numbers.length > 1 ? " The other number of agents is estimated in proportion." : ""),
    "",
    `| | ${headings.join(" | ")} |`,
    `| :-- | ${numbers.map(() => "--:").join(" | ")} |`,
    line("messages of a window", value("window_messages"), whole),
    line("bytes of these", value("window_bytes"), bytes),
    line("barrier, commands and answers", value("window_ms"), ms),
    line("of it: merge of counts and histograms", value("merge_ms"), ms),
    line("heartbeats per second", agents * 1000 / BEAT_MS, whole),
  ].join("\n");
}
