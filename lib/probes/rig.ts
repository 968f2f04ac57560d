/**
 * What most probes stand on: a server with connections, which a guard makes, and a load generator.
 *
 * @module
 */
import { type Bench, type OpenBench, openBench } from "../run/bench.ts";
import { find } from "../catalogue/catalogue.ts";
import { createGuard } from "../run/guard.ts";
import { onePair } from "../run/setup.ts";
import type { Experiment } from "../catalogue/header.ts";
import { rise, startClimb } from "../run/hold.ts";
import type { LoadGenerator, Window } from "../load/generator.ts";
import { withLastWords } from "../server/launch.ts";
import { type Sample, sample } from "../sampling/sampler.ts";
import { type Server, StartError } from "../server/server.ts";
import { errorsByKind } from "../results/findings.ts";
import type { ProbePlan, ProbeRow, Rows } from "./probe.ts";

/** Why a figure cannot be had: the server does not hold the connections, or does not answer on all of them. */
export class CannotProbe extends Error {
  override readonly name = "CannotProbe";
}

/** What is started. */
export interface RigOptions {
  /** An experiment, or its name. */
  server: Experiment | string;
  /** Its options, such as `["--workers", "2"]`. */
  args?: string[];
  /** Limits of the server in the words of prlimit(1). */
  prlimit?: string[];
  /** Server and load generator on a core each, unless it is false. */
  pinned?: boolean;
  /** For how many µs before a request is due the load generator does not sleep; default: its own. */
  spinUs?: number;
  signal: AbortSignal;
}

/** A server and its load generator. Stop them, or bind it with `await using`. */
export class Rig implements AsyncDisposable {
  private constructor(
    readonly name: string,
    readonly opened: OpenBench<Experiment>,
    readonly signal: AbortSignal,
    readonly owned: AsyncDisposableStack,
  ) {}

  get server(): Server {
    return this.opened.server;
  }

  get generator(): LoadGenerator {
    return this.opened.generator;
  }

  /**
   * Starts both.
   *
   * @throws {StartError} If the server cannot run here or does not start.
   */
  static async start(options: RigOptions): Promise<Rig> {
    const { server: which, args = [], prlimit = [], pinned = true, spinUs, signal } = options;
    await using stack = new AsyncDisposableStack();
    const experiment = typeof which === "string" ? find(which) : which;
    const opened = stack.use(
      await openBench(experiment, {
        args,
        prlimit,
        pinned,
        setup: onePair(), // a probe puts a number to one cost, on machines of any size
        signal,
        ...(spinUs !== undefined && { spinUs }),
      }),
    );
    return new Rig(experiment.name, opened, signal, stack.move());
  }

  /**
   * A function that makes connections until there are so many of them, and asks each new one once.
   *
   * @throws {CannotProbe} If memory or descriptors do not allow it, or connections are not answered.
   */
  climber(): (connections: number) => Promise<void> {
    const { opened, signal } = this;
    const guard = createGuard();
    const bench = (connections: number): Bench => ({
      ...opened,
      signal,
      guard,
      parameters: { connections, seconds: 0, warmup_seconds: 0 },
    });
    const climb = startClimb(bench(0));
    return async (connections) => {
      signal.throwIfAborted();
      const reason = await rise(bench(connections), climb, connections);
      if (reason !== null) throw new CannotProbe(`${this.name}: ${reason}`);
      if (climb.answered < connections) {
        throw new CannotProbe(`${this.name}: ${climb.answered} of ${connections} connections were answered`);
      }
    };
  }

  /**
   * One window of a closed loop.
   *
   * @throws {CannotProbe} If a connection got lost, or not a request was answered.
   */
  async closed(seconds: number, warmupSeconds = 0): Promise<Window> {
    this.signal.throwIfAborted();
    return this.whole(await this.generator.closed({ seconds, warmupSeconds }));
  }

  /**
   * One window of an open loop.
   *
   * @throws {CannotProbe} If a connection got lost, or not a request was answered.
   */
  async open(rate: number, seconds: number): Promise<Window> {
    this.signal.throwIfAborted();
    return this.whole(await this.generator.open({ rate, seconds, warmupSeconds: 0 }));
  }

  /** Passes a window on in which nothing went wrong. */
  whole(window: Window): Window {
    const { requests, lost, dropped, unanswered, errors } = window;
    const kinds = errorsByKind(errors);
    if (requests > 0 && lost + dropped + unanswered === 0 && kinds === "") return window;
    const failed = kinds === "" ? "" : `, ${kinds}`;
    throw new CannotProbe(
      `${this.name}: ${requests} answers, ${lost} connections lost, ${unanswered} unanswered${failed}`,
    );
  }

  /**
   * What the server takes now.
   *
   * @throws {CannotProbe} If it has ended.
   */
  look(): Sample {
    const taken = sample(this.server.pid);
    if (taken === null) throw new CannotProbe(withLastWords(`${this.name} has ended`, this.server.stderrTail()));
    return taken;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.owned.disposeAsync();
  }
}

/** Rows of some variants; where these cannot be measured here, rows that say why. */
export async function orMissing(
  variants: readonly Rows[],
  metrics: readonly string[],
  { signal }: Pick<ProbePlan, "signal">,
  measure: () => Promise<ProbeRow[]>,
): Promise<ProbeRow[]> {
  try {
    return await measure();
  } catch (error) {
    if (signal.aborted || !(error instanceof StartError || error instanceof CannotProbe)) throw error;
    return variants.flatMap((rows) => rows.missing(metrics, error.message));
  }
}
