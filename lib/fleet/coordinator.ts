/**
 * The coordinator of a fleet: it gathers agents over a broker, and drives their processes as one load generator.
 *
 * @module
 */
import { delay } from "@std/async";
import type * as v from "valibot";
import { follow, hear, isBrokerLost, type Msg, type NatsConnection } from "./broker.ts";
import {
  BEAT_MS,
  beatSubject,
  CALL_SUBJECT,
  checkMessage,
  CLOCK,
  COMMAND,
  DONE,
  type FleetCommand,
  type FleetTarget,
  OFFER,
  type Offer,
  offerSubject,
  OUTCOME,
  OUTCOMES,
  PULSE,
  pulseSubject,
  randomId,
  readAnswer,
  readMessage,
  type REFUSED,
  SILENT_MS,
  STARTED,
  type Verb,
  verbSubject,
  WrongMessage,
} from "./protocol.ts";
import { Unavailable } from "../cli/errors.ts";
import {
  type AudienceCommand,
  type Command,
  DRAIN_US,
  LoadGenerator,
  LoadLost,
  type LoadOptions,
  type LoadUnit,
  type Progress,
  type StressCommand,
  type Target,
} from "../load/generator.ts";
import { monotonicUs } from "../sampling/process.ts";
import { count, counted } from "../text/format.ts";

/** An agent answers within this time whatever it does; starting its processes takes longer. */
const ANSWER_MS = 5000;
const START_MS = 60_000;
/** The client of the broker has to be given a time; a command is given up before it, by what it says: see {@linkcode patienceMs}. */
const COMMAND_MS = 4 * 3600 * 1000;
/** So long a load process waits for answers behind a window at the most. */
export const DRAIN_MS = DRAIN_US / 1000;
/** A load process that has not answered so long after it should have, or that has shown no progress for so long, hangs. */
const GRACE_MS = 30_000;
/** An agent that was heard within so long is there. */
const ALIVE_MS = 3 * BEAT_MS;

/** Exchanges to learn the offset of a clock. The one that took the least time is the best: nothing was queued. */
const CLOCK_ROUNDS = 16;
/** A command is sent so long before its beginning, and longer by this many of the longest exchange. */
const LEAD_US = 300_000;
const LEAD_ROUNDS = 10;

/**
 * The agents that were silent for too long, by name; all of several: then it is not they that are lost. Where the others are
 * quiet too, without being silent yet, it is not known which of the two it is: none.
 */
export function silentIn(agents: readonly { name: string; heardAtMs: number }[], nowMs: number): "all" | string[] {
  const silent = agents.filter(({ heardAtMs }) => nowMs - heardAtMs > SILENT_MS).map(({ name }) => name);
  if (silent.length === agents.length) return silent.length > 1 ? "all" : silent;
  return agents.some(({ heardAtMs }) => nowMs - heardAtMs < ALIVE_MS) ? silent : [];
}

/** What a fleet is to be. */
export interface GatherOptions {
  /** The broker, as it may be shown. */
  broker: string;
  agents: number;
  target: FleetTarget;
  /** Of the source of the load generator. */
  digest: string;
  signal: AbortSignal;
  /** How long enough agents are waited for. */
  waitSeconds: number;
  /** How much longer than it should a load process may take; default: 30 s. */
  graceMs?: number;
}

/** The loads that have a window: when they end is known. */
const WINDOWS: readonly FleetCommand["name"][] = ["closed", "open", "churn"];

/**
 * How long a command may go on without a sign of its progress, in ms. Of a window all of it is known: it ends behind its last
 * answer, and none is waited for longer than {@linkcode DRAIN_MS}.
 */
export function patienceMs({ name, options }: FleetCommand, nowUs: number, graceMs: number = GRACE_MS): number {
  if (name === "closed" || name === "open" || name === "churn") {
    return Math.max(0, (options.endUs - nowUs) / 1000) + DRAIN_MS + graceMs;
  }
  const waits = name === "connect" || name === "slow" || name === "ask";
  return graceMs + (waits ? options.timeoutMs : 0);
}

/** An agent that works for this coordinator. */
interface Link {
  readonly id: string;
  readonly name: string;
  readonly offer: Offer;
  units: Unit[];
  heardAtMs: number;
  /** Its clock less that of this process, and how far off that may be. */
  offsetUs: number;
  errorUs: number;
}

