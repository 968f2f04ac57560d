/**
 * What a coordinator and the agents of a fleet say to each other over NATS: subjects, and a schema for each message.
 *
 * ```text
 * coordinator                       broker                       agents
 *   call, again and again ──────────────────────────────────────►  offer: version, bounds, what is refused
 *   engage ─────────────────────────────────────────────────────►  engaged, or refused
 *   start: head, method, path ──────────────────────────────────►  processes are started
 *   clock × 16, the barrier ────────────────────────────────────►  the time there
 *   do: a command with absolute times ──────────────────────────►  its outcome
 *   stop, at the end of a run; release, at the end of all ──────►
 *   beat ───────────────────────────────────────────────────────►  pulse: progress
 * ```
 *
 * Nothing is sent twice: a side that loses the broker ends its part of the run, so no message can be missing unseen.
 *
 * @module
 */
import * as v from "valibot";
import type { Command } from "../load/generator.ts";

/** How often both sides give a sign of life. */
export const BEAT_MS = 500;
/** After so long without one the other side is gone. */
export const SILENT_MS = 5000;

const ROOT = "c10k";
/** Where a coordinator asks for agents. */
export const CALL_SUBJECT = `${ROOT}.call`;
/** Where it hears their offers, and their signs of life: the run is a random id. */
export const offerSubject = (run: string) => `${ROOT}.run.${run}.offer`;
export const pulseSubject = (run: string) => `${ROOT}.run.${run}.pulse`;
/** Where all agents of a run hear that the coordinator is there. */
export const beatSubject = (run: string) => `${ROOT}.run.${run}.beat`;

/** What a coordinator asks of one agent. Each is answered. */
export const VERBS = ["engage", "start", "clock", "do", "stop", "release"] as const;
export type Verb = typeof VERBS[number];
export const verbSubject = (run: string, agent: string, verb: Verb) => `${ROOT}.run.${run}.${agent}.${verb}`;
/** All that is asked of an agent, in whichever run. */
export const agentSubject = (agent: string) => `${ROOT}.run.*.${agent}.*`;

/** The run and the verb of a subject. */
export function partsOf(subject: string): { run: string; verb: Verb | null } {
  const [, , run = "", , verb] = subject.split(".");
  return { run, verb: VERBS.find((known) => known === verb) ?? null };
}

/** Eight random bytes, as a part of a subject. */
export const randomId = (bytes = 8): string => crypto.getRandomValues(new Uint8Array(bytes)).toHex();

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const finite = v.pipe(v.number(), v.finite());
const positive = v.pipe(v.number(), v.finite(), v.minValue(0));
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const id = v.pipe(v.string(), v.regex(/^[0-9a-f]{8,32}$/));
const text = v.pipe(v.string(), v.maxLength(4096));
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535));

/** The server under load. The coordinator has resolved its name. */
export const TARGET = v.strictObject({
  host: text,
  addresses: v.pipe(v.array(v.union([v.pipe(v.string(), v.ipv4()), v.pipe(v.string(), v.ipv6())])), v.minLength(1)),
  port,
});
export type FleetTarget = v.InferOutput<typeof TARGET>;

// Not strict: a call or an offer of another version is to be understood so far that it can be refused.
export const CALL = v.object({ run: id, target: TARGET });

/** What an agent makes at the most. */
export const BOUNDS = v.strictObject({
  connections: whole,
  rate_per_s: positive,
  seconds: positive,
  /** Whether it does no loop but the open one, which alone has a rate. */
  open_only: v.boolean(),
});
export type Bounds = v.InferOutput<typeof BOUNDS>;

export const OFFER = v.object({
  agent: id,
  /** Under which a person knows it. */
  name: text,
  /** Of the source of its load generator. */
  digest: text,
  processes: whole,
  bounds: BOUNDS,
  /** Why it cannot take part; null: it can. */
  refuses: v.nullable(text),
});
export type Offer = v.InferOutput<typeof OFFER>;

export const REFUSED = v.strictObject({ refused: text });
export const ENGAGE = v.strictObject({ target: TARGET, digest: text });
export const DONE = v.strictObject({ ok: v.literal(true) });
/** The path of a request. */
const pathText = v.pipe(text, v.regex(/^\/[!-~]*$/));
export const START = v.strictObject({
  head: v.picklist(["minimal", "client", "browser"]),
  method: v.picklist(["GET", "HEAD"]),
  path: pathText,
});
/** The clock of each process of an agent, less that of the agent. */
export const STARTED = v.strictObject({ offsets_us: v.pipe(v.array(finite), v.minLength(1), v.maxLength(64)) });
export const NOTHING = v.strictObject({});
export const CLOCK = v.strictObject({ at_us: finite });
export const BEAT = v.strictObject({ beat: whole });

