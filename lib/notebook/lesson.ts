/**
 * What the cells of a lesson do besides lib/notebook/show.ts: they show source, hold a prediction against what came out, and run
 * small experiments that need a picture of their own. What cannot run here is shown as skipped, in the same kind of output.
 *
 * @module
 */
import { find } from "../catalogue/catalogue.ts";
import type { LinesSpec, RankSpec, Value } from "../charts/config.ts";
import { type Unit, written } from "../charts/theme.ts";
import { UsageError } from "../cli/errors.ts";
import { count } from "../text/format.ts";
import { runC } from "./c_program.ts";
import { difference, excerpt } from "./excerpt.ts";
import { held, waits } from "../charts/figures.ts";
import {
  checkMetric,
  checkNumber,
  checkOptions,
  checkPrediction,
  checkRun,
  checkSizes,
  checkWhole,
  findAll,
} from "./inputs.ts";
import { type Footprint, footprints } from "./footprint.ts";
import { createGuard } from "../run/guard.ts";
import { hostFacts } from "../sampling/host.ts";
import { isQuick, Picture, showResults, showText } from "./show.ts";
import { heldOf, type Metrics, type Parameters, type Result, type ScenarioName } from "../results/results.ts";
import { runStep } from "../run/step.ts";
import { StartError } from "../server/server.ts";
import { trace } from "./strace.ts";
import { MAX_CLIENTS, steps, type Visit, visit, type VisitPlan } from "./visits.ts";
import type { ReadinessRow } from "../results/rows.ts";

/** Runs something; what cannot run here comes back as the reason, and is thrown no more. */
async function orReason<T>(run: () => Promise<T>): Promise<T | { reason: string }> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return { reason: `${error.failure.ended}: ${error.failure.reason}` };
  }
}

const code = (text: string, language: string) => `\`\`\`${language}\n${text}\n\`\`\``;

/**
 * Shows lines of a file of experiments/, from the line that holds `from` to the one that holds `to`, or to the end of the
 * block.
 *
 * @throws {Error} If they are not there.
 */
export async function showSource(path: string, from: string, to?: string): Promise<void> {
  const { line, text } = excerpt(path, from, to);
  await showText(`experiments/${path}, line ${line}:\n\n${code(text, path.endsWith(".c") ? "c" : "ts")}`);
}

/** Shows what differs between two experiments: lines of the first begin with `-`, those of the second with `+`. */
export async function showDifference(a: string, b: string): Promise<void> {
  const lines = await orReason(() => difference(a, b));
  await showText(typeof lines === "string" ? code(lines, "diff") : lines.reason);
}

/** Compiles a C program, runs it, and shows what it said and how it ended. */
export async function showC(source: string, flags: readonly string[] = []): Promise<void> {
  const said = await orReason(() => runC(source, flags));
  await showText(
    "reason" in said
      ? said.reason
      : `gcc ${flags.join(" ")}: it ended with **${said.end}** and said:\n\n${code(said.output, "text")}`,
  );
}

/** Shows the system calls of one request. Returns their names, in order; none where they cannot be seen. */
export async function showCalls(name: string): Promise<string[]> {
  const calls = await orReason(() => trace(find(name)));
  await showText(`${name}: ${"reason" in calls ? calls.reason : `\n\n${code(calls.join("\n"), "text")}`}`);
  return "reason" in calls ? [] : calls.map((line) => line.split("(")[0]!);
}

/** Three digits, grouped where there are more. */
function short(value: number): string {
  const rounded = Number(value.toPrecision(3));
  return Math.abs(rounded) >= 1000 ? count(rounded) : String(rounded);
}

/** How many times a prediction what came out is; nothing where one of the two is not above zero: then it says nothing. */
function timesOf(predicted: number | null, measured: number | null | undefined, limit: string): string {
  if (predicted === null || predicted <= 0 || typeof measured !== "number" || measured <= 0) return "";
  const times = short(measured / predicted);
  return times === "1" ? `, ${limit}as you predicted` : `, ${limit}${times} times what you predicted`;
}

/**
 * Holds a prediction against what came out. Null: there is none, or nothing came out.
 *
 * @param bound What is measured is a bound of it, and no figure.
 * @throws {UsageError} If the prediction is no number.
 */