/** A process of an agent. */
class Unit implements LoadUnit {
  readonly pid = null;
  clients = 0;
  /** What it does, and when that is given up; null: nothing. */
  #underWay: { name: FleetCommand["name"]; patienceMs: number; untilMs: number; progress: string } | null = null;

  constructor(
    readonly fleet: Fleet,
    readonly link: Link,
    readonly index: number,
    /** The clock of the process, less that of its agent. */
    readonly ownOffsetUs: number,
  ) {}

  get clockOffsetUs(): number {
    return this.link.offsetUs + this.ownOffsetUs;
  }

  async run(command: Command | StressCommand | AudienceCommand): Promise<unknown> {
    const known = checkMessage(COMMAND, command);
    const { name } = known;
    const patience = patienceMs(known, monotonicUs() + this.clockOffsetUs, this.fleet.graceMs);
    this.#underWay = { name, patienceMs: patience, untilMs: performance.now() + patience, progress: "" };
    try {
      const body = { process: this.index, command: known };
      const answer = await this.fleet.ask(this.link, "do", body, OUTCOME, COMMAND_MS);
      this.clients = answer.clients;
      return this.fleet.checked(this.link, () => checkMessage(OUTCOMES[name], answer.done));
    } finally {
      this.#underWay = null;
    }
  }

  /** Takes what the process says of its progress. That of a window does not prolong it: its end is known. */
  hear(progress: Progress): void {
    const underWay = this.#underWay;
    if (underWay === null || WINDOWS.includes(underWay.name)) return;
    const told = JSON.stringify(progress);
    if (told !== underWay.progress) underWay.untilMs = performance.now() + underWay.patienceMs;
    underWay.progress = told;
  }

  /** That the process hangs, in a sentence; null if it does not. */
  hangs(nowMs: number): string | null {
    const underWay = this.#underWay;
    if (underWay === null || nowMs < underWay.untilMs) return null;
    const seconds = count(underWay.patienceMs / 1000, 1);
    const sign = WINDOWS.includes(underWay.name) ? "answer" : "progress";
    return `load process ${
      this.index + 1
    } of agent ${this.link.name} hangs: no ${sign} in ${underWay.name} for ${seconds} s`;
  }

  stop(): Promise<void> {
    return this.fleet.stopLoad(this.link);
  }
}

/** Agents that work for one run, as one load generator. Releases them when it is disposed of. */
export class Fleet implements AsyncDisposable {
  readonly run = randomId();
  /** How many messages went out and came in, and how many bytes they had. */
  messages = 0;
  bytes = 0;
  readonly #broker: NatsConnection;
  readonly #options: GatherOptions;
  readonly #links = new Map<string, Link>();
  readonly #over = Promise.withResolvers<never>();
  #lost: string | null = null;
  /** What was not understood while agents were gathered. */
  #strange: string | null = null;
  #isDone = false;
  #generator: LoadGenerator | null = null;
  #beat: ReturnType<typeof setInterval> | undefined;

