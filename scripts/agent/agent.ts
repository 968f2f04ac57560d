/**
 * An agent of a fleet: it waits for a coordinator, and makes load for it within its bounds. It works for one run at a time.
 *
 * @module
 */
import type * as v from "valibot";
import { hear, type Msg, type NatsConnection } from "../../lib/fleet/broker.ts";
import {
  agentSubject,
  BEAT_MS,
  beatSubject,
  type Bounds,
  CALL,
  CALL_SUBJECT,
  checkMessage,
  DO,
  ENGAGE,
  type FleetCommand,
  type FleetTarget,
  NOTHING,
  offerSubject,
  OUTCOMES,
  partsOf,
  pulseSubject,
  randomId,
  readMessage,
  SILENT_MS,
  START,
  type Verb,
  WrongMessage,
} from "../../lib/fleet/protocol.ts";
import type { Targets } from "./targets.ts";
import { KnownFailure, UsageError } from "../../lib/cli/errors.ts";
import { type Command, type LoadChild, type Progress, startProcesses } from "../../lib/load/generator.ts";
import { monotonicUs } from "../../lib/sampling/process.ts";
import { count } from "../../lib/text/format.ts";

/** A name or an address. */
const HOST = /^[\w.:%-]+$/;

/** How an agent works. */
export interface AgentOptions {
  /** Under which people know it. */
  name: string;
  /** Of the source of its load generator. */
  digest: string;
  bounds: Bounds;
  targets: Targets;
  /** The cores of its processes, or how many there are. */
  cpus: readonly number[] | null;
  processes: number;
  /** A line for its user. */
  say(line: string): void;
}

/** Something that the agent does not do. The message goes to the coordinator. */
class Refusal extends Error {
  override readonly name = "Refusal";
}

/** What a command that is under way may add to the load. */
interface Reserved {
  connections: number;
  ratePerS: number;
}

/** What it does for one coordinator. */
interface Lease {
  run: string;
  target: FleetTarget;
  children: LoadChild[];
  /** By process: slow clients, which the process does not count among those it holds. */
  slow: number[];
  progress: (Progress | null)[];
  /** Of all processes: what they do together is bounded, whatever each of them does. */
  underWay: Set<Reserved>;
  heardAtMs: number;
  untilMs: number;
  /** Ends what watches over it. */
  watch: { close(): void };
  /** A start that is under way: an end waits for it. */
  starting: Promise<unknown>;
  isStarting: boolean;
  /** Whether processes were started for it. */
  hasStarted: boolean;
}

/** An agent that waits or works. */
export class Agent implements AsyncDisposable {
  readonly id = randomId();
  readonly #broker: NatsConnection;
  readonly #options: AgentOptions;
  #lease: Lease | null = null;
  /** The end of the last lease: no other begins before. */
  #ending: Promise<void> = Promise.resolve();
  /** Resolves at the end of the first run for which it has started processes: a coordinator may release it before. */
  readonly served: Promise<void>;
  #onServed = () => {};

  constructor(broker: NatsConnection, options: AgentOptions) {
    this.#broker = broker;
    this.#options = options;
    this.served = new Promise((resolve) => this.#onServed = resolve);
    hear(broker, CALL_SUBJECT, (message) => this.#offer(message));
    hear(broker, agentSubject(this.id), (message) => this.#answer(message));
  }

  /** Why it cannot work for a target now; null: it can. */
  #obstacle(addresses: readonly string[]): string | null {
    if (this.#lease !== null) return "it works for another run";
    const address = this.#options.targets.forbidden(addresses);
    return address === null ? null : `it may not load ${address}: start it with --allow-target ${address}`;
  }

  #offer(message: Msg): void {
    const { name, digest, bounds, cpus, processes, say } = this.#options;
    try {
      const { run, target } = readMessage(CALL, message.string());
      const offer = { agent: this.id, name, digest, bounds, processes: cpus?.length ?? processes };
      const refuses = this.#lease?.run === run ? null : this.#obstacle(target.addresses);
      this.#broker.publish(offerSubject(run), JSON.stringify({ ...offer, refuses }));
    } catch (error) {
      if (!(error instanceof WrongMessage)) throw error;
      say(`A call was not understood: ${error.message}.`);
    }
  }

  /** Answers a question: with what was asked for, or with the reason why not. */
  async #answer(message: Msg): Promise<void> {
    const { run, verb } = partsOf(message.subject);
    let answer: unknown;
    try {
      if (verb === null) throw new Refusal(`it knows no ${message.subject}`);
      answer = await this.#do(verb, run, message.string());
    } catch (error) {
      answer = { refused: this.#sentenceOf(error as Error) };
    }
    this.#reply(message, JSON.stringify(answer));
  }

  /** Sends an answer. Nobody waits for this: what fails is said, and the coordinator gives the command up in its time. */
  #reply(message: Msg, json: string): void {
    const { info } = this.#broker;
    const isTooLong = info !== undefined && json.length > info.max_payload; // it is ASCII but for names
    const refused = `its answer of ${count(json.length)} bytes is more than the broker takes in a message`;
    try {
      if (!this.#broker.isClosed()) message.respond(isTooLong ? JSON.stringify({ refused }) : json);
    } catch (error) {
      this.#options.say(`An answer cannot be sent: ${(error as Error).message}.`);
    }
  }

  #sentenceOf(error: Error): string {
    if (error instanceof Refusal || error instanceof UsageError) return error.message;
    const isKnown = error instanceof KnownFailure || error instanceof WrongMessage;
    this.#options.say(`A command failed: ${isKnown ? error.message : error.stack ?? error.message}`);
    return error.message;
  }

  async #do(verb: Verb, run: string, json: string): Promise<unknown> {
    if (verb === "engage") return await this.#engage(run, json);
    if (verb === "clock") return { at_us: monotonicUs() }; // at once: it counts how long the answer takes
    const lease = this.#lease;
    if (lease === null || lease.run !== run) throw new Refusal("it does not work for this run");
    if (verb === "start") return await this.#start(lease, json);
    if (verb === "do") return await this.#command(lease, json);
    readMessage(NOTHING, json);
    if (verb === "stop") await stopAll(lease);
    else await this.end("its coordinator is done");
    return { ok: true };
  }

