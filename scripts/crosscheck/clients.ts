/**
 * Load generators of others, to check ours against: wrk and h2load. Each runs on the core that ours would have, with one
 * thread, over HTTP/1.1.
 *
 * @module
 */
import { KnownFailure } from "../../lib/cli/errors.ts";
import { ratioInterval } from "../../lib/timing/stats.ts";
import { TICK_US } from "../../lib/sampling/proc_parse.ts";
import { readProc } from "../../lib/sampling/procfs.ts";
import type { CrosscheckRow } from "../../lib/results/rows.ts";

/** What a client saw, but for what the server counted. */
export type Seen = Omit<CrosscheckRow, "experiment" | "connections" | "round" | "served">;

export const OTHERS = ["wrk", "h2load"] as const;
/** One of them. */
export type Other = typeof OTHERS[number];

/** Another client has failed, or prints what this lab cannot read: it is left out, and the others go on. */
export class ClientFailed extends KnownFailure {
  override readonly name = "ClientFailed";
}

/** Seconds that ours runs before it counts. The others have no warm-up that counts: they run longer by as much. */
export const WARMUP_SECONDS = 1;

const UNITS = { us: 1, ms: 1e3, s: 1e6 };

/** How each is called, and what it prints. */
const CLIENTS: Record<Other, (text: Printed) => Omit<Seen, "client" | "client_cpu_us_per_request">> = {
  wrk: ({ number, us }) => ({
    requests_per_s: number(/Requests\/sec:\s+([\d.]+)/),
    mean_us: us(/Latency\s+([\d.]+)(us|ms|s)/),
    p99_us: us(/99%\s+([\d.]+)(us|ms|s)/),
    answered: number(/(\d+) requests in/),
  }),
  h2load: ({ number, us, text }) => ({
    requests_per_s: number(/, ([\d.]+) req\/s/),
    mean_us: us(request(text, "mean")),
    p99_us: request(text, "p99") === null ? null : us(request(text, "p99")),
    answered: number(/, (\d+) succeeded/),
  }),
};

const FLAGS: Record<Other, (connections: number, seconds: number) => string> = {
  wrk: (connections, seconds) => `-t1 -c${connections} -d${seconds}s --latency`,
  h2load: (connections, seconds) => `--h1 -t1 -c${connections} -D${seconds}`,
};

/** What each prints only if something went wrong. */
const FAULTS = /Non-2xx|Socket errors|[1-9]\d* (failed|errored|timeout)/;

/** The output of a client. */
interface Printed {
  text: string;
  /** The number that a pattern finds. @throws {Error} If it finds none. */
  number(pattern: RegExp): number;
  /** A time with its unit, in µs. */
  us(pattern: RegExp | null): number;
}

/**
 * The pattern that finds a column of h2load's line on requests. Versions have other columns, so the heading counts: min, max,
 * mean, sd until 1.64, and min, max, median, p95, p99, mean, sd since. Null: this version has no such column.
 */
function request(text: string, column: string): RegExp | null {
  const headings = /^ +(min +max .*)$/m.exec(text)?.[1]?.trim().split(/ +/) ?? [];
  const at = headings.indexOf(column);
  return at < 0 ? null : new RegExp(`time for request:${"\\s+\\S+".repeat(at)}\\s+([\\d.]+)(us|ms|s)`);
}

/**
 * Reads what a client printed.
 *
 * @param cpuUs What CPU time it took, in µs.
 * @throws {ClientFailed} If it is not what this version of the client is known to print, or if not all was answered well.
 */
export function readOther(client: Other, text: string, cpuUs: number): Seen {
  const pick = (pattern: RegExp | null): string[] => {
    const found = pattern?.exec(text);
    if (found) return found.slice(1);
    throw new ClientFailed(`${client} prints what this lab cannot read: it may be another version. It said:\n${text}`);
  };
  const number = (pattern: RegExp) => Number(pick(pattern)[0]);
  const us = (pattern: RegExp | null) => {
    const [value, unit] = pick(pattern);
    return Number(value) * UNITS[unit as keyof typeof UNITS];
  };
  const seen = CLIENTS[client]({ text, number, us });
  if (FAULTS.test(text) || seen.answered === 0) throw new ClientFailed(`${client} saw failures:\n${text}`);
  return { client, ...seen, client_cpu_us_per_request: cpuUs / seen.answered };
}

/** CPU time in µs of the children of this process that have ended and were waited for: proc(5), in ticks of 10 ms. */
function childrenCpuUs(): number {
  const fields = readProc("/proc/self/stat").split(") ")[1]!.split(" "); // behind the name, from the third on
  return (Number(fields[13]) + Number(fields[14])) * TICK_US;
}

/** What another client is to do. */
export interface OtherLoad {
  port: number;
  connections: number;
  seconds: number;
  /** The core that it runs on. */
  cpu: number;
  /** Ends it. */
  signal: AbortSignal;
}

/**
 * Lets a client ask for `/` on `connections` connections. It dies with this process. Needs `--allow-run`; Linux only.
 *
 * @throws {ClientFailed} If it fails, or prints something else than expected.
 */
export async function runOther(client: Other, load: OtherLoad): Promise<Seen> {
  const { port, connections, seconds, cpu, signal } = load;
  const flags = FLAGS[client](connections, Math.ceil(seconds + WARMUP_SECONDS)).split(" ");
  const args = [
    "--pdeathsig",
    "KILL",
    "taskset",
    "-c",
    String(cpu),
    client,
    ...flags,
    `http://127.0.0.1:${port}/`,
  ];
  const before = childrenCpuUs();
  // Detached: Ctrl-C in the terminal reaches this process alone, which then ends things in its order.
  const command = new Deno.Command("setpriv", { args, stdin: "null", stderr: "inherit", detached: true, signal });
  const { code, stdout } = await command.output();
  const text = new TextDecoder().decode(stdout);
  if (code !== 0) throw new ClientFailed(`${client} ended with exit code ${code}:\n${text}`);
  return readOther(client, text, childrenCpuUs() - before);
}

const COMPARED = ["requests_per_s", "client_cpu_us_per_request", "mean_us", "p99_us"] as const;

/** Our generator against another client: each figure as a ratio over the rounds that both have, and whether 1 is in it. */
export function against(rows: readonly CrosscheckRow[], other: Other): string[] {
  const find = (client: string, round: number) => rows.find((row) => row.client === client && row.round === round);
  return COMPARED.flatMap((key) => {
    const logs = rows.filter(({ client }) => client === other).flatMap((theirs) => {
      const ours = find("lab", theirs.round)?.[key];
      return ours && theirs[key] ? [Math.log(ours / theirs[key])] : []; // h2load has no p99 in older versions
    });
    if (logs.length === 0) return [];
    const { estimate, low, high } = ratioInterval(logs);
    if (low === null || high === null) {
      return [`${key}: lab / ${other} ${estimate.toFixed(3)}, too few rounds to judge`];
    }
    const verdict = low <= 1 && 1 <= high ? "they agree" : "they do not agree";
    return [`${key}: lab / ${other} ${estimate.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}], ${verdict}`];
  });
}
