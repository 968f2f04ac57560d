/**
 * Checks the instrument: drives one and the same server by the load generator, wrk and h2load in turn, and prints where
 * they agree and where not. Each turn has a fresh server, so that its own count of answers can be held against the client's.
 *
 * deno task crosscheck epoll --connections 100 --rounds 7
 */
import { shuffle } from "es-toolkit";
import { type Experiment, find } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { LoadGenerator } from "../../lib/load/generator.ts";
import { CLIENT_CPU, OTHERS, runOther, type Seen, WARMUP_SECONDS } from "./clients.ts";
import { experimentCommand, startServer } from "../../lib/server/server.ts";
import { ratioInterval } from "../../lib/timing/stats.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { installLine, isInstalled, TOOLS } from "../../lib/catalogue/tools.ts";
import { table } from "../../lib/text/table.ts";
import type { CrosscheckRow } from "../../lib/results/rows.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import { CROSSCHECK_COLUMNS } from "../../lib/tables/studies.ts";

const USAGE = "Usage: deno task crosscheck [name] [--connections 100] [--rounds 7] [--seconds 3] [--json] [--no-save]";
const SERVER_CPU = 0;
const COMPARED = ["requests_per_s", "client_cpu_us_per_request", "mean_us", "p99_us"] as const;

type Client = (port: number, pid: number, connections: number, seconds: number) => Promise<Seen>;

async function turn(experiment: Experiment, client: Client, round: number, connections: number, seconds: number) {
  await using server = await startServer(experimentCommand(experiment), { cpu: SERVER_CPU });
  const seen = await client(server.port, server.pid, connections, seconds);
  const { stopped } = await server.stop();
  if (stopped === null) throw new Error(`${experiment.name} ended without its stopped line: ${server.stderrTail()}`);
  return { experiment: experiment.name, connections, round, ...seen, served: stopped.served } satisfies CrosscheckRow;
}

const lab: Client = async (port, serverPid, connections, seconds) => {
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port }, { cpu: CLIENT_CPU, serverPid });
  await generator.connect(connections);
  const { answered: held } = await generator.ask(); // now the server has them all
  if (held < connections) throw new Error(`${held} of ${connections} connections were answered`);
  const window = await generator.closed({ seconds, warmupSeconds: WARMUP_SECONDS });
  const { answered } = await generator.totals();
  const { requests, client_cpu_us, histogram } = window;
  return {
    client: "lab",
    requests_per_s: requests / window.seconds,
    client_cpu_us_per_request: client_cpu_us / requests,
    mean_us: histogram.mean,
    p99_us: histogram.percentile(99),
    answered,
  };
};

/** Our generator against another's client: each figure as a ratio with its interval, and whether 1 lies in it. */
function against(rows: readonly CrosscheckRow[], other: string): string[] {
  const of = (client: string, key: typeof COMPARED[number]) =>
    rows.filter((row) => row.client === client).map((row) => row[key]);
  return COMPARED.flatMap((key) => {
    const ours = of("lab", key);
    const theirs = of(other, key);
    if (theirs.includes(null) || theirs.length === 0) return [];
    const { estimate, low, high } = ratioInterval(ours.map((value, i) => Math.log(value! / theirs[i]!)));
    if (low === null || high === null) {
      return [`${key}: lab / ${other} ${estimate.toFixed(3)}, too few rounds to judge`];
    }
    const verdict = low <= 1 && 1 <= high ? "they agree" : "they do not agree";
    return [`${key}: lab / ${other} ${estimate.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}], ${verdict}`];
  });
}

/** The clients that can be had here, ours first; says which of the others cannot. */
async function clients(): Promise<Client[]> {
  const missing: string[] = [];
  for (const command of ["setpriv", "taskset", ...OTHERS]) if (!await isInstalled(command)) missing.push(command);
  const install = `${missing.join(" and ")}: ${installLine(TOOLS.filter(({ command }) => missing.includes(command)))}`;
  const others = OTHERS.filter((name) => !missing.includes(name));
  if (missing.includes("setpriv") || missing.includes("taskset") || others.length === 0) {
    throw new UsageError(`Not installed: ${install}`);
  }
  if (missing.length > 0) console.error(`Skipped: ${install}`);
  return [lab, ...others.map((name): Client => (port, _, ...load) => runOther(name, port, ...load))];
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["connections", "rounds", "seconds"],
    boolean: ["json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  if (flags._.length > 1) throw new UsageError("Name one experiment.");
  const experiment = find(flags._[0] ?? "epoll");
  const connections = numberFlag("connections", flags.connections ?? "100", { min: 1, max: 10_000, integer: true });
  const rounds = numberFlag("rounds", flags.rounds ?? "7", { min: 1, max: 100, integer: true });
  const seconds = numberFlag("seconds", flags.seconds ?? "3", { min: 1, max: 600 });
  const rows: CrosscheckRow[] = [];
  const all = await clients();
  for (let round = 1; round <= rounds; round++) {
    for (const client of shuffle(all)) rows.push(await turn(experiment, client, round, connections, seconds));
  }
  const lines = OTHERS.flatMap((other) => against(rows, other));
  const off = Math.max(...rows.filter((of) => of.client === "lab").map((of) => Math.abs(of.answered - of.served)));
  lines.push(`answers counted by the lab and by the server: ${off === 0 ? "equal" : `they differ by ${off}`}`);
  if (flags.save) {
    const command =
      `deno task crosscheck ${experiment.name} --connections ${connections} --rounds ${rounds} --seconds ${seconds}`;
    console.error(`Stored ${await writeStudy("crosscheck", rows, { command, quick: rounds < MIN_ROUNDS })}`);
  }
  console.log(flags.json ? JSON.stringify(rows, null, 2) : `${table(rows, CROSSCHECK_COLUMNS)}\n\n${lines.join("\n")}`);
  return off === 0 ? 0 : 1;
});