const PROGRESS = v.strictObject({ phase: text, connections: whole, answered: whole, seconds: finite });
/** By process, what it has said last; null: nothing yet. */
export const PULSE = v.strictObject({ agent: id, progress: v.array(v.nullable(PROGRESS)), ended: v.nullable(text) });

const timeoutMs = v.pipe(v.number(), v.finite(), v.minValue(1));
const timing = { startUs: finite, fromUs: finite, toUs: finite, endUs: finite };
const command = <const Name extends Command["name"], const Options extends v.GenericSchema>(
  name: Name,
  options: Options,
) => v.strictObject({ name: v.literal(name), options });

/** The commands that an agent does: those of HTTP. */
export const COMMAND = v.variant("name", [
  command("connect", v.strictObject({ count: whole, timeoutMs })),
  command("ask", v.strictObject({ onlyNew: v.boolean(), window: whole, timeoutMs })),
  command("closed", v.strictObject({ ...timing, path: v.nullable(pathText) })),
  command("churn", v.strictObject({ ...timing, concurrency: whole })),
  command(
    "open",
    v.strictObject({
      startUs: finite,
      endUs: finite,
      rate: positive,
      total: whole,
      first: whole,
      step: v.pipe(whole, v.minValue(1)),
      heavyShare: share,
      heavyPath: pathText,
    }),
  ),
  command("slow", v.strictObject({ count: whole, timeoutMs })),
  command("slowEnd", v.null()),
  command("drop", v.null()),
  command("totals", v.null()),
]);
export type FleetCommand = v.InferOutput<typeof COMMAND>;
export const DO = v.strictObject({ process: whole, command: COMMAND });

const counts = v.record(v.string(), whole);
const histogram = v.string(); // an HdrHistogram in base64: lib/load/merge.ts reads it
const CONNECTED = v.strictObject({
  requested: whole,
  connected: whole,
  failed: whole,
  redials: whole,
  seconds: positive,
  errors: counts,
});
const WINDOW = v.strictObject({
  seconds: positive,
  from_us: finite,
  to_us: finite,
  connections: whole,
  requests: whole,
  drained: whole,
  errors: counts,
  lost: whole,
  dropped: whole,
  closed: whole,
  reconnects: whole,
  redials: whole,
  closes: counts,
  unanswered: whole,
  histogram,
  censored: histogram,
  raw: v.nullable(histogram),
  lateness: v.nullable(histogram),
  client_cpu_us: positive,
  client_spin_us: positive,
  late_sends: whole,
  scheduled: v.nullable(whole),
  stopped_early: v.nullable(text),
});
/** What comes of each command. */
export const OUTCOMES = {
  connect: CONNECTED,
  slow: CONNECTED,
  ask: v.strictObject({
    asked: whole,
    answered: whole,
    lost: whole,
    dropped: whole,
    closed: whole,
    unanswered: whole,
    seconds: positive,
    histogram,
    errors: counts,
  }),
  closed: WINDOW,
  churn: WINDOW,
  open: WINDOW,
  slowEnd: v.null(),
  drop: v.null(),
  totals: v.strictObject({
    connections: whole,
    answered: whole,
    lost: whole,
    dropped: whole,
    closed: whole,
    reconnects: whole,
    redials: whole,
    errors: counts,
  }),
} as const satisfies Record<FleetCommand["name"], v.GenericSchema>;

/** An outcome as it comes, and how many clients the process holds now. */
export const OUTCOME = v.strictObject({ done: v.unknown(), clients: whole });

/** A message that is not what the protocol says. */
export class WrongMessage extends Error {
  override readonly name = "WrongMessage";
}

/**
 * Reads a message.
 *
 * @throws {WrongMessage} If it is none of this kind: with the place where it differs.
 */
export function readMessage<const S extends v.GenericSchema>(schema: S, json: string): v.InferOutput<S> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new WrongMessage("it is no JSON");
  }
  return checkMessage(schema, value);
}

/** The same of a part of a message. */
export function checkMessage<const S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> {
  const read = v.safeParse(schema, value, { abortEarly: true });
  if (read.success) return read.output;
  const [issue] = read.issues;
  const path = v.getDotPath(issue);
  throw new WrongMessage(path === null ? issue.message : `${path}: ${issue.message}`);
}

/** The same of an answer, which may be a refusal. */
export function readAnswer<const S extends v.GenericSchema>(
  schema: S,
  json: string,
): v.InferOutput<S> | v.InferOutput<typeof REFUSED> {
  return readMessage(v.union([REFUSED, schema]), json);
}
