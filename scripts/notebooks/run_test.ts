import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findPython } from "./jupyter.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PATIENCE_MS = 20_000; // only a broken run.ts lets it pass
const ignore = await findPython() === null; // deno task test tells the line that installs it
const onUnix = { ignore: ignore || Deno.build.os === "windows" }; // ps

/** Of each cell: what Jupyter may leave there, and what an author put there. */
const METADATA = { execution: { "iopub.status.idle": "2025-01-31T12:00:00Z" }, scrolled: true, tags: ["kept"] };

interface TestCell {
  source: string;
  outputs?: unknown[];
  /** As if it had never been executed. */
  fresh?: true;
  /** Text between the code. */
  markdown?: true;
}

/** A folder with notebooks, in which the command runs as in the project. */
class Folder {
  readonly path = Deno.makeTempDirSync();

  constructor(notebooks: Record<string, TestCell[]>) {
    Deno.mkdirSync(join(this.path, "notebooks"));
    for (const [name, cells] of Object.entries(notebooks)) {
      const all = cells.map(({ source, outputs = [], fresh, markdown }, i) => {
        if (markdown) return { cell_type: "markdown", id: `id${i}`, metadata: {}, source };
        return {
          cell_type: "code",
          execution_count: fresh ? null : 1,
          id: `id${i}`,
          metadata: METADATA,
          outputs,
          source,
        };
      });
      const notebook = { cells: all, metadata: {}, nbformat: 4, nbformat_minor: 5 };
      Deno.writeTextFileSync(this.file(name), JSON.stringify(notebook));
    }
  }

  file = (name: string) => join(this.path, "notebooks", `${name}.ipynb`);
  text = (name: string) => Deno.readTextFileSync(this.file(name));
  outputs = (name: string): { output_type: string; text?: string[] }[][] =>
    JSON.parse(this.text(name)).cells.map(({ outputs }: { outputs: unknown[] }) => outputs);

  command(args: string[], env: Record<string, string> = {}): Deno.Command {
    const script = ["--config", join(ROOT, "deno.json"), join(ROOT, "scripts/notebooks/run.ts")];
    const permissions = ["--no-prompt", "--allow-read", "--allow-run", "--allow-write=notebooks"];
    return new Deno.Command(Deno.execPath(), {
      args: ["run", ...permissions, ...script, ...args],
      cwd: this.path,
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  }

  async run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return decode(await this.command(args).output());
  }

  [Symbol.dispose]() {
    Deno.removeSync(this.path, { recursive: true });
  }
}

function decode({ code, stdout, stderr }: Deno.CommandOutput) {
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

const stdout = (text: string) => ({ name: "stdout", output_type: "stream", text: [text] });

/** Whether a process lives; a zombie does not. */
async function lives(pid: number): Promise<boolean> {
  const { stdout } = await new Deno.Command("ps", { args: ["-o", "stat=", "-p", String(pid)] }).output();
  return /^[^Z]/.test(new TextDecoder().decode(stdout).trim());
}

async function assertDies(pid: number): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; await lives(pid);) {
    if (Date.now() < end) continue;
    Deno.kill(pid, "SIGKILL");
    throw new Error(`${pid} lived on`);
  }
}

Deno.test("a notebook that is not there is a usage error with the nearest name", async () => {
  using folder = new Folder({ "two-servers": [] });
  const { code, stderr } = await folder.run("two-server");
  assertEquals(code, 2);
  assertStringIncludes(
    stderr,
    "Unknown notebook two-server. Did you mean two-servers?\nHelp: deno task notebook:run --help",
  );
});

Deno.test({ name: "a folder without notebooks is not a run that went well", ignore }, async () => {
  using folder = new Folder({});
  const { code, stderr } = await folder.run();
  assertEquals(code, 1);
  assertStringIncludes(stderr, "There is no notebook in notebooks/.");
});

Deno.test({ name: "text between the code is stored as text, which has no count of executions", ignore }, async () => {
  using folder = new Folder({ mixed: [{ source: "# Title", markdown: true }, { source: "1 + 1;" }] });
  const { code, stderr } = await folder.run("--write");
  assertEquals(code, 0, stderr);
  const { cells } = JSON.parse(folder.text("mixed"));
  assertEquals(cells.map((cell: Record<string, unknown>) => cell.execution_count), [undefined, 1]);
});

