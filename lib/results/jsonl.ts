/**
 * Files of one JSON value a line, which grow while programs are killed and disks run full: what was stored stays, and
 * what is damaged is named.
 *
 * @module
 */
import * as v from "valibot";
import { wrongIn } from "./check.ts";
import { CannotStore, store } from "./durable_file.ts";

/** What a file of lines has. */
export interface Lines<T> {
  values: T[];
  /** A sentence for each line that is damaged or of another shape. Such a line is passed over, and stays in the file. */
  warnings: string[];
}

const SHOWN = 60; // characters of a damaged line

/** The text of a file; empty if there is none. */
export async function readIfThere(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** The value of a line, or what is wrong with it. */
export function parseLine<T>(line: string, schema: v.GenericSchema): { value: T } | { wrong: string } {
  try {
    const value: unknown = JSON.parse(line);
    const wrong = wrongIn(schema, value);
    return wrong === undefined ? { value: value as T } : { wrong };
  } catch (error) {
    return { wrong: `it is damaged: ${(error as SyntaxError).message}` };
  }
}

/** Reads a file of lines; none if it is not there. Needs `--allow-read`. */
export async function readLines<T>(path: string, schema: v.GenericSchema): Promise<Lines<T>> {
  const values: T[] = [];
  const warnings: string[] = [];
  for (const [i, line] of (await readIfThere(path)).split("\n").entries()) {
    if (line === "") continue;
    const parsed = parseLine<T>(line, schema);
    if ("value" in parsed) values.push(parsed.value);
    else warnings.push(`${path}, line ${i + 1} is passed over, ${parsed.wrong}: ${line.slice(0, SHOWN)}`);
  }
  return { values, warnings };
}

/**
 * Ends the last line of a file that a killed program or a full disk has torn, so that the next one begins a line of its own.
 * A whole value is kept; half of one cannot be read by anybody, and goes. Needs `--allow-read` and `--allow-write`.
 *
 * @returns A sentence that tells what was done, with what was torn; null if nothing was.
 * @throws {CannotStore} If the file cannot be written.
 */
export async function repairLines(path: string): Promise<string | null> {
  const text = await readIfThere(path);
  if (text === "" || text.endsWith("\n")) return null;
  const at = text.lastIndexOf("\n") + 1;
  const last = text.slice(at);
  const isWhole = "value" in parseLine(last, v.unknown());
  await store(path, isWhole ? `${text}\n` : text.slice(0, at));
  return isWhole
    ? `${path}: the last line had no end, and has one now.`
    : `${path}: the last line was torn, and is taken out; it was: ${last}`;
}

/**
 * Adds a line. The file is rewritten and renamed, so that it is whole at all times, however this process ends: it is small
 * beside what a line of it took to measure. Needs `--allow-read` and `--allow-write`.
 *
 * @throws {CannotStore} If it cannot be stored; the file is as it was. Also if its last line is torn: repair it first.
 */
export async function appendLine(path: string, value: unknown): Promise<void> {
  const text = await readIfThere(path);
  if (text !== "" && !text.endsWith("\n")) throw new CannotStore(`Cannot add to ${path}: its last line is torn.`);
  await store(path, `${text}${JSON.stringify(value)}\n`);
}

/** Takes lines out, those that `keep` says false of; others, also damaged ones, stay as they are. No file is left of none. */
export async function filterLines<T>(
  path: string,
  schema: v.GenericSchema,
  keep: (value: T) => boolean,
): Promise<void> {
  const lines = (await readIfThere(path)).split("\n").filter((line) => line !== "");
  const kept = lines.filter((line) => {
    const parsed = parseLine<T>(line, schema);
    return !("value" in parsed) || keep(parsed.value);
  });
  if (kept.length === lines.length) return;
  if (kept.length === 0) await Deno.remove(path);
  else await store(path, kept.map((line) => `${line}\n`).join(""));
}
