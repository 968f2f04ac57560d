/**
 * Checks the instrument: drives one and the same server by the load generator, wrk and h2load in turn, and prints where
 * they agree and where not. Each turn has a fresh server, so that its own count of answers can be held against the client's.
 *
 * deno task crosscheck epoll --connections 100 --rounds 7
 */
import { shuffle } from "es-toolkit";
import { type Experiment, findHttp } from "../../lib/catalogue/catalogue.ts";
import { KnownFailure, Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { openBench } from "../../lib/run/bench.ts";
import { onePair } from "../../lib/run/setup.ts";
import { against, OTHERS, runOther, type Seen, WARMUP_SECONDS } from "./clients.ts";
import { corePair } from "../../lib/sampling/cores.ts";
import { type Server, StartError } from "../../lib/server/server.ts";
import { startSubject } from "../../lib/server/subject.ts";
import { errorsByKind } from "../../lib/results/findings.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { installLine, isInstalled, TOOLS } from "../../lib/catalogue/tools.ts";
import { table } from "../../lib/text/table.ts";
import type { CrosscheckRow } from "../../lib/results/rows.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import { CROSSCHECK_COLUMNS } from "../../lib/tables/studies.ts";

const USAGE = `Usage: deno task crosscheck [name] [--connections 100] [--rounds 7] [--seconds 3]
       [--json] [--no-save]
       Drives a server by the load generator of this lab, by wrk and by h2load, and
       compares what they measure. It needs two cores.`;

/** What each turn measures. */
interface Load {
  connections: number;
  seconds: number;
  signal: AbortSignal;
}

/** A load generator, ours or another, in one turn with a fresh server. */
interface Client {
  name: CrosscheckRow["client"];
  turn: (experiment: Experiment, load: Load) => Promise<Seen & { served: number }>;
}

/** What a server says that it has served. */
async function servedBy(server: Server, name: string): Promise<number> {
  const { stopped } = await server.stop();
  if (stopped !== null) return stopped.served;
  throw new KnownFailure(`${name} ended without its stopped line. ${server.stderrTail()}`.trim());
}

const LAB: Client = {
  name: "lab",
  turn: async (experiment, { connections, seconds, signal }) => {
    await using bench = await openBench(experiment, { signal, setup: onePair() }); // one core, as the other clients have
    const { server, generator } = bench;
    const onAbort = () => void generator.stop(); // a command that runs fails then
    signal.addEventListener("abort", onAbort, { once: true });
    await generator.connect(connections);
    const { answered: held } = await generator.ask(); // now the server has them all
    if (held < connections) throw new KnownFailure(`${held} of ${connections} connections were answered`);
    const window = await generator.closed({ seconds, warmupSeconds: WARMUP_SECONDS });
    const failed = errorsByKind(window.errors);
    if (failed !== "" || window.lost > 0) throw new KnownFailure(`${experiment.name}: ${window.lost} lost, ${failed}`);
    const { answered } = await generator.totals();
    signal.removeEventListener("abort", onAbort);
    return {
      client: "lab",
      requests_per_s: window.requests / window.seconds,
      client_cpu_us_per_request: window.client_cpu_us / window.requests,
      mean_us: window.histogram.mean,
      p99_us: window.histogram.percentile(99),
      answered,
      served: await servedBy(server, experiment.name),
    };
  },
};

const other = (name: typeof OTHERS[number], cores: { server: number; load: number }): Client => ({
  name,
  turn: async (experiment, load) => {
    await using server = await startSubject(experiment, { cpu: cores.server, signal: load.signal });
    const seen = await runOther(name, { ...load, port: server.port, cpu: cores.load });
    return { ...seen, served: await servedBy(server, experiment.name) };
  },
});

/**
 * The clients that can be had here, ours first; says which of the others cannot.
 *
 * @throws {Unavailable} If there is nothing to compare with, or no core for each side.
 */
async function clients(): Promise<Client[]> {
  const cores = corePair();
  if (cores === null) throw new Unavailable("crosscheck needs two cores: on one, clients and server slow each other.");
  const missing: string[] = [];
  for (const command of ["setpriv", "taskset", ...OTHERS]) if (!await isInstalled(command)) missing.push(command);
  const install = `${missing.join(" and ")}: ${installLine(TOOLS.filter(({ command }) => missing.includes(command)))}`;
  const others = OTHERS.filter((name) => !missing.includes(name));
  if (missing.includes("setpriv") || missing.includes("taskset") || others.length === 0) {
    throw new Unavailable(`Not installed: ${install}`);
  }
  if (missing.length > 0) console.error(`Skipped: ${install}`);
  return [LAB, ...others.map((name) => other(name, cores))];
}

/** All turns. A client that fails is left out from then on, with the reason; the rounds of the others are kept. */
async function measure(experiment: Experiment, all: readonly Client[], rounds: number, load: Load) {
  const rows: CrosscheckRow[] = [];
  const failed = new Map<string, string>();
  const { connections, signal } = load;
  for (let round = 1; round <= rounds && !signal.aborted; round++) {
    const begun: CrosscheckRow[] = [];
    for (const { name, turn } of shuffle(all.filter(({ name }) => !failed.has(name)))) {
      if (signal.aborted) break;
      try {
        const { served, ...seen } = await turn(experiment, load);
        begun.push({ experiment: experiment.name, connections, round, ...seen, served });
      } catch (error) {
        if (signal.aborted) break; // the round under way is lost, those before it are not
        if (!(error instanceof KnownFailure || error instanceof StartError)) throw error;
        failed.set(name, error.message);
        console.error(`${name} is left out from round ${round} on: ${error.message}`);
      }
    }
    if (signal.aborted) break;
    rows.push(...begun);
    console.error(`Round ${round} of ${rounds} is over.`);
  }
  return { rows, failed };
}

/** How far the lab and the server disagree on the number of answers. */
const difference = (rows: readonly CrosscheckRow[]): number =>
  Math.max(0, ...rows.filter((row) => row.client === "lab").map((row) => Math.abs(row.answered - row.served)));

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["connections", "rounds", "seconds"],
    boolean: ["json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  if (flags._.length > 1) throw new UsageError("Name one experiment.");
  const experiment = findHttp(flags._[0] ?? "epoll");
  const connections = numberFlag("connections", flags.connections ?? "100", { min: 1, max: 10_000, integer: true });
  const rounds = numberFlag("rounds", flags.rounds ?? "7", { min: 1, max: 100, integer: true });
  const seconds = numberFlag("seconds", flags.seconds ?? "3", { min: 1, max: 600 });
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const all = await clients();
  const storing = new Storing(flags.save);
  await storing.begin();
  const { rows, failed } = await measure(experiment, all, rounds, { connections, seconds, signal });
  if (rows.length > 0) {
    const size = ["--connections", String(connections), "--rounds", String(rounds), "--seconds", String(seconds)];
    const command = taskLine("crosscheck", [experiment.name, ...size]);
    await storing.add(() => writeStudy("crosscheck", rows, { command, quick: rounds < MIN_ROUNDS }));
  }
  const off = difference(rows);
  const lines = OTHERS.flatMap((other) => against(rows, other));
  lines.push(`answers counted by the lab and by the server: ${off === 0 ? "equal" : `they differ by ${off}`}`);
  const text = rows.length === 0
    ? "Nothing was measured."
    : `${table(rows, CROSSCHECK_COLUMNS, outputColumns())}\n\n${lines.join("\n")}`;
  const isEmpty = signal.aborted && rows.length === 0;
  if (flags.json || !isEmpty) console.log(flags.json ? JSON.stringify(rows, null, 2) : text);
  storing.finish();
  if (signal.aborted) return endInterrupted(new Set(rows.map(({ round }) => round)).size, "round", flags.save);
  return off === 0 && failed.size === 0 && rows.length > 0 ? EXIT.ok : EXIT.failed;
});
