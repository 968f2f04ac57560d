/**
 * Writes results/report.html: all that is measured, as one file that a browser opens without a network.
 *
 * deno task report
 */
import { UsageError } from "../../lib/cli/errors.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { bytes, count } from "../../lib/text/format.ts";
import { makeReport } from "./report.ts";

const USAGE = `Usage: deno task report [--machine NAME]
       Without --machine: the figures of this machine where it has all that the reference has, else those of the reference.`;
const PATH = "results/report.html";

await runScript(USAGE, async () => {
  const { _: [first], machine } = parseFlags(Deno.args, { string: ["machine"] });
  if (first !== undefined) throw new UsageError(`Unexpected ${first}: the report is of everything.`);
  const { html, contents: { results, passedOver, line } } = await makeReport(machine);
  console.error(line);
  for (const { path, why } of passedOver) console.error(`Skipped ${path}: ${why}`);
  await Deno.writeTextFile(PATH, html);
  console.log(`${PATH}: ${count(results.length)} runs, ${bytes(new TextEncoder().encode(html).length)}.`);
  return 0;
});
