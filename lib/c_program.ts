/**
 * Small C programs, compiled and run: for what only C can show.
 *
 * @module
 */
import { join } from "node:path";
import { StartError } from "./server.ts";
import { installLine, isInstalled } from "./tools.ts";

const TIMEOUT_MS = 10_000;

/** What a program said, and how it ended. */
export interface Said {
  output: string;
  /** `exit code 0`, or the signal that ended it. */
  end: string;
}

/**
 * Compiles a C program with gcc and runs it. Needs `--allow-run`, and `--allow-read` and `--allow-write` for the folder of
 * temporary files.
 *
 * @param flags Of the compiler, such as `["-O2"]`.
 * @throws {StartError} As `skipped`, if there is no gcc.
 * @throws {Error} If it does not compile, with what the compiler said.
 */
export async function runC(source: string, flags: readonly string[] = []): Promise<Said> {
  if (!await isInstalled("gcc")) {
    const tool = { command: "gcc", package: "gcc libc6-dev", reason: "compiles C" };
    throw new StartError({ ended: "skipped", reason: `C needs gcc: ${installLine([tool])}` });
  }
  const folder = await Deno.makeTempDir(), text = new TextDecoder();
  try {
    await Deno.writeTextFile(join(folder, "main.c"), source);
    const compiler = new Deno.Command("gcc", { args: [...flags, "-o", "main", "main.c"], cwd: folder });
    const compiled = await compiler.output();
    if (!compiled.success) throw new Error(`It does not compile: ${text.decode(compiled.stderr)}`);
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const ran = await new Deno.Command(join(folder, "main"), { cwd: folder, signal }).output();
    const output = text.decode(ran.stdout) + text.decode(ran.stderr);
    return { output: output.trimEnd(), end: ran.signal ?? `exit code ${ran.code}` };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
