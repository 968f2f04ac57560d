/**
 * Lines of an experiment's source, found by what stands in them, so that a text that shows them follows the file.
 *
 * @module
 */
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { find } from "../catalogue/catalogue.ts";
import { StartError } from "../server/server.ts";
import { installLine, isInstalled } from "../catalogue/tools.ts";

const TROUBLE = 2; // diff(1): 0 means the same, 1 a difference
const FOLDER = fileURLToPath(new URL("../../experiments", import.meta.url));

/** Some lines of a file, without the indent that they have in common with the first. */
export interface Excerpt {
  /** Of the first line, counted from 1. */
  line: number;
  text: string;
}

const indentOf = (line: string): string => /^\s*/.exec(line)![0];

/**
 * Cuts lines out of a text: from the first that holds `from`, to the first after it that holds `to`, both included.
 *
 * @param to Unless said: where the block ends that begins with the first line.
 * @throws {Error} If there are no such lines.
 *
 * @example
 * ```ts
 * cut("let n = 0;\nfunction up() {\n  n++;\n}\n", "function up").text; // "function up() {\n  n++;\n}"
 * ```
 */
export function cut(text: string, from: string, to?: string): Excerpt {
  const lines = text.split("\n");
  const first = lines.findIndex((line) => line.includes(from));
  if (first < 0) throw new Error(`No line holds ${JSON.stringify(from)}: it may have another name now`);
  const indent = indentOf(lines[first]!);
  const isEnd = (line: string) => to === undefined ? line.startsWith(`${indent}}`) : line.includes(to);
  const length = lines.slice(first + 1).findIndex(isEnd) + 1;
  if (length === 0) {
    throw new Error(`Behind ${JSON.stringify(from)} no line holds ${JSON.stringify(to ?? `${indent}}`)}`);
  }
  const cut = lines.slice(first, first + length + 1);
  return {
    line: first + 1,
    text: cut.map((line) => line.startsWith(indent) ? line.slice(indent.length) : line.trimStart()).join("\n"),
  };
}

/**
 * Cuts lines out of a file of experiments/. Needs `--allow-read`.
 *
 * @param path Relative to that folder, such as `epoll.ts` or `peers/c/c-threads.c`.
 * @throws {Error} If there are no such lines: names the file.
 */
export function excerpt(path: string, from: string, to?: string): Excerpt {
  try {
    return cut(Deno.readTextFileSync(join(FOLDER, path)), from, to);
  } catch (error) {
    throw new Error(`Cannot show experiments/${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** The hunks of a unified diff from the first section of the old file on: what stands above is the header. */
export function withoutHeader(diff: string, sectionLine: number): string {
  const hunks = diff.split(/^(?=@@ )/m).slice(1); // before the first stand the names of the files
  return hunks.filter((hunk) => Number(/^@@ -(\d+)/.exec(hunk)![1]) >= sectionLine)
    .map((hunk) => hunk.replace(/^@@ -(\d+).*\n/, "@@ line $1\n")).join("").trimEnd();
}

/**
 * What differs between two experiments below their headers, as diff(1) tells it: lines of the first begin with `-`. Needs
 * `--allow-read` and `--allow-run=diff`.
 *
 * @throws {StartError} As `skipped`, if there is no diff(1).
 * @throws {Error} If diff(1) cannot compare them: in its words.
 */
export async function difference(a: string, b: string): Promise<string> {
  if (!await isInstalled("diff")) {
    const tool = { command: "diff", package: "diffutils", reason: "compares two experiments" };
    throw new StartError({ ended: "skipped", reason: `The comparison needs diff: ${installLine([tool])}` });
  }
  const [old, young] = [find(a).path, find(b).path];
  const { code, stdout, stderr } = await new Deno.Command("diff", { args: ["-U0", old!, young!] }).output();
  const text = new TextDecoder();
  if (code >= TROUBLE) throw new Error(`Cannot compare ${a} with ${b}: ${text.decode(stderr).trim()}`);
  return withoutHeader(text.decode(stdout), excerpt(basename(old!), "// ----", "// ----").line);
}
