/**
 * Makes the report: one file of HTML that loads nothing.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { bundle } from "../../lib/page/bundle.ts";
import { readContents, type ReportContents } from "./contents.ts";
import { renderReport, type Scripts } from "./page/page.tsx";

const client = (name: string) => fileURLToPath(new URL(`./client/${name}.ts`, import.meta.url));

/** Bundles the scripts of the page. Needs `--allow-run` for Deno. */
export async function bundleScripts(): Promise<Scripts> {
  const [head, main] = await Promise.all(["head", "main"].map((name) => bundle(client(name))));
  return { head: head!, main: main! };
}

/** Reads results/ and experiments/ of the current folder and renders them. Needs `--allow-read` and `--allow-run` for Deno. */
export async function makeReport(machine?: string): Promise<{ html: string; contents: ReportContents }> {
  const [contents, scripts] = await Promise.all([readContents({ machine }), bundleScripts()]);
  return { html: renderReport(contents, scripts), contents };
}
