/**
 * The generated documents of results/: all tables and charts, and the claims.
 *
 * @module
 */
import { type Experiment, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { type ChartSpec, folded, isEmpty } from "../../lib/charts/config.ts";
import {
  FAN_OUT,
  fanOut,
  HELD,
  held,
  isOneRate,
  loads,
  MEMORY,
  ratios,
  reached,
  waits,
} from "../../lib/charts/figures.ts";
import { renderPng } from "../../lib/charts/png.ts";
import { type ClaimsFile } from "../../lib/claims/file.ts";
import { judgePrediction } from "../../lib/claims/prediction.ts";
import { collect } from "../../lib/advice/facts.ts";
import { crossingChart, crossingSentence, shownPairs } from "../../lib/advice/pairs.ts";
import { claimsTable, TEXTS } from "../../lib/claims/table.ts";
import { isWholeSelftest, selftestTable } from "../../lib/regress/selftest/table.ts";
import { broadcastRuns, newestLaw, shown, slowTables, widest, widestSweep } from "../../lib/results/choose.ts";
import { C10K, MIN_ROUNDS, SCALING, SWEEP } from "../../lib/results/conventions.ts";
import type { ComparisonRow } from "../../lib/results/rows.ts";
import type { Result } from "../../lib/results/results.ts";
import type { Stored } from "../../lib/results/stored.ts";
import type { Study } from "../../lib/results/studies.ts";
import { describeHost } from "../../lib/sampling/host.ts";
import { comparisonTable, sizeOf } from "../../lib/tables/comparison.ts";
import { faultMatrix, faultsSentence, faultsTable, newestSoaks, soakTable } from "../../lib/tables/faults.ts";
import { broadcasts, holds, machines, overview } from "../../lib/tables/overview.ts";
import { scalingTable } from "../../lib/tables/scaling.ts";
import { sweepTable } from "../../lib/tables/sweep.ts";
import { WIRE_SAYS } from "../../lib/tables/runs.ts";
import { CROSSCHECK_COLUMNS, disturbedCalls, readinessColumns } from "../../lib/tables/studies.ts";
import { type Column, markdown } from "../../lib/text/table.ts";
import { FLOOR } from "./summary.ts";

/** What the documents show. */
export interface Book {
  stored: Stored;
  claims: ClaimsFile | null;
}

/** What stands where nothing is stored yet. */
export const NOTHING = "Not measured yet.";
/** The server that others which push are compared with. */
const PUSH = "ws-epoll";
const CHARTS = "results/charts";
/** The width of a chart, and of one that README.md shows: so narrow that a phone does not make its letters small. */
const PAGE_PX = 900;
const FRONT_PX = 520;

/** Draws a chart; returns the line that shows it, and what has no figure. The table next to it has all its figures. */
export async function picture(name: string, spec: ChartSpec, isFront = false): Promise<string> {
  const { spec: drawn, without } = folded(spec);
  const said = without === null ? [] : [without];
  if (isEmpty(drawn)) return [`${spec.title}.`, ...said].join(" ");
  await Deno.mkdir(CHARTS, { recursive: true });
  const width = isFront ? FRONT_PX : PAGE_PX;
  await Deno.writeFile(`${CHARTS}/${name}.png`, await renderPng(drawn, { width }));
  if (isFront) await Deno.writeFile(`${CHARTS}/${name}-dark.png`, await renderPng(drawn, { width, theme: "dark" }));
  return [`![${spec.title}; the figures are in the table below](charts/${name}.png)`, ...said].join("\n\n");
}

/** Removes the charts in a folder that none of these documents shows: what they were drawn from is not stored any more. */
export async function removeUnshown(documents: readonly string[], folder = CHARTS): Promise<void> {
  await Deno.mkdir(folder, { recursive: true }); // without any figure there is no chart either
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".png") && !documents.some((text) => text.includes(`charts/${name}`))) {
      await Deno.remove(`${folder}/${name}`);
    }
  }
}