Deno.test("without nbclient it says how to install it and ends with 69", async () => {
  using folder = new Folder({});
  Deno.writeTextFileSync(join(folder.path, "nbclient.py"), "raise ImportError");
  const { code, stderr } = decode(await folder.command([], { PYTHONPATH: folder.path }).output());
  assertEquals(code, 69);
  assertMatch(stderr, /^Cannot execute notebooks: .*apt-get install -y jupyter-notebook python3-nbclient/);
});

Deno.test({
  name: "--write stores outputs without what varies and with the ids of cells, and then the notebook is right",
  ignore,
}, async () => {
  using folder = new Folder({
    good: [
      {
        source:
          "const { log } = console;\nlog(1);\nawait Deno.jupyter.display({ 'text/html': '<b/>' }, { raw: true });",
      },
      { source: "Deno.jupyter.md`${Deno.env.get('C10K_QUICK') ?? 'whole'}`" },
    ],
  });
  assertEquals((await folder.run("good", "--write")).code, 0);
  const text = folder.text("good");
  const { cells, metadata } = JSON.parse(text);
  assertEquals(cells.map(({ id }: { id: string }) => id), ["id0", "id1"]);
  assertEquals(cells.map((cell: { execution_count: number }) => cell.execution_count), [1, 2]);
  assertEquals(cells[0].metadata, { tags: ["kept"] });
  const html = { data: { "text/html": ["<b/>"] }, metadata: {}, output_type: "display_data" };
  assertEquals<unknown[]>(folder.outputs("good")[0]!, [stdout("1\n"), html]);
  assertEquals([metadata.kernelspec.name, metadata.language_info.version], ["c10k-lab", undefined]);
  assert(text.startsWith('{\n "cells": [\n  {\n') && text.endsWith("}\n"));
  const { code, stdout: said } = await folder.run();
  assertEquals([code, said], [0, "notebooks/good.ipynb: 2 cells checked against what is stored\n"]);
  assertEquals((await folder.run("--write")).code, 0);
  assertEquals(folder.text("good"), text);
  assertEquals((await folder.run("--write", "--quick")).code, 0);
  assertStringIncludes(text, "whole");
  assertEquals(folder.text("good"), text.replace('"whole"', '"1"'));
});

Deno.test({ name: "what a cell shows after the kernel says that it is idle is not lost", ignore }, async () => {
  const source = "for (let i = 0; i < 300; i++) { console.log(i); Deno.jupyter.display(i); console.error(i); }";
  using folder = new Folder({ late: [{ source }] });
  assertEquals((await folder.run("--write")).code, 0);
  const [shown] = folder.outputs("late");
  for (const type of ["stream", "display_data"]) {
    assert(shown!.filter(({ output_type }) => output_type === type).length >= 300, `lost ${type}`);
  }
});

