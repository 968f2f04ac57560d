/**
 * Small C programs, compiled and run: for what only C can show.
 *
 * @module
 */
import { join } from "node:path";
import { settles, spawnGroup } from "../server/process_group.ts";
import { StartError } from "../server/server.ts";
import { installLine, isInstalled } from "../catalogue/tools.ts";

const TIMEOUT_MS = 10_000;
const OUTPUT_BLOCKS = 2048; // of 512 bytes, as ulimit(1) counts: a program that says more ends by SIGXFSZ
// exec: the program is the leader of its group, so that its end is the one that is reported.
const RUN = `ulimit -f ${OUTPUT_BLOCKS}; exec ./main >said 2>&1`;

/** What a program said, and how it ended. */
export interface Said {
  output: string;
  /** `exit code 0`, or the signal that ended it. */
  end: string;
}

/**
 * Compiles a C program with gcc and runs it, for some seconds at the most; it ends with this process, however that ends. Needs
 * `--allow-run`, and `--allow-read` and `--allow-write` for the folder of temporary files.
 *
 * @param flags Of the compiler, such as `["-O2"]`.
 * @throws {StartError} As `skipped`, if there is no gcc, or no POSIX shell.
 * @throws {Error} If it does not compile, with what the compiler said.
 */
export async function runC(source: string, flags: readonly string[] = []): Promise<Said> {
  if (Deno.build.os === "windows") {
    throw new StartError({ ended: "skipped", reason: "C programs are run by a POSIX shell, this is windows." });
  }
  if (!await isInstalled("gcc")) {
    const tool = { command: "gcc", package: "gcc libc6-dev", reason: "compiles C" };
    throw new StartError({ ended: "skipped", reason: `C needs gcc: ${installLine([tool])}` });
  }
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "main.c"), source);
    const compiler = new Deno.Command("gcc", { args: [...flags, "-o", "main", "main.c"], cwd: folder });
    const compiled = await compiler.output();
    if (!compiled.success) throw new Error(`It does not compile: ${new TextDecoder().decode(compiled.stderr)}`);
    const group = await spawnGroup({ command: "sh", args: ["-c", RUN], cwd: folder });
    const { signal, code } = await settles(group.gone, TIMEOUT_MS) ? await group.gone : await group.kill();
    const output = await Deno.readTextFile(join(folder, "said"));
    return { output: output.trimEnd(), end: signal ?? `exit code ${code}` };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