  private constructor(broker: NatsConnection, options: GatherOptions) {
    this.#broker = broker;
    this.#options = options;
    this.#over.promise.catch(() => {}); // whoever waits for an agent gets it
    options.signal.addEventListener("abort", () => this.#over.reject(options.signal.reason));
    broker.closed().then(() => this.#loseBroker());
    follow(broker, { onDenied: (sentence) => this.#lose(`the coordinator cannot work: ${sentence}`) });
  }

  /**
   * Gathers agents for a target.
   *
   * @throws {Unavailable} If there are too few: with what each of the others says. None of them is kept then.
   */
  static async gather(broker: NatsConnection, options: GatherOptions): Promise<Fleet> {
    const fleet = new Fleet(broker, options);
    await using stack = new AsyncDisposableStack();
    stack.use(fleet);
    try {
      await fleet.#gather();
    } catch (error) {
      if (error instanceof LoadLost) throw new Unavailable(`No run is possible: ${error.message}.`, { cause: error });
      throw error;
    }
    stack.move();
    return fleet;
  }

  get lost(): string | null {
    return this.#lost;
  }

  /** See {@linkcode GatherOptions}. */
  get graceMs(): number | undefined {
    return this.#options.graceMs;
  }

  /** How many connections all of them make: each process takes the same share, or one more. */
  get connections(): number {
    const offers = this.#offers();
    if (offers.length === 1) return offers[0]!.bounds.connections; // however it shares them out
    const least = Math.min(...offers.map(({ bounds, processes }) => Math.floor(bounds.connections / processes)));
    return least * this.#processes();
  }

  /** What they do at the most. */
  get bounds() {
    const offers = this.#offers();
    return {
      connections: this.connections,
      ratePerS: (connections: number) => this.#ratePerS(connections),
      seconds: Math.min(...offers.map(({ bounds }) => bounds.seconds)),
      openOnly: offers.some(({ bounds }) => bounds.open_only),
    };
  }

  /** Each process that holds a connection sends the same share of a rate. With fewer connections than processes all may be of one agent. */
  #ratePerS(connections: number): number {
    const holding = Math.max(1, Math.min(connections, this.#processes()));
    return Math.min(
      ...this.#offers().map(({ bounds, processes }) => bounds.rate_per_s * holding / Math.min(processes, holding)),
    );
  }

  #processes(): number {
    return this.#offers().reduce((sum, { processes }) => sum + processes, 0);
  }

  /** How far off the clock of an agent may be, in µs: half of the exchange that took the least time, of the worst one. */
  get clockErrorUs(): number {
    return Math.max(...[...this.#links.values()].map(({ errorUs }) => errorUs));
  }

  #offers(): Offer[] {
    return [...this.#links.values()].map(({ offer }) => offer);
  }

  /** What was gathered, in a sentence. */
  describe(): string {
    const processes = this.#processes();
    const names = this.#offers().map(({ name }) => name).join(", ");
    return `Run ${this.run}: ${counted(this.#links.size, "agent")} (${names}) with ${count(processes)} load ` +
      `${processes === 1 ? "process" : "processes"}, clocks within ${(this.clockErrorUs / 1000).toFixed(2)} ms.`;
  }

  /** Calls until enough agents are engaged, or the time is over. */
  async #gather(): Promise<void> {
    const { agents, target, signal, waitSeconds } = this.#options;
    const offers = new Map<string, Offer>();
    const refusals = new Map<string, string>();
    const inbox = hear(this.#broker, offerSubject(this.run), (message) => this.#hearOffer(message, offers));
    hear(this.#broker, pulseSubject(this.run), (message) => this.#hearPulse(message));
    this.#beat = setInterval(() => this.#watch(), BEAT_MS);
    try {
      const call = JSON.stringify({ run: this.run, target });
      for (const deadline = performance.now() + waitSeconds * 1000; this.#links.size < agents;) {
        if (performance.now() > deadline) throw new Unavailable(this.#tooFew(offers, refusals));
        this.#send(CALL_SUBJECT, call);
        await Promise.race([delay(BEAT_MS / 2, { signal }), this.#over.promise]);
        // Those that have refused before come last, so that they keep no other from its turn.
        const fitting = [...offers.values()].filter((offer) => this.#fits(offer));
        const free = fitting.toSorted((a, b) => Number(refusals.has(a.agent)) - Number(refusals.has(b.agent)));
        const taken = free.slice(0, agents - this.#links.size);
        await Promise.all(taken.map((offer) => this.#engage(offer, refusals)));
      }
      await this.#synchronise();
    } finally {
      inbox.unsubscribe();
    }
  }

  #fits({ agent, digest, refuses }: Offer): boolean {
    return refuses === null && digest === this.#options.digest && !this.#links.has(agent);
  }

  #hearOffer(message: Msg, offers: Map<string, Offer>): void {
    this.#count(message.data.length);
    try {
      const offer = readMessage(OFFER, message.string());
      offers.set(offer.agent, offer);
    } catch (error) {
      if (!(error instanceof WrongMessage)) throw error;
      this.#strange = `an offer is not understood, so that agent has another version (${error.message})`;
    }
  }

  /** Why there are too few agents, in a sentence. */
  #tooFew(offers: Map<string, Offer>, refusals: Map<string, string>): string {
    const { agents, digest, broker } = this.#options;
    if (offers.size === 0 && this.#strange === null) {
      return `No agent answers at ${broker}: start ${agents} by deno task agent --nats ${broker}.`;
    }
    const whys = [...offers.values()].filter(({ agent }) => !this.#links.has(agent)).map((offer) => {
      const why = offer.digest === digest
        ? offer.refuses ?? refusals.get(offer.agent) ?? "it came too late"
        : `it has version ${offer.digest} of the load generator, this coordinator ${digest}`;
      return `${offer.name}: ${why}`;
    });
    if (this.#strange !== null) whys.push(this.#strange);
    const reasons = whys.length === 0 ? "the others have not answered" : whys.join("; ");
    return `Only ${this.#links.size} of ${counted(agents, "agent")} can take part at ${broker}: ${reasons}.`;
  }

  async #engage(offer: Offer, refusals: Map<string, string>): Promise<void> {
    const { agent: id, name } = offer;
    const { target, digest } = this.#options;
    const link: Link = { id, name, offer, units: [], heardAtMs: performance.now(), offsetUs: 0, errorUs: 0 };
    let answer: v.InferOutput<typeof DONE | typeof REFUSED>;
    try {
      const json = JSON.stringify({ target, digest });
      this.#count(json.length);
      const message = await this.#broker.request(verbSubject(this.run, id, "engage"), json, { timeout: ANSWER_MS });
      this.#count(message.data.length);
      answer = readAnswer(DONE, message.string());
    } catch (error) {
      if (isBrokerLost(error as Error)) return this.#loseBroker();
      answer = { refused: `it does not answer correctly (${(error as Error).message})` };
    }
    if ("refused" in answer) refusals.set(id, answer.refused);
    else this.#links.set(id, link);
  }

  /** Counts a message of JSON, which is ASCII but for names. */
  #count(bytes: number): void {
    this.messages++;
    this.bytes += bytes;
  }

  #send(subject: string, json: string): void {
    this.#count(json.length);
    if (!this.#broker.isClosed()) this.#broker.publish(subject, json);
  }

  /** Gives a sign of life, and looks who has given none. */
  #watch(): void {
    if (this.#isDone || this.#lost !== null) return;
    this.#send(beatSubject(this.run), JSON.stringify({ beat: Math.round(monotonicUs()) }));
    const now = performance.now();
    const hanging = [...this.#links.values()].flatMap(({ units }) => units).map((unit) => unit.hangs(now));
    const sentence = hanging.find((each) => each !== null);
    if (sentence !== undefined) return this.#lose(sentence!);
    const silent = silentIn([...this.#links.values()], now);
    const seconds = SILENT_MS / 1000;
    if (silent === "all") {
      this.#lose(`no agent was heard for ${seconds} s: the broker at ${this.#options.broker} or the network is gone`);
    } else if (silent.length > 0) {
      this.#lose(`agent ${silent.join(", ")} was lost: no heartbeat for ${seconds} s`);
    }
  }

  #hearPulse(message: Msg): void {
    this.#count(message.data.length);
    let pulse: v.InferOutput<typeof PULSE>;
    try {
      pulse = readMessage(PULSE, message.string());
    } catch (error) {
      if (!(error instanceof WrongMessage)) throw error;
      return this.#lose(`an agent sent a heartbeat that is not understood: ${error.message}`);
    }
    const { agent, progress, ended } = pulse;
    const link = this.#links.get(agent);
    if (link === undefined) return;
    link.heardAtMs = performance.now();
    if (ended !== null && !this.#isDone) return this.#lose(`agent ${link.name} has ended its load: ${ended}`);
    const first = [...this.#links.values()].flatMap(({ units }) => units).indexOf(link.units[0]!);
    progress.forEach((each, i) => {
      if (each === null || first < 0) return;
      link.units[i]?.hear(each);
      this.#generator?.tell(first + i, each);
    });
  }

  /** From now on there is no fleet: all that waits for it fails with the sentence. */
  #lose(sentence: string): void {
    if (this.#lost !== null || this.#isDone) return;
    this.#lost = sentence;
    this.#over.reject(new LoadLost(sentence));
  }

  #loseBroker(): void {
    this.#lose(`the broker at ${this.#options.broker} was lost during the run: its agents end their load`);
  }

  #loseAnswer({ name }: Link, error: Error): void {
    if (isBrokerLost(error)) this.#loseBroker();
    else this.#lose(`agent ${name} was lost: ${error.message}`);
  }

  /** Does a check of what an agent said; what is wrong ends the run. */
  checked<T>(link: Link, check: () => T): T {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof WrongMessage)) throw error;
      const sentence = `agent ${link.name} sent an answer that is not understood: ${error.message}`;
      this.#lose(sentence);
      throw new LoadLost(sentence);
    }
  }

  /** Sends a question, and returns the answer, which may be a refusal. */
  async #request<const S extends v.GenericSchema>(link: Link, verb: Verb, body: unknown, schema: S, ms: number) {
    const json = JSON.stringify(body);
    this.#count(json.length);
    const asking = this.#broker.request(verbSubject(this.run, link.id, verb), json, { timeout: ms });
    const failing = asking.catch((error: Error) => {
      this.#loseAnswer(link, error);
      throw new LoadLost(this.#lost ?? error.message);
    });
    failing.catch(() => {}); // reported below, unless the fleet was lost before
    const message = await Promise.race([failing, this.#over.promise]);
    this.#count(message.data.length);
    return this.checked(link, () => readAnswer(schema, message.string()));
  }

  /**
   * Asks an agent for something, and returns its answer.
   *
   * @throws {LoadLost} If it refuses, or is lost.
   */
  async ask<const S extends v.GenericSchema>(link: Link, verb: Verb, body: unknown, schema: S, ms: number) {
    const answer = await this.#request(link, verb, body, schema, ms);
    const refused = (answer as { refused?: string }).refused;
    if (refused !== undefined) throw new LoadLost(`agent ${link.name} refuses: ${refused}`);
    return answer as v.InferOutput<S>;
  }

  /** Reads the clock of each agent, as NTP does. Returns how long the longest exchange took. */
  async #synchronise(): Promise<number> {
    const all = await Promise.all([...this.#links.values()].map((link) => this.#readClock(link)));
    return Math.max(...all);
  }

  async #readClock(link: Link): Promise<number> {
    let least = Infinity;
    let most = 0;
    for (let round = 0; round < CLOCK_ROUNDS; round++) {
      const sentUs = monotonicUs();
      const { at_us } = await this.ask(link, "clock", {}, CLOCK, ANSWER_MS);
      const backUs = monotonicUs();
      const tookUs = backUs - sentUs;
      most = Math.max(most, tookUs);
      if (tookUs >= least) continue;
      least = tookUs;
      link.offsetUs = at_us - (sentUs + backUs) / 2;
      link.errorUs = tookUs / 2;
    }
    return most;
  }

  async start(
    _target: Target,
    options: Pick<LoadOptions, "serverPid" | "kernelThreads" | "head" | "path" | "onProgress">,
  ): Promise<LoadGenerator> {
    const { head = "client", path = "/", serverPid, kernelThreads = [], onProgress } = options;
    const links = [...this.#links.values()];
    await Promise.all(links.map(async (link) => {
      const { offsets_us } = await this.ask(link, "start", { head, method: "GET", path }, STARTED, START_MS);
      link.units = offsets_us.map((offset, i) => new Unit(this, link, i, offset));
    }));
    this.#generator = LoadGenerator.over(links.flatMap(({ units }) => units), {
      ...(serverPid !== undefined && { serverPid }),
      kernelThreads,
      ...(onProgress && { onProgress }),
      barrier: async () => LEAD_US + LEAD_ROUNDS * await this.#synchronise(),
    });
    return this.#generator;
  }

  /** Ends the load of an agent; the first of its processes that is stopped ends all of them. */
  async stopLoad(link: Link): Promise<void> {
    if (link.units.length === 0) return;
    link.units = [];
    this.#generator = null;
    await this.#part(link, "stop");
  }

  /** Asks an agent to end something. One that does not hear it ends by itself when heartbeats stop. */
  async #part(link: Link, verb: "stop" | "release"): Promise<void> {
    if (this.#broker.isClosed()) return;
    this.#count("{}".length);
    const asking = this.#broker.request(verbSubject(this.run, link.id, verb), "{}", { timeout: ANSWER_MS });
    const answer = await asking.catch((error: Error) => this.#loseAnswer(link, error));
    if (answer !== undefined) this.#count(answer.data.length);
  }

  /** Releases the agents, and closes the connection to the broker. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDone = true;
    await Promise.all([...this.#links.values()].map((link) => this.#part(link, "release")));
    clearInterval(this.#beat);
    if (!this.#broker.isClosed()) await this.#broker.close();
  }
}