Deno.test({ name: "notebook, cell and what is wrong are printed, and nothing is stored", ignore }, async () => {
  using folder = new Folder({
    dies: [{ source: "1;" }, { source: "Deno.kill(Deno.pid, 'SIGKILL'); await new Promise(() => {});" }],
    empty: [{ source: "" }],
    fails: [{ source: "console.log(1);", outputs: [stdout("1\n")] }, { source: "throw new Error('boom');" }],
    fresh: [{ source: "let x = 1;", fresh: true }],
    kind: [{ source: "console.error(1);", outputs: [stdout("1\n")] }],
    missing: [{ source: "let x = 1;", outputs: [stdout("1\n")] }],
    right: [{ source: "console.log(2);", outputs: [stdout("1\n")] }],
  });
  const { code, stdout: said, stderr } = await folder.run();
  assertEquals([code, said], [1, "notebooks/right.ipynb: 1 cell checked against what is stored\n"]);
  const lines = stderr.trim().split("\n").filter((line) => line.startsWith("notebooks/"));
  assertMatch(lines.shift()!, /^notebooks\/dies.ipynb, cell 2 \(Deno.kill.*: The kernel ended by SIGKILL\./);
  assertEquals(lines, [
    "notebooks/empty.ipynb, cell 1 (): was not executed: it is empty, or tagged to be skipped.",
    "notebooks/fails.ipynb, cell 2 (throw new Error('boom');): Error: boom",
    "notebooks/fresh.ipynb, cell 1 (let x = 1;): is stored without its outputs: use --write.",
    "notebooks/kind.ipynb, cell 1 (console.error(1);): is stored with stream stdout, but showed stream stderr.",
    "notebooks/missing.ipynb, cell 1 (let x = 1;): is stored with stream stdout, but showed nothing.",
  ]);
  const before = folder.text("fails");
  assertEquals((await folder.run("fails", "--write")).code, 1);
  assertEquals(folder.text("fails"), before);
});

Deno.test({ name: "what a cell started is dead when the notebook is done", ...onUnix }, async () => {
  using folder = new Folder({
    child: [{
      source: "const { pid } = new Deno.Command('sleep', { args: ['1000'] }).spawn();\nconsole.log(pid, Deno.pid);",
    }],
  });
  assertEquals((await folder.run("--write")).code, 0);
  const pids = folder.outputs("child")[0]![0]!.text!.join("").trim().split(" ").map(Number);
  assertEquals(pids.length, 2);
  for (const pid of pids) assertEquals(await lives(pid), false);
});

Deno.test({ name: "kernel, Python and what a cell started die with the runner", ...onUnix }, async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const source = `const { pid } = new Deno.Command("sleep", { args: ["1000"] }).spawn();
const connection = await Deno.connect({ hostname: "127.0.0.1", port: ${listener.addr.port} });
await connection.write(new TextEncoder().encode(JSON.stringify([pid, Deno.pid])));
await new Promise(() => {});`;
  using folder = new Folder({ hangs: [{ source }] });
  for (const signal of ["SIGKILL", "SIGINT"] as const) {
    await using runner = folder.command([]).spawn();
    using connection = await listener.accept();
    const buffer = new Uint8Array(100);
    const pids: number[] = JSON.parse(new TextDecoder().decode(buffer.subarray(0, (await connection.read(buffer))!)));
    const { stdout } = await new Deno.Command("ps", { args: ["-A", "-o", "pid=", "-o", "ppid="] }).output();
    const parents = new TextDecoder().decode(stdout).trim().split("\n").map((line) =>
      line.trim().split(/\s+/).map(Number)
    );
    const children = parents.filter(([, parent]) => parent === runner.pid).map(([pid]) => pid!);
    assert(children.length >= 3, "Python, the kernel and its watchdog");
    runner.kill(signal);
    await Promise.all([runner.status, runner.stdout.cancel(), runner.stderr.cancel()]);
    for (const pid of [...pids, ...children]) await assertDies(pid);
  }
});

Deno.test(
  { name: "SIGTERM ends the run with 130: what was executed is stored, and nothing is left", ...onUnix },
  async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const source = `const connection = await Deno.connect({ hostname: "127.0.0.1", port: ${listener.addr.port} });
await connection.write(new TextEncoder().encode(String(Deno.pid)));
await new Promise(() => {});`;
    using folder = new Folder({ "a-done": [{ source: "1 + 1;" }], "b-hangs": [{ source }] });
    const before = folder.text("b-hangs");
    await using runner = folder.command(["--write"]).spawn();
    using connection = await listener.accept(); // the first notebook is done, and the second one waits
    const buffer = new Uint8Array(100);
    const pid = Number(new TextDecoder().decode(buffer.subarray(0, (await connection.read(buffer))!)));
    runner.kill("SIGTERM");
    const { code, stdout, stderr } = decode(await runner.output());
    assertEquals([code, stdout], [130, "notebooks/a-done.ipynb: 1 cell executed and stored\n"], stderr);
    assertStringIncludes(stderr, "Interrupted: the notebooks until then are stored.");
    assertEquals([folder.outputs("a-done")[0]!.length, folder.text("b-hangs")], [1, before]);
    await assertDies(pid);
  },
);
