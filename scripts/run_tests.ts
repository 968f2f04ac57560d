/**
 * Runs the tests, tells what was passed over and how to get it, and ends with one line of numbers.
 *
 * deno task test [file or folder/…] [--filter text] [--require-all] [--jsr]
 *
 * --require-all: what this system could run must not be passed over. --jsr: with the originals of the packages that
 * lib/std stands in for. Every other argument is passed on to `deno test`.
 */
import { tmpdir } from "node:os";
import { stripVTControlCharacters } from "node:util";
import { catalogue, runsHere } from "../lib/catalogue.ts";
import { installLine, missingTools } from "../lib/tools.ts";

const PERMISSIONS = ["--allow-read", "--allow-run", "--allow-ffi", "--allow-sys", "--allow-net=127.0.0.1,localhost"];
const FOLDERS = ["lib", "scripts", "experiments"];

/** What the last lines of `deno test` said. */
export interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Reads the summary of `deno test`, `ok | 13 passed (4 steps) | 0 failed | 2 ignored (49ms)`; the last one, as a test may
 * print one too. Null if there is none: then no test was run, as when a type is wrong.
 */
export function readSummary(output: string): Outcome | null {
  const line = /^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed(?:.*? \| (\d+) ignored)?/gm;
  const last = [...stripVTControlCharacters(output).matchAll(line)].at(-1);
  return last ? { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3] ?? 0) } : null;
}

/** The names of the tests that `deno test` passed over. */
export function readIgnored(output: string): string[] {
  return [...stripVTControlCharacters(output).matchAll(/^(.+) \.\.\. ignored \(/gm)].map(([_, name]) => name!.trim());
}

/** Shows what a process prints, and returns it. */
async function show(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    for (let rest = chunk; rest.length > 0;) rest = rest.subarray(await Deno.stdout.write(rest));
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

/** Runs `deno test` and tells how it went. The exit code is the one of `deno test`. */
async function runTests(args: string[], requireAll: boolean, jsr: boolean): Promise<number> {
  const folders = args.some((arg) => /\/|\.ts$/.test(arg)) ? [] : FOLDERS;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "--no-prompt", "--sanitize-ops", ...PERMISSIONS, `--allow-write=results,${tmpdir()}`],
      ...(jsr ? ["--config", "scripts/jsr.json", "--no-lock"] : []), // a lock file belongs to one configuration
      ...[...args, ...folders, ...(requireAll ? ["--", "--require-all"] : [])],
    ],
    stdout: "piped",
  }).spawn();
  const output = await show(child.stdout);
  const { code } = await child.status;
  for (const name of readIgnored(output)) console.log(`Skipped: ${name}`);
  for (const here of catalogue().map((experiment) => runsHere(experiment))) {
    if (!here.runs) console.log(`Skipped experiment: ${here.reason}`);
  }
  const missing = await missingTools();
  for (const { command, reason } of missing) console.log(`Not installed: ${command}, ${reason}.`);
  const tooFew = requireAll && missing.length > 0;
  if (missing.length > 0) console.log(`${tooFew ? "Required by --require-all" : "Install"}: ${installLine(missing)}`);
  const outcome = readSummary(output);
  if (outcome === null) console.log(`No test was run: deno test ended with code ${code}.`);
  const { passed, failed, skipped } = outcome ?? { passed: 0, failed: 1, skipped: 0 };
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  return code === 0 && tooFew ? 1 : code;
}

if (import.meta.main) {
  const own = ["--require-all", "--jsr", "--"];
  const rest = Deno.args.filter((arg) => !own.includes(arg));
  Deno.exit(await runTests(rest, Deno.args.includes("--require-all"), Deno.args.includes("--jsr")));
}
