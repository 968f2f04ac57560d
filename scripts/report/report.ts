/**
 * Makes the report: one file of HTML that loads nothing.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { bundle } from "../../lib/page/bundle.ts";
import { machinesIn } from "../../lib/results/machine.ts";
import { readContents, type ReportContents } from "./contents.ts";
import { renderReport, type Scripts } from "./page/page.tsx";

const client = (name: string) => fileURLToPath(new URL(`./client/${name}.ts`, import.meta.url));

/** Bundles the scripts of the page. Needs `--allow-run` for Deno. */
export async function bundleScripts(): Promise<Scripts> {
  const [head, main] = await Promise.all(["head", "main"].map((name) => bundle(client(name))));
  return { head: head!, main: main! };
}

/**
 * Reads results/ and experiments/ of the current folder and renders them, all machines in one page. Needs `--allow-read` and
 * `--allow-run` for Deno.
 *
 * @param machine The one that is shown first; default: this one where it has all that the reference has, else the reference.
 */
export async function makeReport(machine?: string): Promise<{ html: string; contents: ReportContents }> {
  const [contents, machines, scripts] = await Promise.all([
    readContents({ machine }),
    machinesIn("results"),
    bundleScripts(),
  ]);
  const others = machines.filter((name) => name !== contents.machine);
  const rest = await Promise.all(others.map((name) => readContents({ machine: name })));
  const measured = rest.filter(({ results }) => results.length > 0);
  return { html: renderReport(contents, scripts, measured), contents };
}