export async function check(
  what: string,
  predicted: number | null | undefined,
  measured: number | null | undefined,
  unit: Unit,
  bound: "at least" | "at most" | null = null,
): Promise<void> {
  const own = predicted ?? null;
  checkPrediction(what, own);
  const limit = bound === null ? "" : `${bound} `;
  const say = (value: number) => unit === "ratio" ? short(value) : written(value, unit);
  const said = own === null ? "you predicted nothing" : `you predicted ${say(own)}`;
  const came = typeof measured === "number" ? `it was ${limit}**${say(measured)}**` : "there is no figure of it here";
  await showText(`${what}: ${said}, ${came}${timesOf(own, measured, limit)}.`);
}

/** A server that clients visit. */
export interface Visited {
  name: string;
  args?: string[];
}

const label = ({ name, args = [] }: Visited) => [name, ...args].join(" ");

function visitsChart(all: { of: Visited; visits: Visit[] | { reason: string } }[], staySeconds: number): LinesSpec {
  return {
    kind: "lines",
    title: `Clients that connect together and stay for ${staySeconds} s after their answer`,
    x: { label: "connections, in the order in which they were made", unit: "connections", scale: "linear" },
    y: { label: "until the answer", unit: "seconds", scale: "linear" },
    series: all.map(({ of, visits }) => ({
      name: label(of),
      family: find(of.name).family,
      points: "reason" in visits
        ? [{ x: 1, value: null, note: visits.reason }]
        : visits.map(({ answered_s }, i) => ({ x: i + 1, value: answered_s, note: "no answer" })),
    })),
  };
}

/**
 * Lets clients visit one server after the other, with a line for each in one chart, and counts its steps. Returns the visits of
 * each; none of one that cannot run here.
 *
 * @throws {UsageError} If a server is not known, or the plan is wrong.
 */
export async function showVisits(servers: Visited[], plan: Omit<VisitPlan, "args">): Promise<Visit[][]> {
  findAll(servers.map(({ name }) => name));
  checkOptions(servers.flatMap(({ args = [] }) => args));
  checkWhole("clients", plan.clients);
  if (plan.clients > MAX_CLIENTS) {
    throw new UsageError(`${plan.clients} clients are too many: take 1 to ${MAX_CLIENTS}.`);
  }
  checkNumber("staySeconds", plan.staySeconds);
  const picture = new Picture();
  const all: { of: Visited; visits: Visit[] | { reason: string } }[] = [];
  for (const of of servers) {
    const visits = await orReason(() => visit(find(of.name), { ...plan, ...(of.args && { args: of.args }) }));
    all.push({ of, visits });
    await picture.draw(visitsChart(all, plan.staySeconds));
  }
  const counted = all.map(({ of, visits }) =>
    `- ${label(of)}: ${"reason" in visits ? visits.reason : `steps: ${steps(visits, plan.staySeconds)}`}`
  );
  await showText(counted.join("\n"));
  return all.map(({ visits }) => "reason" in visits ? [] : visits);
}

/** One line of a chart of footprints: which server, and what of it. */
export type FootprintLine = [name: string, what: "address_bytes" | "pss_bytes"];

const WHAT = { address_bytes: "addresses", pss_bytes: "memory" };

/** Makes connections to one server after the other, and draws what it takes. Returns the footprints of each, by its name. */
export async function showFootprints(
  lines: FootprintLine[],
  sizes: readonly number[],
): Promise<Record<string, Footprint[]>> {
  findAll(lines.map(([name]) => name));
  checkSizes(sizes);
  const picture = new Picture();
  const found: Record<string, Footprint[]> = {};
  const reasons: Record<string, string> = {};
  const points = (name: string, what: FootprintLine[1]): (Value & { x: number })[] =>
    name in reasons
      ? [{ x: sizes[0]!, value: null, note: reasons[name]! }]
      : found[name]!.map((of) => ({ x: of.connections, value: of[what] }));
  const draw = () =>
    picture.draw({
      kind: "lines",
      title: "What a server takes while its connections become more",
      x: { label: "connections that were answered", unit: "connections", scale: "log" },
      y: { label: "of the whole server", unit: "bytes", scale: "log" },
      series: lines.filter(([name]) => name in found).map(([name, what]) => ({
        name: `${name}: ${WHAT[what]}`,
        family: find(name).family,
        points: points(name, what),
      })),
    });
  for (const name of new Set(lines.map(([name]) => name))) {
    found[name] = [];
    const outcome = await orReason(async () => {
      for await (const of of footprints(find(name), sizes)) {
        found[name]!.push(of);
        await draw();
      }
    });
    if (outcome !== undefined) reasons[name] = outcome.reason;
    await draw();
  }
  const skipped = Object.entries(reasons).map(([name, reason]) => `- ${name}: ${reason}`);
  await showText(skipped.length > 0 ? skipped.join("\n") : "All of them ran here.");
  return found;
}

