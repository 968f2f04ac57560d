/**
 * Checks the instrument: drives one and the same server by the load generator and by wrk in turn, and prints where they
 * agree and where not. Each turn has a fresh server, so that its own count of answers can be held against the client's.
 *
 * deno task crosscheck epoll --connections 100 --rounds 5
 */
import { type Experiment, find } from "../lib/catalogue.ts";
import { UsageError } from "../lib/errors.ts";
import { numberFlag, parseFlags, runScript } from "../lib/flags.ts";
import { type Column, count, table } from "../lib/format.ts";
import { LoadGenerator } from "../lib/load.ts";
import { experimentCommand, startServer } from "../lib/server.ts";
import { type Interval, ratioInterval } from "../lib/stats.ts";
import { installLine, isInstalled, TOOLS } from "../lib/tools.ts";

const USAGE = "Usage: deno task crosscheck [name] [--connections 100] [--rounds 5] [--seconds 3] [--json]";
const SERVER_CPU = 0, CLIENT_CPU = 1, WARMUP_SECONDS = 1;

/** What one client saw in one turn. `served` is the server's count of the same time. */
interface Turn {
  client: "lab" | "wrk";
  round: number;
  requests_per_s: number;
  client_cpu_us_per_request: number;
  p99_us: number;
  answered: number;
  served: number;
}

async function withServer<T>(experiment: Experiment, body: (port: number, pid: number) => Promise<T>) {
  await using server = await startServer(experimentCommand(experiment), { cpu: SERVER_CPU });
  const seen = await body(server.port, server.pid);
  const { stopped } = await server.stop();
  if (stopped === null) throw new Error(`${experiment.name} ended without its stopped line: ${server.stderrTail()}`);
  return { ...seen, served: stopped.served };
}

function lab(experiment: Experiment, round: number, connections: number, seconds: number): Promise<Turn> {
  return withServer(experiment, async (port, serverPid) => {
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port }, { cpu: CLIENT_CPU, serverPid });
    await generator.connect(connections);
    const [window] = await generator.closed({ seconds, warmupSeconds: WARMUP_SECONDS });
    const { answered } = await generator.totals();
    const { requests, client_cpu_us, histogram } = window!;
    return {
      client: "lab" as const,
      round,
      requests_per_s: requests / window!.seconds,
      client_cpu_us_per_request: client_cpu_us / requests,
      p99_us: histogram.percentile(99),
      answered,
    };
  });
}

/** The numbers that a pattern finds in wrk's output or in that of the shell's `times`. */
function pick(text: string, pattern: RegExp): number[] {
  const found = pattern.exec(text);
  if (found === null) throw new Error(`wrk did not print ${pattern}: ${text}`);
  return found.slice(1).map(Number);
}

function wrk(experiment: Experiment, round: number, connections: number, seconds: number): Promise<Turn> {
  return withServer(experiment, async (port) => {
    // The shell's `times` tells the CPU time of its children; wrk has no warm-up, so its time is longer by ours.
    const duration = Math.ceil(seconds + WARMUP_SECONDS);
    const load = `wrk -t1 -c${connections} -d${duration}s --latency http://127.0.0.1:${port}/; times`;
    const args = ["-c", String(CLIENT_CPU), "sh", "-c", load];
    const { code, stdout } = await new Deno.Command("taskset", { args, stdin: "null", stderr: "inherit" }).output();
    const text = new TextDecoder().decode(stdout);
    if (code !== 0) throw new Error(`wrk ended with ${code}: ${text}`);
    const [answered] = pick(text, /(\d+) requests in/);
    const [requestsPerS] = pick(text, /Requests\/sec:\s+([\d.]+)/);
    const [p99, unit] = /99%\s+([\d.]+)(us|ms|s)/.exec(text)?.slice(1) ?? [];
    const [userM, userS, systemM, systemS] = pick(text, /\n(\d+)m([\d.]+)s (\d+)m([\d.]+)s\s*$/);
    const cpuUs = ((userM! + systemM!) * 60 + userS! + systemS!) * 1e6;
    return {
      client: "wrk" as const,
      round,
      requests_per_s: requestsPerS!,
      client_cpu_us_per_request: cpuUs / answered!,
      p99_us: Number(p99) * ({ us: 1, ms: 1e3, s: 1e6 }[unit!] ?? NaN),
      answered: answered!,
    };
  });
}

const COLUMNS: Column<Turn>[] = [
  { heading: "round", cell: (of) => count(of.round) },
  { heading: "client", cell: (of) => of.client, left: true },
  { heading: "requests/s", cell: (of) => count(of.requests_per_s) },
  { heading: "client CPU-µs\n/request", cell: (of) => count(of.client_cpu_us_per_request, 2) },
  { heading: "p99 µs", cell: (of) => count(of.p99_us) },
  { heading: "answers that\nthe client counted", cell: (of) => count(of.answered) },
  { heading: "the server\ncounted", cell: (of) => count(of.served) },
];

function ratios(turns: Turn[], key: "requests_per_s" | "client_cpu_us_per_request" | "p99_us"): Interval {
  const of = (client: string) => turns.filter((turn) => turn.client === client).map((turn) => turn[key]);
  const ours = of("lab"), theirs = of("wrk");
  return ratioInterval(ours.map((value, i) => Math.log(value / theirs[i]!)));
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { string: ["connections", "rounds", "seconds"], boolean: ["json"] });
  if (flags._.length > 1) throw new UsageError("Name one experiment.");
  const experiment = find(flags._[0] ?? "epoll");
  const connections = numberFlag("connections", flags.connections ?? "100", { min: 1, max: 10_000, integer: true });
  const rounds = numberFlag("rounds", flags.rounds ?? "5", { min: 1, max: 100, integer: true });
  const seconds = numberFlag("seconds", flags.seconds ?? "3", { min: 1, max: 600 });
  for (const command of ["wrk", "taskset"]) {
    const tool = TOOLS.find((tool) => tool.command === command)!;
    if (!await isInstalled(command)) {
      throw new UsageError(`${command} is missing: ${installLine([tool], Deno.build.os)}`);
    }
  }
  const turns: Turn[] = [];
  for (let round = 1; round <= rounds; round++) {
    const clients = round % 2 === 1 ? [lab, wrk] : [wrk, lab];
    for (const client of clients) turns.push(await client(experiment, round, connections, seconds));
  }
  const lines = (["requests_per_s", "client_cpu_us_per_request", "p99_us"] as const).map((key) => {
    const { estimate, low, high } = ratios(turns, key);
    return `${key}: lab / wrk ${estimate.toFixed(3)}, 98 % interval ${low.toFixed(3)} to ${high.toFixed(3)}`;
  });
  const off = Math.max(...turns.filter((of) => of.client === "lab").map((of) => Math.abs(of.answered - of.served)));
  lines.push(`answers counted by the lab and by the server: ${off === 0 ? "equal" : `they differ by ${off}`}`);
  console.log(flags.json ? JSON.stringify(turns, null, 2) : `${table(turns, COLUMNS)}\n\n${lines.join("\n")}`);
  return off === 0 ? 0 : 1;
});
