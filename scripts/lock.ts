/**
 * Updates both lock files after a change of scripts/imports.json.
 *
 * deno task --frozen=false lock
 *
 * `deno task` downloads the whole of deno.lock before it runs a task, so that file holds what commands import when they
 * start, and no more. all.lock holds that and what tests, charts, the report and the notebooks import.
 */
import { EXIT } from "../lib/cli/exit.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";

/** The files that `lint`, `check` and `test` see. */
function* sourcesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* sourcesIn(`${folder}/${name}`);
    else if (/\.tsx?$/.test(name)) yield `${folder}/${name}`;
  }
}

/** Runs `deno`; a command that only misses a program of this machine has started, and that is all that counts. */
async function run(args: string[]): Promise<boolean> {
  const { code } = await new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "null" }).spawn().status;
  if (code === EXIT.ok || code === EXIT.unavailable) return true;
  console.error(`Failed: deno ${args.join(" ")}`);
  return false;
}

await runScript("Usage: deno task lock, as deno task --frozen=false lock", async () => {
  parseFlags(Deno.args, {});
  const tasks: Record<string, { command: string }> = JSON.parse(Deno.readTextFileSync("deno.json")).tasks;
  for (const { command } of Object.values(tasks)) {
    const [, words] = /^deno run (?!--(?:no-)?lock)(.+)$/.exec(command) ?? [];
    if (words === undefined) continue;
    // Only the command itself knows what it imports: `deno cache` follows imports of types too.
    if (!await run(["run", "--frozen=false", "--no-prompt", ...words.split(" "), "--help"])) return EXIT.failed;
  }
  const sources = ["lib", "scripts", "experiments"].flatMap((folder) => [...sourcesIn(folder)]);
  return await run(["cache", "--frozen=false", "--lock=scripts/all.lock", ...sources]) ? EXIT.ok : EXIT.failed;
});