const familyOf = (experiments: readonly Experiment[]) => (name: string) =>
  experiments.find((experiment) => experiment.name === name)?.family ?? "custom";

/** How a comparison is drawn. */
type Draw = (rows: readonly ComparisonRow[], at: string, family: (name: string) => string) => ChartSpec;

const drawCost: Draw = (rows, at, family) =>
  ratios(rows, "cpu_us_per_request", `Server CPU per request: ${at}`, family);
const drawDelivery: Draw = (rows, at, family) =>
  ratios(rows, "cpu_us_per_delivery", `Server CPU per delivery: ${at}`, family);
const drawSize: Draw = (rows, at, family) => ratios(rows, "pss_bytes", `Memory (PSS): ${at}`, family);
const drawLatency: Draw = (rows, at, family) =>
  (isOneRate(rows) ? reached : ratios)(rows, "p99_us", `Latency of light requests: ${at}`, family);

const drawCore: Draw = (rows, at, family) =>
  ratios(rows, "core_us_per_request", `Core time per request over a veth pair: ${at}`, family);

/** The widest comparison with a reference at each number of connections, over loopback or a wire, as charts and tables. */
async function compared(
  { experiments, studies }: Stored,
  scenario: "throughput" | "rate" | "mixed" | "hold" | "broadcast",
  reference: string,
  draw: Draw,
  kind: "comparison" | "wire" = "comparison",
): Promise<string> {
  const family = familyOf(experiments);
  const parts = await Promise.all(
    widest(studies[kind], scenario, reference).map(async (table) => {
      const { connections } = table.rows[0]!;
      const spec = draw(table.rows, sizeOf(table.rows[0]!), family);
      const name = `${kind === "wire" ? "wire-" : ""}${scenario}-${connections}`;
      return [await picture(name, spec), comparisonTable(table)];
    }),
  );
  return parts.flat().join("\n\n") || NOTHING;
}

/** The outcome of each prediction. */
export function predictionsTable({ experiments, ...stored }: Stored): string {
  const all = experiments.flatMap((experiment) => {
    const prediction = judgePrediction(experiment, { experiments, ...stored });
    return prediction === null ? [] : [{ experiment, prediction }];
  });
  const columns: Column<typeof all[number]>[] = [
    { heading: "experiment", cell: ({ experiment }) => experiment.name, left: true },
    { heading: "prediction", cell: ({ experiment }) => experiment.prediction, left: true },
    { heading: "outcome", cell: ({ prediction }) => prediction.outcome, left: true },
    {
      heading: "figures",
      cell: ({ prediction }) => prediction.conditions.map(({ because }) => because).join("; "),
      left: true,
    },
  ];
  return all.length === 0 ? NOTHING : markdown(all, columns);
}

const section = (heading: string, text: string, body: string) =>
  [heading, text, body].filter((part) => part !== "").join("\n\n");

const SIGNS = "`≥` marks a rate that the load generator limited, not the server; `≤` a latency that may be the load " +
  "generator's own. *Held and answered*: connections that were open at one time and all got an answer.";

/** The experiments of this project. */
const ownSection = async (own: readonly Experiment[], results: readonly Result[]): Promise<string> =>
  section(
    "## Experiments",
    SIGNS,
    [
      await picture("experiments", held(shown(own, results), "user_bytes_per_conn", MEMORY), true),
      overview(shown(own, results), ".."),
    ]
      .join("\n\n"),
  );