const BATCHES = { whole: 21, quick: 7 };

/** Measures what one wait call costs at each size, with a chart that grows. Returns the rows; none where there is no epoll. */
export async function showWaits(sizes: readonly number[]): Promise<ReadinessRow[]> {
  checkSizes(sizes);
  const picture = new Picture();
  const rows: ReadinessRow[] = [];
  const isLinux = Deno.build.os === "linux";
  if (isLinux) {
    const { measureReadiness } = await import("../probes/readiness.ts"); // it opens the C library of Linux
    for (const size of sizes) {
      rows.push(...await measureReadiness({ sizes: [size], batches: isQuick ? BATCHES.quick : BATCHES.whole }));
      await picture.draw(waits(rows));
    }
  } else {await picture.draw({
      ...waits([]),
      title: `skipped: these calls are those of Linux, this is ${Deno.build.os}`,
    });}
  return rows;
}

/**
 * How steeply the cost of each call grows with the number of descriptors, from the smallest size to the largest: the cost
 * follows its power of this. 0: it does not grow; 1: twice as many cost twice as much.
 */
export function slopes(rows: readonly ReadinessRow[]): Record<string, number> {
  return Object.fromEntries(
    [...Map.groupBy(rows, ({ call }) => call)].map(([call, of]) => {
      const [a, b] = [of[0]!, of.at(-1)!];
      const slope = Math.log(b.wait_us / a.wait_us) / Math.log(b.descriptors / a.descriptors);
      return [call, Math.round(slope * 100) / 100 || 0]; // 0 has no sign
    }),
  );
}

/** How a metric is drawn. */
export interface MetricAxis {
  metric: keyof Metrics;
  title: string;
  label: string;
  unit: Unit;
  scale: "log" | "linear";
}

/**
 * Runs one scenario on one server after the other, with a chart of one metric that grows, and shows all in a table. Nothing is
 * stored.
 */
export async function runEach(
  names: readonly string[],
  scenario: ScenarioName,
  parameters: { connections: number } & Partial<Parameters>,
  axis: MetricAxis,
): Promise<Result[]> {
  const servers = findAll(names);
  checkRun(scenario, parameters);
  checkMetric(axis.metric);
  const picture = new Picture();
  const results: Result[] = [];
  const step = { scenario, parameters: { seconds: isQuick ? 0.5 : 1, warmup_seconds: 0.5, ...parameters } };
  for (const experiment of servers) {
    const rest = { host: hostFacts(), guard: createGuard(), signal: new AbortController().signal };
    results.push(await runStep({ experiment, step, ...rest, onProgress: () => {} }));
    await picture.draw(metricChart(results, axis));
  }
  await showResults(results);
  return results;
}

/** One metric of each result, whatever its scenario. A server that held fewer connections than asked for says how many. */
export function metricChart(results: readonly Result[], { metric, ...axis }: MetricAxis): RankSpec {
  const names = new Map(results.map((of) => {
    const connections = heldOf(of), isAll = connections === of.parameters.connections;
    return [of.experiment, isAll ? of.experiment : `${of.experiment}, held ${count(connections)}`];
  }));
  const spec = held(
    results.map((of) => ({ experiment: find(of.experiment), hold: of, throughput: undefined, rate: undefined })),
    metric,
    axis,
  );
  return { ...spec, items: spec.items.map((item) => ({ ...item, name: names.get(item.name)! })) };
}