  async #engage(run: string, json: string): Promise<unknown> {
    const { target, digest } = readMessage(ENGAGE, json);
    await this.#ending;
    if (this.#lease?.run === run) return { ok: true }; // asked again, as the first answer came too late
    if (digest !== this.#options.digest) throw new Refusal("it has another version of the load generator");
    // It stands in the head of each request: a line break in it would make two requests of one.
    if (!HOST.test(target.host)) throw new Refusal(`${JSON.stringify(target.host)} is no host`);
    const obstacle = this.#obstacle(target.addresses);
    if (obstacle !== null) throw new Refusal(obstacle);
    const now = performance.now();
    const untilMs = now + this.#options.bounds.seconds * 1000;
    this.#lease = {
      ...{ run, target, children: [], slow: [], progress: [], underWay: new Set<Reserved>(), heardAtMs: now, untilMs },
      ...{ watch: this.#watch(run), starting: Promise.resolve(), isStarting: false, hasStarted: false },
    };
    this.#options.say(`Run ${run}: works on ${target.host}:${target.port}.`);
    return { ok: true };
  }

  /** Gives signs of life, and ends the lease when the coordinator gives none, or its time is over. */
  #watch(run: string): { close(): void } {
    const onBeat = () => {
      if (this.#lease !== null) this.#lease.heardAtMs = performance.now();
    };
    const beats = hear(this.#broker, beatSubject(run), onBeat);
    const timer = setInterval(() => {
      const { heardAtMs, untilMs } = this.#lease!;
      const now = performance.now();
      if (now - heardAtMs > SILENT_MS) this.end(`no heartbeat of its coordinator for ${SILENT_MS / 1000} s`);
      else if (now > untilMs) this.end(`its time of ${this.#options.bounds.seconds} s is over (--max-seconds)`);
      else this.#pulse(run, null);
    }, BEAT_MS);
    return {
      close: () => {
        clearInterval(timer);
        beats.unsubscribe();
      },
    };
  }

  #pulse(run: string, ended: string | null): void {
    if (this.#broker.isClosed()) return;
    const progress = this.#lease?.progress ?? [];
    this.#broker.publish(pulseSubject(run), JSON.stringify({ agent: this.id, progress, ended }));
  }

  async #start(lease: Lease, json: string): Promise<unknown> {
    const options = readMessage(START, json);
    if (lease.isStarting) throw new Refusal("it starts its processes already");
    lease.isStarting = true;
    const starting = this.#startProcesses(lease, options);
    lease.starting = starting.catch(() => {}); // the coordinator gets the error; an end waits for it first
    try {
      await starting;
    } finally {
      lease.isStarting = false;
    }
    if (this.#lease !== lease) throw new Refusal("the run has ended");
    return { offsets_us: lease.children.map(({ clockOffsetUs }) => clockOffsetUs) };
  }

  async #startProcesses(lease: Lease, { head, method, path }: v.InferOutput<typeof START>): Promise<void> {
    await stopChildren(lease);
    if (this.#lease !== lease) return; // it has ended meanwhile
    const { host, port, addresses } = lease.target;
    const { cpus, processes } = this.#options;
    const where = cpus === null ? { processes } : { cpus };
    const children = await startProcesses(
      { host, port, addresses, allow: host },
      { ...where, head, method, path },
      (i, progress) => {
        lease.progress[i] = progress;
      },
    );
    lease.children = children;
    lease.slow = children.map(() => 0);
    lease.progress = children.map(() => null);
    lease.hasStarted = true;
  }

  async #command(lease: Lease, json: string): Promise<unknown> {
    const { process, command: wanted } = readMessage(DO, json);
    const child = lease.children[process];
    if (child === undefined) throw new Refusal(`it has no process ${process}`);
    const command = paced(wanted, this.#options.bounds, lease.children.length);
    const reserved = this.#reserve(lease, child, command);
    try {
      const done = await child.run(command);
      if (command.name === "slow") lease.slow[process]! += command.options.count;
      if (command.name === "slowEnd") lease.slow[process] = 0; // `drop` leaves slow clients alone
      checkMessage(OUTCOMES[command.name], done);
      return { done, clients: child.clients };
    } catch (error) {
      if (error instanceof KnownFailure && !lease.children.includes(child)) throw new Refusal("its load was stopped");
      throw error;
    } finally {
      lease.underWay.delete(reserved);
    }
  }

  /**
   * Notes what a command adds to the load until it is over.
   *
   * @throws {Refusal} If that is more than this agent does, or comes too late for the time at which it is to begin.
   */
  #reserve(lease: Lease, child: LoadChild, command: Paced): Reserved {
    const { bounds } = this.#options;
    const wanted = loadOf(command);
    const all = [wanted, ...lease.underWay];
    const sum = (key: keyof Reserved) => all.reduce((total, each) => total + each[key], 0);
    const held = lease.children.reduce((total, { clients }, i) => total + clients + lease.slow[i]!, 0);
    if (wanted.connections > 0 && held + sum("connections") > bounds.connections) {
      throw new Refusal(`it makes up to ${count(bounds.connections)} connections (--max-connections)`);
    }
    // The rates of several processes are parts of one: their sum is that one but for the rounding of doubles.
    if (wanted.ratePerS > 0 && sum("ratePerS") > bounds.rate_per_s * (1 + 1e-9)) {
      throw new Refusal(`it sends up to ${count(bounds.rate_per_s)} requests/s (--max-rate)`);
    }
    if (bounds.open_only && (command.name === "closed" || command.name === "churn")) {
      const kind = command.name === "closed" ? "a closed loop" : "a churn";
      throw new Refusal(`it sends up to ${count(bounds.rate_per_s)} requests/s (--max-rate), and ${kind} has no rate`);
    }
    this.#keepTime(lease, child, command);
    lease.underWay.add(wanted);
    return wanted;
  }

  /** @throws {Refusal} If a command comes too late for the time at which it is to begin, or takes longer than this agent works. */
  #keepTime(lease: Lease, child: LoadChild, { name, options }: Paced): void {
    if (name !== "open" && name !== "closed" && name !== "churn") return;
    const nowUs = monotonicUs() + child.clockOffsetUs;
    if (options.startUs <= nowUs) {
      throw new Refusal(`the command came ${((nowUs - options.startUs) / 1e3).toFixed(1)} ms after its beginning`);
    }
    const { bounds } = this.#options;
    const leftS = (lease.untilMs - performance.now()) / 1000;
    if ((options.endUs - nowUs) / 1e6 > leftS) {
      throw new Refusal(
        `it works for up to ${count(bounds.seconds)} s (--max-seconds), and ${count(leftS)} s are left`,
      );
    }
  }

