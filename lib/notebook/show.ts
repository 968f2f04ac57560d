/**
 * What the cells of the notebooks share: charts, tables, and small experiments whose figures are seen while they run.
 *
 * A cell ends with an awaited call of this file, because the kernel sends nothing that comes later.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type ChartSpec, describeChart } from "../charts/config.ts";
import { renderPng } from "../charts/png.ts";
import { find } from "../catalogue/catalogue.ts";
import { bytes, count, microseconds, MISSING } from "../text/format.ts";
import { boundOf, type Finding } from "../results/findings.ts";
import { behind } from "../run/watch.ts";
import { heldOf, type Metrics, type Parameters, type Result } from "../results/results.ts";
import { bounded, BROADCAST_COLUMNS } from "../tables/runs.ts";
import { type Column, markdown } from "../text/table.ts";
/** Whether cells should make smaller runs: the environment has C10K_QUICK=1, as under `notebook:run --quick`. */
export const isQuick = Deno.env.get("C10K_QUICK") === "1";

/** A place in a cell's output where a chart can be drawn again. */
export class Picture {
  #id = crypto.randomUUID();
  #isShown = false;

  async draw(spec: ChartSpec): Promise<void> {
    const png = Buffer.from(await renderPng(spec, { width: 760 })).toString("base64");
    const data = { "image/png": png, "text/plain": describeChart(spec) }; // the words are for those who do not see it
    const type = this.#isShown ? "update_display_data" : "display_data";
    this.#isShown = true;
    await Deno.jupyter.broadcast(type, { data, metadata: {}, transient: { display_id: this.#id } });
  }
}

/** Shows a chart. */
export const show = async (spec: ChartSpec): Promise<void> => await new Picture().draw(spec);

/** Shows rows as a table. */
export async function showTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): Promise<void> {
  await showText(markdown(rows, columns));
}

/** Shows Markdown. */
export async function showText(text: string): Promise<void> {
  const data = { "text/markdown": text, "text/plain": text };
  await Deno.jupyter.broadcast("display_data", { data, metadata: {}, transient: {} });
}

/** Shows what an experiment says of itself: question, idea, prediction. */
export async function introduce(name: string): Promise<void> {
  const { title, question, idea, prediction } = find(name);
  await showText(`**${title}**\n\n*Question.* ${question}\n\n*Idea.* ${idea}\n\n*Prediction.* ${prediction}`);
}

/** Whether what a run says of a metric is a bound and no figure. */
export const boundIn = ({ findings }: { findings: readonly Finding[] }, metric: keyof Metrics) =>
  boundOf(metric, findings.map(({ id }) => id));

/** A latency as it is written. */
export function latency(of: { findings: readonly Finding[] }, metric: "p50_us" | "p99_us", us: number | null): string {
  return us !== null && boundIn(of, metric) !== null ? `≤ ${microseconds(us)}` : microseconds(us);
}

/** The same as it is written, with what was asked for where that was more. */
function heldText(of: Result): string {
  const connections = heldOf(of), asked = of.parameters.connections;
  return connections < asked ? `${count(connections)} of ${count(asked)}` : count(asked);
}

const RESULT_COLUMNS: Column<Result>[] = [
  { heading: "", cell: (of) => of.experiment, left: true },
  { heading: "connections", cell: heldText },
  { heading: "answered", cell: (of) => count(of.metrics.answered) },
  { heading: "asked/s", cell: (of) => count(of.parameters.rate_per_s) },
  { heading: "requests/s", cell: (of) => bounded(of, count(of.metrics.requests_per_s)) },
  { heading: "p50", cell: (of) => latency(of, "p50_us", of.metrics.p50_us) },
  { heading: "p99", cell: (of) => latency(of, "p99_us", of.metrics.p99_us) },
  { heading: "CPU-µs per request", cell: (of) => count(of.metrics.cpu_us_per_request, 2) },
  { heading: "switches per request", cell: (of) => count(of.metrics.context_switches_per_request, 2) },
  { heading: "threads", cell: (of) => count(of.metrics.threads) },
  { heading: "memory (PSS)", cell: (of) => bytes(of.metrics.pss_bytes) },
];

/** The same of broadcasts: in the first column stands the server. */
const DELIVERY_COLUMNS: Column<Result>[] = [
  RESULT_COLUMNS[0]!,
  { heading: "listeners", cell: heldText },
  ...BROADCAST_COLUMNS.slice(2, -1),
];

/** Why fewer requests were answered than were asked for; null if it is not so, or they were not counted. */
function short({ rate_per_s }: Parameters, { requests_per_s }: Result["metrics"], findings: Result["findings"]) {
  return requests_per_s === null || requests_per_s === undefined
    ? null
    : behind({ rate_per_s: rate_per_s ?? null }, requests_per_s, findings);
}

/**
 * Shows results as a table, without columns that have nothing, and below it what broke and what weakens the figures. That they
 * are short is no news in a notebook.
 */
export async function showResults(results: readonly Result[]): Promise<void> {
  const isPush = results.every(({ parameters }) => parameters.message_bytes !== undefined);
  const hasFigures = ({ cell }: Column<Result>) => results.some((of) => !cell(of).endsWith(MISSING));
  const notes = results.flatMap(({ experiment, ended, reason, findings, parameters, metrics }) => [
    ...(ended === "ok" ? [] : [`- ${experiment}: ${ended}, ${reason}`]),
    ...[short(parameters, metrics, findings)].filter((why) => why !== null).map((why) => `- ${experiment}: ${why}`),
    ...findings.filter(({ id }) => id !== "short_run").map(({ sentence }) => `- ${experiment}: ${sentence}`),
  ]);
  await showText(
    [markdown(results, (isPush ? DELIVERY_COLUMNS : RESULT_COLUMNS).filter(hasFigures)), notes.join("\n")].join("\n\n"),
  );
}
