/**
 * Load generators of others, to check ours against: wrk and h2load. Each runs on the core that ours would have, with one
 * thread, over HTTP/1.1.
 *
 * @module
 */
import { TICK_US } from "../../lib/sampling/proc_parse.ts";
import { readProc } from "../../lib/sampling/procfs.ts";
import type { CrosscheckRow } from "../../lib/results/rows.ts";

/** What a client saw, but for what the server counted. */
export type Seen = Omit<CrosscheckRow, "experiment" | "connections" | "round" | "served">;

export const OTHERS = ["wrk", "h2load"] as const;
/** One of them. */
export type Other = typeof OTHERS[number];

/** The core of the client. */
export const CLIENT_CPU = 1;
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
  h2load: ({ number, us }) => ({
    requests_per_s: number(/, ([\d.]+) req\/s/),
    mean_us: us(/time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)/), // least, most, mean
    p99_us: null, // it tells no percentiles
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
  /** The number that a pattern finds. @throws {Error} If it finds none. */
  number(pattern: RegExp): number;
  /** A time with its unit, in µs. */
  us(pattern: RegExp): number;
}

/**
 * Reads what a client printed.
 *
 * @param cpuUs What CPU time it took, in µs.
 * @throws {Error} If it is not what this version of the client is known to print, or if not all was answered well.
 */
export function readOther(client: Other, text: string, cpuUs: number): Seen {
  const pick = (pattern: RegExp): string[] => {
    const found = pattern.exec(text);
    if (found === null) throw new Error(`${client} did not print ${pattern}: ${text}`);
    return found.slice(1);
  };
  const number = (pattern: RegExp) => Number(pick(pattern)[0]);
  const us = (pattern: RegExp) => {
    const [value, unit] = pick(pattern);
    return Number(value) * UNITS[unit as keyof typeof UNITS];
  };
  const seen = CLIENTS[client]({ number, us });
  if (FAULTS.test(text) || seen.answered === 0) throw new Error(`${client} saw failures: ${text}`);
  return { client, ...seen, client_cpu_us_per_request: cpuUs / seen.answered };
}

/** CPU time in µs of the children of this process that have ended and were waited for: proc(5), in ticks of 10 ms. */
function childrenCpuUs(): number {
  const fields = readProc("/proc/self/stat").split(") ")[1]!.split(" "); // behind the name, from the third on
  return (Number(fields[13]) + Number(fields[14])) * TICK_US;
}

/**
 * Lets a client ask for `/` on `connections` connections. It dies with this process. Needs `--allow-run`; Linux only.
 *
 * @throws {Error} If it fails, or prints something else than expected.
 */
export async function runOther(client: Other, port: number, connections: number, seconds: number): Promise<Seen> {
  const flags = FLAGS[client](connections, Math.ceil(seconds + WARMUP_SECONDS)).split(" ");
  const args = [
    "--pdeathsig",
    "KILL",
    "taskset",
    "-c",
    String(CLIENT_CPU),
    client,
    ...flags,
    `http://127.0.0.1:${port}/`,
  ];
  const before = childrenCpuUs();
  const { code, stdout } = await new Deno.Command("setpriv", { args, stdin: "null", stderr: "inherit" }).output();
  const text = new TextDecoder().decode(stdout);
  if (code !== 0) throw new Error(`${client} ended with ${code}: ${text}`);
  return readOther(client, text, childrenCpuUs() - before);
}
