/**
 * Writes the generated documents from what is stored of the reference machine: results/README.md, results/CLAIMS.md,
 * results/FORMAT.md, the charts, and the figures in README.md, each between its markers.
 *
 * deno task readme
 */
import { speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { refreshClaims } from "../../lib/claims/file.ts";
import { headlines, toldWith } from "../../lib/claims/headlines.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { shown } from "../../lib/results/choose.ts";
import { machineOf, machinesIn, referenceMachine } from "../../lib/results/machine.ts";
import { C10K } from "../../lib/results/conventions.ts";
import { readStored, type Stored } from "../../lib/results/stored.ts";
import { judgePrediction } from "../../lib/claims/prediction.ts";
import { conclude, describe } from "../../lib/tables/runs.ts";
import { wrap } from "../../lib/text/table.ts";
import { describeHost, hostFacts } from "../../lib/sampling/host.ts";
import { type Book, claimsDocument, NOTHING, removeUnshown, resultsDocument } from "./documents.ts";
import { formatDocument } from "./format.ts";
import { loadChart, summaryTable } from "./summary.ts";

const USAGE = `Usage: deno task readme
       Judges the claims by the figures of the machine that results/reference names, and writes the generated parts
       of README.md and the documents in results/ from these figures. Charts that none of them shows are removed.`;
const README = "README.md";
/** The server whose run is shown, and the width of a terminal. */
const SAMPLE = "epoll";
const COLUMNS = 80;

/** What `deno task exp epoll --scenario hold` ends with, from the newest run of each number of connections. */
function sample(stored: Stored): string {
  const [epoll] = stored.experiments.filter(({ name }) => name === SAMPLE);
  const steps = new Map(
    stored.results.filter(({ experiment, scenario, parameters }) =>
      experiment === SAMPLE && scenario === "hold" && parameters.connections <= C10K
    ).map((run) => [run.parameters.connections, run]),
  );
  const runs = [...steps.values()].toSorted((a, b) => a.parameters.connections - b.parameters.connections);
  if (epoll === undefined || runs.length === 0) return NOTHING;
  const end = [conclude(SAMPLE, runs), judgePrediction(epoll, { ...stored, results: runs })?.sentence ?? ""];
  const lines = end.flatMap((sentence) => wrap(sentence, COLUMNS));
  return `\`\`\`text\n${describe(runs, COLUMNS)}\n\n${lines.join("\n")}\n\`\`\``;
}

/** What came out, as a list; what only another stored machine has, from there. Needs `--allow-read`. */
async function listed(stored: Stored): Promise<string> {
  const names = (await machinesIn("results")).filter((name) => name !== stored.machine);
  const others = await Promise.all(names.map(async (name) => {
    const { stored } = await readStored("results", name);
    return { machine: name, headlines: headlines(stored) };
  }));
  return toldWith(headlines(stored), others).map(({ title, text, machine }) =>
    `- ${title === null ? "" : `**${title}** `}${
      machine === null ? "" : `On \`${machine}\`, not on this machine: `
    }${text}`
  ).join("\n");
}

/** The generated parts of README.md by the name of their markers. */
async function partsOf({ stored }: Book): Promise<Record<string, string>> {
  const own = stored.experiments.filter((one) => !one.peer && speaksHttp(one));
  return {
    machine: `Measured on \`${stored.machine}\`: ${describeHost(stored.host)}.`,
    sample: sample(stored),
    summary: summaryTable(shown(own, stored.results), {
      results: stored.results,
      compared: stored.studies.comparison.flatMap(({ rows }) => rows),
    }),
    findings: [await listed(stored), ...loadChart(stored)].join("\n\n"),
  };
}

/** Puts each part between its markers. */
function fill(text: string, parts: Record<string, string>): string {
  return Object.entries(parts).reduce((filled, [name, part]) => {
    const begin = `<!-- ${name}:begin -->`;
    const end = `<!-- ${name}:end -->`;
    const from = filled.indexOf(begin);
    const to = filled.indexOf(end);
    if (from < 0 || to < from) throw new UsageError(`${README} needs a line ${begin} and below it a line ${end}.`);
    return `${filled.slice(0, from)}${begin}\n\n${part}\n\n${filled.slice(to)}`;
  }, text);
}

await runScript(USAGE, async () => {
  const [extra] = parseFlags(Deno.args, {})._;
  if (extra !== undefined) throw new UsageError(`Unexpected ${extra}: all documents are written.`);
  const machine = await referenceMachine("results") ?? machineOf(hostFacts());
  const { stored, passedOver } = await readStored("results", machine);
  for (const { path, why } of passedOver) console.error(`Skipped ${path}: ${why}`);
  const { claims, isNew } = await refreshClaims(
    stored,
    "results",
    ({ path, why }) => console.error(`Skipped ${path}: ${why}`),
  );
  if (isNew) console.log(`The claims were judged again by the figures of ${machine}.`);
  const book = { stored, claims };
  const readme = fill(await Deno.readTextFile(README), await partsOf(book));
  const results = await resultsDocument(book);
  await Deno.writeTextFile("results/README.md", results);
  await Deno.writeTextFile("results/CLAIMS.md", claimsDocument(book));
  await Deno.writeTextFile("results/FORMAT.md", formatDocument());
  await Deno.writeTextFile(README, readme);
  await removeUnshown([readme, results]);
  console.log(
    `Written from the figures of ${machine}: ${README}, results/README.md, results/CLAIMS.md, results/FORMAT.md.`,
  );
  return EXIT.ok;
});
