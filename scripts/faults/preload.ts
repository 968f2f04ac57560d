/**
 * The functions of interpose.c before those of libc in one server, and the page that says what they do and counts it.
 *
 * @module
 */
import { join } from "node:path";
import { temporaryFolder } from "../../lib/cli/temporary_folder.ts";
import { CannotDo, type Counted, type Injection, type Preload } from "./fault.ts";

// struct page of interpose.c. Deno runs on little-endian machines only.
const SECONDS_AT = 0; // i64
const PORT_AT = 8; // i32, as those that follow
const ERRORS_AT = 12;
const SHARE_AT = 16;
const SEED_AT = 20;
const MOVES_OUTPUT_AT = 24;
const PROCESSES_AT = 32;
const PROCESSES = 1023;
const PID_AT = 0; // i32 of struct process
const COUNT_AT: Record<Counted, number> = { clockCalls: 8, interrupted: 16, refused: 24 }; // i64
const PROCESS_BYTES = 32;
export const PAGE_BYTES = PROCESSES_AT + PROCESSES * PROCESS_BYTES;
const SHARE_OF_ALL = 65_536;
/** Bits of the word at ERRORS_AT: calls fail with EINTR, and accept with the error of a connection. */
const ERRORS: Record<Injection["kind"], number> = { interrupted: 1, refused: 2 };

const SOURCE = join(import.meta.dirname!, "interpose.c");
// Some systems define the calls as inline functions that check lengths: they would be defined twice.
const COMPILE = "-O2 -U_FORTIFY_SOURCE -shared -fPIC -pthread".split(" ");
const INSTALL = "apt-get install -y gcc libc6-dev";

/** Compiles interpose.c. */
function compile(library: string): void {
  try {
    const { success, stderr } = new Deno.Command("cc", {
      args: [...COMPILE, "-o", library, SOURCE, "-ldl"],
      stdin: "null",
    }).outputSync();
    if (success) return;
    const [line = ""] = new TextDecoder().decode(stderr).trim().split("\n");
    throw new CannotDo(`the library to load before the server's libc cannot be compiled, ${INSTALL}: ${line}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new CannotDo(`the library to load before the server's libc cannot be compiled, cc is missing: ${INSTALL}`);
  }
}

/** It, compiled, and its page. Disposing of it removes the files: those that have mapped them keep them. */
export class Interposed implements Preload, Disposable {
  /** Added to the environment of the server. */
  readonly env: Record<string, string>;
  readonly #folder = temporaryFolder();
  readonly #page = join(this.#folder.path, "page");

  /**
   * @param log The file that stdout and stderr can be moved to.
   * @throws {CannotDo} If it cannot be compiled.
   */
  constructor(log?: string) {
    const library = join(this.#folder.path, "interpose.so");
    try {
      compile(library);
      Deno.writeFileSync(this.#page, new Uint8Array(PAGE_BYTES));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.env = { LD_PRELOAD: library, FAULTS_PAGE: this.#page, ...(log !== undefined && { FAULTS_LOG: log }) };
  }

  /** Changes the page: the server has mapped it, and sees the change at once. */
  #write(at: number, bytes: Uint8Array<ArrayBuffer>): void {
    using file = Deno.openSync(this.#page, { write: true });
    file.seekSync(at, Deno.SeekMode.Start);
    file.writeSync(bytes);
  }

  #setWord(at: number, value: number): void {
    this.#write(at, new Uint8Array(Uint32Array.of(value).buffer));
  }

  step(seconds: number): void {
    this.#write(SECONDS_AT, new Uint8Array(BigInt64Array.of(BigInt(seconds)).buffer));
  }

  inject({ kind, port, share, seed }: Injection): Disposable {
    this.#setWord(PORT_AT, port);
    this.#setWord(SHARE_AT, Math.round(share * SHARE_OF_ALL));
    this.#setWord(SEED_AT, seed);
    this.#setWord(ERRORS_AT, ERRORS[kind]);
    return { [Symbol.dispose]: () => this.#setWord(ERRORS_AT, 0) };
  }

  moveOutput(): void {
    this.#setWord(MOVES_OUTPUT_AT, 1);
  }

  counts(of: Counted): Map<number, number> {
    const page = Deno.readFileSync(this.#page);
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    const counts = new Map<number, number>();
    for (let at = PROCESSES_AT; at < PAGE_BYTES; at += PROCESS_BYTES) {
      const pid = view.getInt32(at + PID_AT, true);
      if (pid !== 0) counts.set(pid, Number(view.getBigInt64(at + COUNT_AT[of], true)));
    }
    return counts;
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}