  /** Ends what it does, its load first. Does nothing if it does nothing. */
  end(reason: string): Promise<void> {
    const lease = this.#lease;
    if (lease === null) return this.#ending;
    lease.watch.close();
    this.#pulse(lease.run, reason);
    this.#lease = null;
    this.#ending = stopAll(lease).then(() => {
      this.#options.say(`Run ${lease.run}: over, ${reason}. No load is left.`);
      if (lease.hasStarted) this.#onServed();
    });
    return this.#ending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("the agent was stopped");
  }
}

/** A command as a process gets it. */
type Paced = Extract<Command, { name: FleetCommand["name"] }>;

/** A request on each connection has no rate of its own: each process gets its share of that of the agent, where that is bounded. */
function paced(command: FleetCommand, { open_only, rate_per_s }: Bounds, processes: number): Paced {
  if (command.name !== "ask" || !open_only) return command;
  return { ...command, options: { ...command.options, ratePerS: rate_per_s / processes } };
}

/** What a command adds to the load while it runs, at the most. */
function loadOf({ name, options }: Paced): Reserved {
  if (name === "ask") return { connections: 0, ratePerS: options.ratePerS ?? 0 };
  if (name === "connect" || name === "slow") return { connections: options.count, ratePerS: 0 };
  if (name === "churn") return { connections: options.concurrency, ratePerS: 0 };
  return { connections: 0, ratePerS: name === "open" ? options.rate / options.step : 0 };
}

/** Ends all processes of a lease, with their connections. */
async function stopAll(lease: Lease): Promise<void> {
  await lease.starting;
  await stopChildren(lease);
}

/** The same where none is being started. */
async function stopChildren(lease: Lease): Promise<void> {
  const { children } = lease;
  lease.children = [];
  await Promise.all(children.map((child) => child.stop()));
}
