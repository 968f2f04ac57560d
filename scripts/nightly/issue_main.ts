/**
 * Opens, edits or closes the one issue on nightly regressions, by what a night has found.
 *
 * deno task nightly:issue night.json
 */
import { KnownFailure, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { REGRESSION_RECORD, type RegressionRecord } from "../../lib/regress/record.ts";
import { parseLine } from "../../lib/results/jsonl.ts";
import { doStep, LABEL, openIssue } from "./github.ts";
import { decideIssue, type Origin, reasonToLeave } from "./issue.ts";

const USAGE = `Usage: deno task nightly:issue FILE
       FILE is what \`deno task nightly --json\` printed; an empty
       file is a night without a verdict.
       The issue is the open one with the label ${LABEL}.
       A regression or a broken experiment opens or edits it. A night without
       one, on a machine of the same kind, closes it. Inconclusive nights, new
       baselines and other branches than the default one leave it alone.
       From the environment: GITHUB_EVENT_NAME, GITHUB_REF_NAME, DEFAULT_BRANCH;
       for the link to the run GITHUB_SERVER_URL, GITHUB_REPOSITORY,
       GITHUB_RUN_ID. The command gh takes GH_TOKEN and GH_REPO.`;

/** Where the night was measured. */
function originHere(): Origin {
  const of = (name: string) => Deno.env.get(name) ?? "";
  const id = of("GITHUB_RUN_ID");
  return {
    event: of("GITHUB_EVENT_NAME"),
    branch: of("GITHUB_REF_NAME"),
    defaultBranch: of("DEFAULT_BRANCH"),
    run: id === "" ? null : `${of("GITHUB_SERVER_URL")}/${of("GITHUB_REPOSITORY")}/actions/runs/${id}`,
  };
}

/** The record in a file; null if the file is empty: the night ended before its verdict. */
async function readNight(path: string): Promise<RegressionRecord | null> {
  const content = await Deno.readTextFile(path).catch((error: Error) => {
    const why = error instanceof Deno.errors.NotFound ? "there is no such file" : error.message;
    throw new UsageError(`Cannot read ${path}: ${why}.`);
  });
  if (content.trim() === "") return null;
  const parsed = parseLine<RegressionRecord>(content, REGRESSION_RECORD);
  if ("value" in parsed) return parsed.value;
  throw new KnownFailure(`${path} has no record of a night, ${parsed.wrong}`);
}

await runScript(USAGE, async () => {
  const { _: [path, ...more] } = parseFlags(Deno.args, {});
  if (path === undefined || more.length > 0) throw new UsageError("Name one file, such as night.json.");
  const record = await readNight(path);
  const origin = originHere();
  const reason = reasonToLeave(record, origin);
  const step = record === null || reason !== null
    ? { step: "leave" as const, reason: reason! }
    : decideIssue(record, await openIssue(), origin.run);
  console.log(await doStep(step));
  return EXIT.ok;
});
