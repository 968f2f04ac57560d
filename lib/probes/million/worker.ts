/**
 * The client of the probe `million`: one process and one thread with many rings. Started by child.ts, with a `MillionConfig`
 * as JSON in its argument; it says its state on stdout, a line of JSON each, and ends with its stdin, or with its parent.
 * Linux only.
 *
 * @module
 */
import { ClientRing } from "./client.ts";
import { addressOf, dieWithParent, Poller } from "./libc.ts";
import { Ring } from "./ring.ts";
import { countError, REQUEST } from "./talk.ts";
import { type ClientState, MAX_RINGS, type MillionCommand, type MillionConfig } from "./protocol.ts";

const STDIN = 0; // also its mark: those of the rings begin behind it
const PATIENCE_MS = 10_000; // so long without any event, and the client gives up those that did not answer
const MAX_LINE_BYTES = 4096; // a command is one number
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Writes a line whole, before anything else happens. */
function tell(state: ClientState): void {
  for (let rest = encoder.encode(JSON.stringify(state) + "\n"); rest.length > 0;) {
    rest = rest.subarray(Deno.stdout.writeSync(rest));
  }
}

let line = "";
const chunk = new Uint8Array(MAX_LINE_BYTES);

/** The commands that have come on stdin. Ends this process at its end. */
function readCommands(): MillionCommand[] {
  const got = Deno.stdin.readSync(chunk);
  if (got === null) Deno.exit(0);
  const lines = (line + decoder.decode(chunk.subarray(0, got))).split("\n");
  line = lines.pop()!;
  if (line.length > MAX_LINE_BYTES) throw new Error(`A command is longer than ${MAX_LINE_BYTES} bytes`);
  return lines.map((text) => JSON.parse(text));
}

/** The eventfds of all rings and stdin in one epoll set. */
class Turns {
  readonly #poller = new Poller();
  readonly #rings: readonly ClientRing[];
  /** What the last turn has read from stdin. */
  commands: MillionCommand[] = [];

  constructor(rings: readonly ClientRing[]) {
    this.#rings = rings;
    this.#poller.add(STDIN, STDIN, { edge: false });
    // Edge: each addition to an eventfd wakes again, and nothing has to read it.
    for (const [i, { ring }] of rings.entries()) this.#poller.add(ring.eventfd, i + 1, { edge: true });
  }

  /** Waits for something to do, and does it. False if `ms` have passed. */
  next(ms: number): boolean {
    const marks = this.#poller.wait(ms);
    for (const mark of marks) {
      if (mark === STDIN) this.commands.push(...readCommands());
      else this.#rings[mark - 1]!.drain();
    }
    return marks.length > 0;
  }
}

/** Waits until all that was begun is over. What makes no progress for long is reported as an error, not as an answer. */
function finish(rings: readonly ClientRing[], turns: Turns, state: ClientState): void {
  while (rings.some((ring) => ring.isBusy)) {
    if (!turns.next(PATIENCE_MS)) return countError(state, `nothing came for ${PATIENCE_MS} ms`);
  }
}

function run(command: MillionCommand, rings: readonly ClientRing[], turns: Turns, state: ClientState): void {
  if ("connect" in command) { // ring after ring
    let left = command.connect;
    for (const ring of rings) {
      if (left === 0) break;
      left -= ring.connect(left);
      finish([ring], turns, state);
    }
  } else {
    state.answered = 0;
    for (const ring of rings) {
      ring.ask();
      finish([ring], turns, state);
    }
  }
  state.done++;
  tell(state);
}

function drive({ rings: count, slots, port }: MillionConfig): never {
  const state: ClientState = { done: 0, connected: 0, failed: 0, answered: 0, errors: {} };
  const rings = Array.from({ length: count }, (_, i) => {
    return new ClientRing(new Ring(slots, REQUEST, addressOf(i, port)), slots, state);
  });
  const turns = new Turns(rings);
  tell(state);
  for (;;) {
    while (turns.commands.length === 0) turns.next(-1);
    run(turns.commands.shift()!, rings, turns, state);
  }
}

if (import.meta.main) {
  const config: MillionConfig = JSON.parse(Deno.args[0]!);
  dieWithParent();
  if (config.rings > MAX_RINGS) throw new Error(`${config.rings} rings: there are addresses for ${MAX_RINGS}`);
  drive(config);
}
