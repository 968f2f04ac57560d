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
import { catalogue } from "../lib/catalogue.ts";
import { installLine, missingTools, obstacleTo } from "../lib/tools.ts";

const PERMISSIONS = [ // playwright-core looks into /proc, which would else need all permissions
  ..."--allow-read --allow-run --allow-ffi --allow-sys --allow-env --ignore-read=/proc".split(" "),
  "--allow-net=127.0.0.1,localhost",
];
const FOLDERS = ["lib", "scripts", "experiments"];
const CONTRACT = ["", "_protocol", "_limits", "_fuzz", "_stress"].map((part) => `experiments/contract${part}_test.ts`);

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

/** Shows what a process prints, line by line, so that several can print at once; and returns it. */
async function show(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let text = "";
  for await (const line of stream.pipeThrough(new TextDecoderStream()).pipeThrough(splitLines())) {
    console.log(line);
    text += `${line}\n`;
  }
  return text;
}

function splitLines(): TransformStream<string, string> {
  let rest = "";
  return new TransformStream({
    transform(text, controller) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) controller.enqueue(line);
    },
    flush: (controller) => rest === "" ? undefined : controller.enqueue(rest),
  });
}

const running = new Set<Deno.ChildProcess>();

/** Runs `deno test` once. */
async function denoTest(args: string[], own: string[], jsr: boolean): Promise<{ code: number; output: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "--no-prompt", "--sanitize-ops", ...PERMISSIONS, `--allow-write=results,${tmpdir()}`],
      ...(jsr ? ["--config", "scripts/jsr.json", "--no-lock"] : []), // a lock file belongs to one configuration
      ...[...args, "--", ...own],
    ],
    stdout: "piped",
  }).spawn();
  running.add(child);
  const output = await show(child.stdout);
  running.delete(child);
  return { code: (await child.status).code, output };
}

function* testsIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* testsIn(`${folder}/${name}`);
    else if (name.endsWith("_test.ts")) yield `${folder}/${name}`;
  }
}

/** What runs at once. Tests mostly wait, for servers and for a browser, so four parts share a machine well. */
function split(args: string[]): [files: string[], own: string[]][] {
  if (args.some((arg) => FOLDERS.some((folder) => arg.startsWith(folder)))) return [[args, []]]; // files were named
  const rest = FOLDERS.flatMap((folder) => [...testsIn(folder)]).filter((path) => !CONTRACT.includes(path)).sort();
  return [
    ...[0, 1].map((half): [string[], string[]] => [[...args, ...rest.filter((_, i) => i % 2 === half)], []]),
    [[...args, ...CONTRACT], ["--own"]],
    [[...args, ...CONTRACT], ["--peers"]],
  ];
}

/** Tells which experiments were not tried, and why. A test that ran tells that one was, be it under another system. */
async function tellUntried(output: string): Promise<void> {
  for (const experiment of catalogue()) {
    const reason = await obstacleTo(experiment);
    if (reason !== null && !output.includes(`\n${experiment.name} says on one line`)) {
      console.log(`Skipped experiment: ${reason}`);
    }
  }
}

/** Runs the tests and tells how it went. The exit code is the first of `deno test` that is not 0. */
async function runTests(args: string[], requireAll: boolean, jsr: boolean): Promise<number> {
  const runs = await Promise.all(
    split(args).map(([files, own]) => denoTest(files, [...own, ...(requireAll ? ["--require-all"] : [])], jsr)),
  );
  const output = runs.map((of) => of.output).join("\n");
  for (const name of readIgnored(output)) console.log(`Skipped: ${name}`);
  await tellUntried(output);
  const missing = await missingTools();
  for (const { command, reason } of missing) console.log(`Not installed: ${command}, ${reason}.`);
  const tooFew = requireAll && missing.length > 0;
  if (missing.length > 0) console.log(`${tooFew ? "Required by --require-all" : "Install"}: ${installLine(missing)}`);
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { code, output } of runs) {
    const outcome = readSummary(output);
    if (outcome === null) console.log(`No test was run: deno test ended with code ${code}.`);
    const { passed, failed, skipped } = outcome ?? { passed: 0, failed: 1, skipped: 0 };
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped += skipped;
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ""}`);
  return runs.find(({ code }) => code !== 0)?.code ?? (tooFew ? 1 : 0);
}

if (import.meta.main) {
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGTERM", () => {
      for (const child of running) child.kill("SIGTERM");
      Deno.exit(143);
    });
  }
  const own = ["--require-all", "--jsr", "--"];
  const rest = Deno.args.filter((arg) => !own.includes(arg));
  Deno.exit(await runTests(rest, Deno.args.includes("--require-all"), Deno.args.includes("--jsr")));
}