/** results/README.md: every table and chart, wholly generated. */
export async function resultsDocument({ stored }: Book): Promise<string> {
  const { results, studies } = stored;
  const experiments = stored.experiments.filter(speaksHttp);
  const own = experiments.filter(({ peer }) => !peer);
  const peers = experiments.filter(({ peer }) => peer);
  const parts = [
    "# Results",
    "Generated by `deno task readme`; do not edit. " +
    `Machine \`${stored.machine}\`: ${describeHost(stored.host)}. [FORMAT.md](FORMAT.md) explains the files, ` +
    "[CLAIMS.md](CLAIMS.md) judges the claims of two texts. `deno task reproduce` measures everything here again.",
    await ownSection(own, results),
    section("## Peers", "The same server in other languages and runtimes.", overview(shown(peers, results), "..")),
    section("## Predictions", "Each header predicts; the figures decide.", predictionsTable(stored)),
    section(
      "## How many connections each holds, and what stops it",
      "",
      [
        await picture("held", held(shown(experiments, results), "answered", HELD)),
        await picture("memory", held(shown(experiments, results), "user_bytes_per_conn", MEMORY)),
        holds(experiments, results),
      ].join("\n\n"),
    ),
    section(
      "## 10 000 connections",
      "Memory next to the C server with epoll.",
      [holds(peers, results, C10K), await compared(stored, "hold", FLOOR, drawSize)].join("\n\n"),
    ),
    section(
      "## Cost of select, poll and epoll by number of descriptors",
      "CPU time of one call while one of the connections is active.",
      await waitCalls(newestLaw(studies.readiness)),
    ),
    ...await costs(stored),
    ...await choosing(stored),
    await pushSection(stored),
    ...faultSections(stored),
    ...instruments(studies),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** What one call that waits costs, and what weakens it. */
async function waitCalls(study: Study<"readiness"> | undefined): Promise<string> {
  if (study === undefined) return NOTHING;
  const { rows, command, host } = study;
  const caveat = disturbedCalls(rows);
  return [
    await picture("waits", waits(rows)),
    markdown(rows, readinessColumns(rows)),
    ...(caveat === null ? [] : [caveat]),
    `Reproduce: \`${command}\`. ${machines([{ host }])}`,
  ].join("\n\n");
}

const RATIOS_SAY =
  "In this and all comparisons below, a figure and a ratio are medians over the rounds, each by itself: the " +
  "ratio is taken within a round, where both servers had the same machine, and may differ from that of the two figures.";

/** What requests cost, by scenario. */
const costs = async (stored: Stored): Promise<string[]> => [
  section("## Server CPU per request", RATIOS_SAY, await compared(stored, "throughput", FLOOR, drawCost)),
  section(
    "## Around the kernel",
    `All of these over a wire: ${WIRE_SAYS}.`,
    await compared(stored, "throughput", FLOOR, drawCore, "wire"),
  ),
  section("## At part load", "", await compared(stored, "rate", FLOOR, drawCost)),
  section("## Next to requests that burn CPU", "", await compared(stored, "mixed", "epoll", drawLatency)),
];

/** What helps to choose and to size: where costs cross, the capacity of servers, and what more cores bring. */
const choosing = async (stored: Stored): Promise<string[]> => [
  await crossingSection(stored),
  await sweepSection(stored),
  scalingSection(stored),
];

/** Where the costs of two architectures cross, along each number of a load. */
async function crossingSection(stored: Stored): Promise<string> {
  const pairs = shownPairs(collect(stored).known);
  const parts = await Promise.all(pairs.map(async (pair) => {
    const { axis, before, after } = pair;
    const line = await picture(`crossing-${axis}`, crossingChart(pair, familyOf(stored.experiments)));
    const files = [...new Set([...before.results, ...after.results])];
    const links = files.map((path, i) => `[${i + 1}](${path.replace(/^results\//, "")})`).join(", ");
    return `${line.replace("the table below", "the sentence below")}\n\n${crossingSentence(pair)} Evidence: ${links}.`;
  }));
  return section(
    "## Where two architectures cross",
    "The advisor's model (`deno task advise`): CPU time of a request and the wait of light requests, with their bounds. Of all " +
      "pairs that cross these differ most on both sides.",
    parts.join("\n\n") || `${NOTHING.replace(/\.$/, "")}: \`deno task reproduce\`.`,
  );
}

/** Latency against load, and the capacity of servers. */
async function sweepSection({ experiments, studies }: Stored): Promise<string> {
  const sweep = widestSweep(studies.sweep);
  return section(
    "## Latency against load",
    "An open loop at growing rates. The capacity is the highest rate that meets the objective; each round searches it by " +
      "bisection, with fresh servers.",
    sweep === undefined
      ? `Not measured yet on this machine: \`${SWEEP.command}\`.`
      : `${await picture("load", loads(sweep.rows, familyOf(experiments)), true)}\n\n${sweepTable(sweep)}`,
  );
}

/** Servers on more and more cores: the newest full measurement, a quick one only where there is none. */
function scalingSection({ studies }: Stored): string {
  const scaling = studies.scaling.findLast(({ quick }) => !quick) ?? studies.scaling.at(-1);
  return section(
    "## More cores",
    "Each server on one core and on several, in paired rounds. The shares show whether the load spreads by itself.",
    scaling === undefined ? `Not measured yet on this machine: \`${SCALING.command}\`.` : scalingTable(scaling),
  );
}

/** The servers that push. */
async function pushSection(stored: Stored): Promise<string> {
  const experiments = stored.experiments.filter((one) => !speaksHttp(one));
  const runs = broadcastRuns(experiments, stored.results);
  const pictures = runs.length === 0
    ? []
    : await Promise.all(Object.entries(FAN_OUT).map(([name, of]) => picture(`fan-out-${name}`, fanOut(runs, of))));
  const slow = slowTables(stored.studies.comparison).map(comparisonTable);
  return section(
    "## Push: one message to all",
    "WebSocket servers. *Last*: how long after a message was due the last listener had it. Further below: servers compared " +
      "with `ws-epoll`, and with themselves beside listeners that do not read.",
    [
      ...pictures,
      broadcasts(experiments, stored.results),
      await compared(stored, "broadcast", PUSH, drawDelivery),
      ...slow,
    ].join("\n\n"),
  );
}

/** What servers survive, and what rises in them. */
function faultSections({ experiments, studies }: Stored): string[] {
  const matrix = faultMatrix(studies.faults, experiments.map(({ name }) => name));
  const soaks = newestSoaks(studies.soak);
  return [
    section(
      "## What breaks it",
      "Faults, each at a server that was started for it, with normal clients beside them: `deno task faults`. " +
        "*Not promised*: the header of the experiment says what its architecture cannot, and why. The report has each cell.",
      matrix.servers.length === 0 ? NOTHING : `${faultsSentence(matrix)}\n\n${faultsTable(matrix)}`,
    ),
    section(
      "### Under load for long",
      "Faults at random beside the load: `deno task soak`.",
      soaks.length === 0 ? NOTHING : soakTable(soaks),
    ),
  ];
}

/** What the lab measured of its own instruments. */
function instruments({ crosscheck, selftest: selftests }: Stored["studies"]): string[] {
  const clients = crosscheck.findLast(({ rows }) => rows.some((row) => row.round >= MIN_ROUNDS));
  const selftest = selftests.findLast(isWholeSelftest);
  return [
    "## Can the numbers be trusted?",
    section(
      "### The load generator against wrk and h2load",
      "",
      clients === undefined
        ? NOTHING
        : `${markdown(clients.rows, CROSSCHECK_COLUMNS)}\n\nReproduce: \`${clients.command}\`. ${machines([clients])}`,
    ),
    section(
      "### How often the regression test is right",
      "",
      selftest === undefined ? NOTHING : selftestTable(selftest),
    ),
  ];
}

const TEXTS_SAY = `Two Korean texts on the C10K problem are checked here, claim by claim. ${
  TEXTS.map(({ letter, title, what }) => `**${letter}** is "${title}", ${what}`).join("; ")
}.
Each verdict follows from stored figures by the rule of the claim. The rules stand below the table, each with what a sceptic says of it, and in code in lib/claims/.`;

/** results/CLAIMS.md. */
export function claimsDocument({ claims }: Book): string {
  const table = claims === null ? NOTHING : claimsTable(claims, "..");
  return `# Claims, checked\n\nGenerated by \`deno task readme\`; do not edit.\n\n${TEXTS_SAY}\n\n${table}\n`;
}
