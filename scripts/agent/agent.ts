/**
 * An agent of a fleet: it waits for a coordinator, and makes load for it within its bounds. It works for one run at a time.
 *
 * @module
 */
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
import { UsageError } from "../../lib/cli/errors.ts";
import { type LoadChild, type Progress, startProcesses } from "../../lib/load/generator.ts";
import { monotonicUs } from "../../lib/sampling/process.ts";
import { count } from "../../lib/text/format.ts";

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

/** What it does for one coordinator. */
interface Lease {
  run: string;
  target: FleetTarget;
  children: LoadChild[];
  /** By process: slow clients, which the process does not count among those it holds. */
  slow: number[];
  progress: (Progress | null)[];
  heardAtMs: number;
  untilMs: number;
  /** Ends what watches over it. */
  watch: { close(): void };
  /** A start that is under way. */
  starting: Promise<unknown>;
}

/** An agent that waits or works. */
export class Agent implements AsyncDisposable {
  readonly id = randomId();
  readonly #broker: NatsConnection;
  readonly #options: AgentOptions;
  #lease: Lease | null = null;
  /** The end of the last lease: no other begins before. */
  #ending: Promise<void> = Promise.resolve();
  /** Resolves at the end of the first run. */
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
    if (!this.#broker.isClosed()) message.respond(JSON.stringify(answer));
  }

  #sentenceOf(error: Error): string {
    const isExpected = error instanceof Refusal || error instanceof UsageError;
    if (!isExpected) this.#options.say(`A command failed: ${error.stack ?? error.message}`);
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
    if (digest !== this.#options.digest) throw new Refusal("it has another version of the load generator");
    const obstacle = this.#obstacle(target.addresses);
    if (obstacle !== null) throw new Refusal(obstacle);
    const now = performance.now();
    const untilMs = now + this.#options.bounds.seconds * 1000;
    const common = { run, target, children: [], slow: [], progress: [] };
    const starting = Promise.resolve();
    this.#lease = { ...common, heardAtMs: now, untilMs, watch: this.#watch(run), starting };
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
    const { head, method } = readMessage(START, json);
    await stopAll(lease);
    const { host, port, addresses } = lease.target;
    const { cpus, processes } = this.#options;
    const where = cpus === null ? { processes } : { cpus };
    const starting = startProcesses(
      { host, port, addresses, allow: host },
      { ...where, head, method },
      (i, progress) => {
        lease.progress[i] = progress;
      },
    );
    lease.starting = starting.catch(() => {}); // the coordinator gets the error; an end waits for it first
    const children = await starting;
    lease.children = children;
    lease.slow = children.map(() => 0);
    lease.progress = children.map(() => null);
    if (this.#lease !== lease) { // it has ended meanwhile
      await stopAll(lease);
      throw new Refusal("the run has ended");
    }
    return { offsets_us: children.map(({ clockOffsetUs }) => clockOffsetUs) };
  }

  async #command(lease: Lease, json: string): Promise<unknown> {
    const { process, command } = readMessage(DO, json);
    const child = lease.children[process];
    if (child === undefined) throw new Refusal(`it has no process ${process}`);
    this.#keepBounds(lease, child, command);
    if (command.name === "slow") lease.slow[process]! += command.options.count;
    const done = await child.run(command);
    if (command.name === "slowEnd" || command.name === "drop") lease.slow[process] = 0;
    checkMessage(OUTCOMES[command.name], done);
    return { done, clients: child.clients };
  }

  /** @throws {Refusal} If a command is more than this agent does, or comes too late for the time at which it is to begin. */
  #keepBounds(lease: Lease, child: LoadChild, command: FleetCommand): void {
    const { bounds } = this.#options;
    const { name, options } = command;
    if (name === "connect" || name === "slow" || name === "churn") {
      // All processes get their commands at once, so each has its part of the bound.
      const held = child.clients + lease.slow[lease.children.indexOf(child)]!;
      const wanted = held + ("count" in options ? options.count : options.concurrency);
      if (wanted > bounds.connections / lease.children.length) {
        throw new Refusal(`it makes up to ${count(bounds.connections)} connections (--max-connections)`);
      }
    }
    if (name === "open" && options.rate / options.step > bounds.rate_per_s / lease.children.length) {
      throw new Refusal(`it sends up to ${count(bounds.rate_per_s)} requests/s (--max-rate)`);
    }
    if (name !== "open" && name !== "closed" && name !== "churn") return;
    const nowUs = monotonicUs() + child.clockOffsetUs;
    if (options.startUs <= nowUs) {
      throw new Refusal(`the command came ${((nowUs - options.startUs) / 1e3).toFixed(1)} ms after its beginning`);
    }
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
      this.#onServed();
    });
    return this.#ending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("the agent was stopped");
  }
}

/** Ends all processes of a lease, with their connections. */
async function stopAll(lease: Lease): Promise<void> {
  await lease.starting;
  const { children } = lease;
  lease.children = [];
  await Promise.all(children.map((child) => child.stop()));
}
