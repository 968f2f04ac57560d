/**
 * Latency against load in the notebooks, from the stored sweeps.
 *
 * @module
 */
import { find } from "../catalogue/catalogue.ts";
import { loads } from "../charts/figures.ts";
import type { LinesSpec } from "../charts/config.ts";
import { sloOf } from "../results/capacity.ts";
import { FINDING_IDS, FINDING_SAYS } from "../results/findings.ts";
import { SWEEP } from "../results/conventions.ts";
import type { Stored } from "../results/stored.ts";
import type { Study } from "../results/studies.ts";
import { widestSweep } from "../results/choose.ts";
import { describeSweep } from "../tables/sweep.ts";
import { show, showText } from "./show.ts";
import { readBook } from "./stored.ts";

/** The chart where nothing is stored: a line for each server that says so. */
const nothing = (): LinesSpec => ({
  ...loads([], () => "custom"),
  series: SWEEP.servers.map((name) => ({
    name,
    family: find(name).family,
    points: [],
    note: "not measured yet",
  })),
});

/** A note of a sweep with what its finding means in place of the id. */
function inWords(sentence: string): string {
  const id = FINDING_IDS.find((id) => sentence.startsWith(`${id} at some rates: `));
  if (id === undefined) return sentence;
  const servers = sentence.slice(`${id} at some rates: `.length, -1);
  return `At some rates of ${servers}: ${FINDING_SAYS[id]}.`;
}

/** The chart and the answer of a sweep. */
export function loadsShown(
  sweep: Study<"sweep"> | undefined,
  family: (name: string) => string,
) {
  if (sweep === undefined) {
    return {
      chart: nothing(),
      text: `Not measured yet on this machine: \`${SWEEP.command}\`.`,
    };
  }
  const { sentences } = describeSweep(sweep.rows, sloOf(sweep.rows), 80);
  return {
    chart: loads(sweep.rows, family),
    text: sentences.map((sentence) => `- ${inWords(sentence)}`).join("\n"),
  };
}

/** Draws p99 at each rate of the stored sweep, and names the capacity of the servers. */
export async function showLoads(book?: Stored): Promise<void> {
  const { experiments, studies } = book ?? await readBook(undefined, "sweep");
  const family = (name: string) => experiments.find((experiment) => experiment.name === name)?.family ?? "custom";
  const { chart, text } = loadsShown(widestSweep(studies.sweep), family);
  await show(chart);
  await showText(text);
}
