/**
 * What all child processes of the lab have in common: how they are pinned and bound to their parent, how their output is
 * read, and how their end is put into words.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util";

/**
 * Lines of sh(1) that take the first argument as a core, and prefix the words behind it. Both prefixes are left out where
 * there is no such command, and both replace the shell by exec, so that the process id stays. taskset(1) pins every thread
 * that the program starts, which sched_setaffinity(2) from inside would not. PR_SET_PDEATHSIG ends the process at the
 * moment its parent ends.
 */
export const PIN_AND_BIND = `
cpu=$1
shift
if [ -n "$cpu" ] && command -v taskset >/dev/null; then set -- taskset -c "$cpu" "$@"; fi
if setpriv --pdeathsig KILL true 2>/dev/null; then set -- setpriv --pdeathsig KILL "$@"; fi`;

/** The words that start a program within limits of prlimit(1), such as `--nofile=64`. */
export const limited = (limits: readonly string[], words: readonly string[]): string[] =>
  limits.length > 0 ? ["prlimit", ...limits, ...words] : [...words];

/** Characters of a line that are kept: a longer one is no message of this project. */
const MAX_LINE = 1024 * 1024;

/** The lines of a stream as they come. What stands behind the last line break is not told. */
export async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!.slice(0, MAX_LINE);
    yield* lines;
  }
}

/** What a process said last on a stream: the end of it, in characters. */
export class Tail {
  text = "";

  constructor(readonly characters: number) {}

  add(text: string): void {
    this.text = (this.text + text).slice(-this.characters);
  }

  /** Reads a stream to its end. */
  async collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) this.add(text);
  }
}

/** How a process ended, in words: `with exit code 1`, `by SIGKILL`. */
export const howEnded = ({ code, signal }: Pick<Deno.CommandStatus, "code" | "signal">): string =>
  signal === null ? `with exit code ${code}` : `by ${signal}`;

/** What a server prints when it listens: it says nothing of why it ended. */
const BANNER = /^Listening\b/;
/** What Deno and Node say of their debugger at a signal by which a server is asked for its counts. */
const OF_DEBUGGER =
  /^(Debugger (listening|ending) on |Visit chrome:\/\/inspect|For help, see: https:\/\/nodejs\.org|Failed to start inspector|Starting inspector on )/;

/** The end of what stands below an uncaught error: its trace, its fields, the version of Node, or what `go run` adds. */
const OF_TRACE = /^(\s|\}$|Node\.js v\d|exit status \d+$)/;
const UNCAUGHT = /^(error: |panic: |fatal error: |Uncaught |Exception in thread |[\w.]*(Error|Exception)\b.*: )/;

/** What programs in Rust, as Deno is one, print below an error where RUST_BACKTRACE is set, and the hint where it is not. */
const BACKTRACE = /^stack backtrace:$/i;
const FRAME = /^\s+\d+: /;
const HINT = /^note: .*RUST_BACKTRACE/;

/** Lines without backtraces: the heading and all that is indented below it, or frames whose heading is lost. */
function withoutBacktraces(lines: readonly string[]): string[] {
  let isInside = false;
  return lines.filter((line) => {
    isInside = BACKTRACE.test(line.trim()) || (isInside && /^\s/.test(line)) || FRAME.test(line);
    return !isInside && !HINT.test(line);
  });
}

/**
 * What a process said last: a line, or the message of an error if that line is of its trace; without a phrase that stands
 * twice. The empty string if it said nothing.
 */
export function lastWords(tail: string): string {
  const own = stripVTControlCharacters(tail).split("\n");
  const all = own.filter((line) => line.trim() !== "" && !OF_DEBUGGER.test(line.trim()));
  const lines = withoutBacktraces(all);
  const end = lines.at(-1) ?? "";
  const last = (OF_TRACE.test(end) ? lines.findLast((line) => UNCAUGHT.test(line)) ?? end : end).trim();
  return BANNER.test(last) ? "" : last.replace(/(\b[^:]+: )\1+/g, "$1"); // Deno says `Could not open library: ` twice
}

/** A sentence and what the process said last, if it said anything. */
export function withLastWords(sentence: string, tail: string): string {
  const last = lastWords(tail);
  return last === "" ? sentence : `${sentence}: ${last}`;
}
