/**
 * Runs a task as a user does: with the permissions that deno.json gives it, in a project folder of its own.
 *
 * @module
 */
import { deadline } from "@std/async";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { listProc, readProc } from "../sampling/procfs.ts";
import { folder } from "./folder.ts";

/** The folder of this project. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const { tasks }: { tasks: Record<string, { command: string }> } = JSON.parse(
  Deno.readTextFileSync(join(ROOT, "deno.json")),
);
const MARK = "C10K_LAB_TEST"; // in the environment of a task and of all that it starts

/** The words behind `deno` that run a task from any folder. */
function wordsOf(name: string, args: readonly string[]): string[] {
  const [, run, ...words] = tasks[name]!.command.split(" ");
  const script = words.map((word) =>
    word.replace(/^(--lock=)?(scripts\/.*)/, (_, flag = "", path) => flag + join(ROOT, path))
  );
  return [run!, "--no-prompt", "--config", join(ROOT, "deno.json"), ...script, ...args];
}

/** An empty project. */
export function project(): ReturnType<typeof folder> {
  const made = folder();
  Deno.mkdirSync(join(made.path, "results"));
  return made;
}

/** A file of a process; the empty text where that has ended, or is another user's. */
function readIfThere(path: string): string {
  try {
    return readProc(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return "";
    throw error;
  }
}

/** How long a test waits for a task in silence: a task that hangs is a failure, and no end of all tests. */
const LONGEST_MS = 300_000;

/** A task that runs. Bind it with `await using`. */
export class RunningTask implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #mark = crypto.randomUUID();
  readonly #output: Promise<string>;
  readonly #errors: Promise<void>;
  #said = "";
  /** Whether it has ended. */
  hasEnded = false;
  #changed = Promise.withResolvers<void>();

  /** @param within Words that start it, such as `["prlimit", "--nofile=64"]`, or what puts them around a command. */
  constructor(
    name: string,
    args: readonly string[],
    cwd: string,
    env: Record<string, string> = {},
    within: readonly string[] | ((words: string[]) => string[]) = [],
  ) {
    const own = [Deno.execPath(), ...wordsOf(name, args)];
    const [command, ...words] = typeof within === "function" ? within(own) : [...within, ...own];
    this.#child = new Deno.Command(command!, {
      args: words,
      cwd,
      env: { FORCE_COLOR: "1", ...env, [MARK]: this.#mark }, // colours where they are not wanted would show
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#output = new Response(this.#child.stdout).text();
    this.#errors = this.#collect();
  }

  async #collect(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#said += text;
      this.#wake();
    }
    this.hasEnded = true;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  /** Waits until the task has said something on stderr. @throws {Error} If it ends before, or takes minutes. */
  async hear(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#said)) {
      if (this.hasEnded) throw new Error(`The task ended without ${pattern}: ${this.#said}`);
      await this.#inTime(this.#changed.promise, `saying ${pattern}`);
    }
  }

  /** Waits for an event that comes in seconds, even on a busy machine. @throws {Error} If it does not come. */
  #inTime<T>(event: Promise<T>, what: string): Promise<T> {
    return deadline(event, LONGEST_MS).catch((error) => {
      if (!(error instanceof DOMException)) throw error;
      throw new Error(`The task runs on without ${what}: ${this.#said}`);
    });
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits for the end, and returns what was printed. */
  async end(): Promise<{ code: number; stdout: string; stderr: string }> {
    const end = Promise.all([this.#child.status, this.#output, this.#errors]);
    const [{ code }, stdout] = await this.#inTime(end, "an end");
    return { code, stdout, stderr: this.#said };
  }

  /** The ids of the processes of the task that live. Linux only. */
  pids(): string[] {
    return listProc("/proc").filter((name) => /^\d+$/.test(name)).filter((pid) => {
      const environment = readIfThere(`/proc/${pid}/environ`);
      const isGone = / [ZX] /.test(readIfThere(`/proc/${pid}/stat`));
      return environment.includes(`${MARK}=${this.#mark}`) && !isGone;
    });
  }

  /** The command lines of processes that the task has left running. Linux only. */
  leftovers(): string[] {
    return this.pids().map((pid) => readIfThere(`/proc/${pid}/cmdline`).replaceAll("\0", " "));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended
    }
    await this.end();
  }
}

/** Runs a task to its end. */
export async function runTask(
  name: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
  within: readonly string[] = [],
): Promise<{ code: number; stdout: string; stderr: string }> {
  await using task = new RunningTask(name, args, cwd, env, within);
  return await task.end();
}

/** The files below a folder whose names end so. */
export function filesIn(dir: string, end: string): string[] {
  return [...Deno.readDirSync(dir)].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return filesIn(join(dir, name), end);
    return name.endsWith(end) ? [join(dir, name)] : [];
  });
}
