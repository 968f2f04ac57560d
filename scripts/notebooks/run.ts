/**
 * Executes notebooks without a browser, and sees whether each cell still shows what it is stored with, in kind.
 *
 * deno task notebook:run [name…] [--quick] [--write]
 *
 * --quick: C10K_QUICK=1 asks the cells for smaller runs; two notebooks are executed at a time where nothing is stored.
 * --write: stores what the cells show now.
 */
import { limitAsync } from "es-toolkit";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { findIn } from "../../lib/catalogue/catalogue.ts";
import { Unavailable } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { counted } from "../../lib/text/format.ts";
import { type Group, spawnGroup } from "../../lib/server/process_group.ts";
import { findPython, INSTALL_JUPYTER, kernelArgs, KERNELSPEC } from "./jupyter.ts";
import { cellName, differences, type Notebook } from "./file.ts";
import { entries, store } from "../../lib/results/durable_file.ts";

const USAGE = `Usage: deno task notebook:run [name…] [--quick] [--write]
       --quick: asks the cells for smaller runs, by C10K_QUICK=1; without --write of
       two notebooks at a time, as their figures count for nothing then.
       --write: stores what the cells show now.`;
const FOLDER = "notebooks";
const RUNNER = fileURLToPath(new URL("run.py", import.meta.url));
const CELL_TIMEOUT_S = 600; // what a cell may take that measures

/** A line of run.py. */
type Said = { connection: string } | { cell: number } | { failed: string } | { notebook: string };

/** How it went: the text of the executed notebook, or why there is none, at which cell (null: before the first). */
type Outcome = { text: string } | { cell: number | null; reason: string };

function startRunner(python: string, path: string): Deno.ChildProcess {
  const order = { notebook: path, kernelspec: KERNELSPEC, cell_timeout_s: CELL_TIMEOUT_S };
  return new Deno.Command(python, {
    args: [RUNNER, JSON.stringify(order)],
    stdin: "piped", // it ends when this pipe does
    stdout: "piped",
    detached: true, // Ctrl-C of the terminal reaches this process alone
  }).spawn();
}

async function endOf(kernel: Group | null): Promise<string> {
  if (kernel === null) return "scripts/notebooks/run.py ended before the kernel began.";
  const { code, signal } = await kernel.kill();
  return `The kernel ended ${signal === null ? `with exit code ${code}` : `by ${signal}`}. ${kernel.stderrTail.trim()}`;
}

/** Executes a notebook in a kernel of its own. Nothing that its cells started in the kernel's group is left. */
async function execute(
  python: string,
  path: string,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<Outcome> {
  signal.throwIfAborted();
  const runner = startRunner(python, path);
  let kernel: Group | null = null;
  let cell: number | null = null;
  let ending: Promise<void> | null = null;
  const end = () => ending ??= runner.stdin.close();
  signal.addEventListener("abort", end, { once: true });
  try {
    for await (const line of createInterface({ input: Readable.fromWeb(runner.stdout) })) {
      const said: Said = JSON.parse(line);
      if ("connection" in said) {
        kernel = await spawnGroup({ command: Deno.execPath(), args: kernelArgs(said.connection), cwd: FOLDER, env });
        kernel.status.then(end);
      } else if ("cell" in said) cell = said.cell;
      else return "failed" in said ? { cell, reason: said.failed } : { text: said.notebook };
    }
    signal.throwIfAborted();
    return { cell, reason: await endOf(kernel) };
  } finally {
    signal.removeEventListener("abort", end);
    await kernel?.kill();
    await end();
    await runner.status;
  }
}

/** Executes one notebook and tells what is wrong with it. */
async function check(
  python: string,
  path: string,
  { quick, write }: { quick: boolean; write: boolean },
  signal: AbortSignal,
): Promise<boolean> {
  const stored: Notebook = JSON.parse(await Deno.readTextFile(path));
  const tell = (cell: number | null, what: string) =>
    console.error(`${path}${cell === null ? "" : `, ${cellName(stored, cell)}`}: ${what}`);
  const outcome = await execute(python, path, { NO_COLOR: "1", ...(quick && { C10K_QUICK: "1" }) }, signal);
  if ("reason" in outcome) {
    tell(outcome.cell, outcome.reason);
    return false;
  }
  const executed: Notebook = JSON.parse(outcome.text);
  const wrong = differences(write ? executed : stored, executed);
  for (const { cell, what } of wrong) tell(cell, what);
  if (wrong.length > 0) return false;
  if (write) await store(path, outcome.text);
  const cells = counted(executed.cells.filter(({ cell_type }) => cell_type === "code").length, "cell");
  console.log(`${path}: ${cells} ${write ? "executed and stored" : "checked against what is stored"}`);
  return true;
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { boolean: ["quick", "write"] });
  const files = (await entries(FOLDER)).filter(({ name, isFile }) => isFile && name.endsWith(".ipynb"));
  const all = files.map(({ name }) => ({ name: basename(name, ".ipynb"), path: join(FOLDER, name) }));
  const chosen = flags._.length > 0 ? flags._.map((name) => findIn(all, name, "notebook")) : all;
  const python = await findPython();
  if (python === null) {
    throw new Unavailable(`Cannot execute notebooks: no Python here has nbclient. Install it: ${INSTALL_JUPYTER}`);
  }
  if (chosen.length === 0) {
    console.error(`There is no notebook in ${FOLDER}/.`);
    return EXIT.failed;
  }
  return await interruptible(async (signal) => {
    const isPaired = flags.quick && !flags.write;
    const checking = limitAsync(check, isPaired ? 2 : 1);
    const ordered = isPaired ? chosen.toReversed() : chosen; // the last lessons take longest: none is left alone at the end
    const isRight = await Promise.all(ordered.map(({ path }) => checking(python, path, flags, signal)));
    return isRight.every(Boolean) ? EXIT.ok : EXIT.failed;
  }, flags.write ? "the notebooks until then are stored." : "the notebooks until then were checked.");
});
