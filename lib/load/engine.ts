/**
 * An engine of the load generator: the commands, done with whatever connections it is given.
 *
 * @module
 */
import { ask, connect } from "./connect_and_ask.ts";
import { churn } from "./churn.ts";
import { type Connections, SLOW, type Steps } from "./connections.ts";
import { closedLoop } from "./closed_loop.ts";
import { openLoop } from "./open_loop.ts";
import { requestFor } from "./request.ts";
import type {
  ClosedPart,
  Command,
  Commands,
  ConnectOptions,
  ConnectOutcome,
  EngineConfig,
  Progress,
  WindowPart,
} from "./types.ts";
import { catchUp } from "./patience.ts";
import { type Cut, cutter } from "./window.ts";

/** How often progress is reported while a phase runs. */
const PROGRESS_US = 250_000;

/** Does commands, one at a time. */
export class Engine {
  readonly #cut: Cut;
  readonly #slow: number[] = [];
  #phase = { name: "", startUs: 0, answeredBefore: 0, tellAtUs: 0 };

  constructor(
    readonly config: EngineConfig,
    readonly connections: Connections,
    ownCpuUs: () => number,
    readonly onProgress: (progress: Progress) => void,
  ) {
    this.#cut = cutter(connections, ownCpuUs);
    connections.housekeeping = () => this.#tellProgress();
  }

  /** Does a command, and returns its outcome. */
  run(command: Command): unknown {
    return this.connections.drive(this.#steps(command));
  }

  *#steps(command: Command): Steps<Commands[keyof Commands]["outcome"]> {
    const { connections } = this;
    const startUs = connections.clockUs();
    this.#phase = { name: command.name, startUs, answeredBefore: 0, tellAtUs: startUs + PROGRESS_US };
    yield* catchUp(connections);
    this.#phase.answeredBefore = connections.tally.answered;
    switch (command.name) {
      case "connect":
        return yield* connect(connections, command.options, this.config.processes);
      case "ask":
        return yield* ask(connections, command.options);
      case "closed":
        return yield* this.#closed(command.options);
      case "open":
        connections.requests[1] = requestFor(command.options.heavyPath, this.config);
        return yield* openLoop(connections, this.#cut, command.options, this.#slow);
      case "churn":
        return yield* churn(connections, this.#cut, command.options);
      case "slow":
        return yield* this.#connectSlow(command.options);
      case "slowEnd":
        this.#slow.length = 0;
        connections.closeAll(SLOW);
        return null;
      case "drop":
        return this.drop();
      case "totals":
        return connections.tally.totals();
    }
  }

  /** A closed loop, perhaps on a path of its own; other commands ask for the usual one again. */
  *#closed(part: ClosedPart): Steps<WindowPart> {
    const { requests } = this.connections;
    const usual = requests[0]!;
    if (part.path !== null) requests[0] = requestFor(part.path, this.config);
    const window = yield* closedLoop(this.connections, this.#cut, part);
    requests[0] = usual;
    return window;
  }

  *#connectSlow(options: ConnectOptions): Steps<ConnectOutcome> {
    return yield* connect(this.connections, options, this.config.processes, (id) => {
      this.connections.states[id] = SLOW;
      this.#slow.push(id);
    });
  }

  /** Closes all held connections. */
  drop(): null {
    this.connections.dropAll();
    return null;
  }

  #tellProgress(): void {
    const { now, clients, tally } = this.connections;
    const { name, startUs, answeredBefore, tellAtUs } = this.#phase;
    if (now < tellAtUs) return;
    this.#phase.tellAtUs = now + PROGRESS_US;
    const answered = tally.answered - answeredBefore;
    const seconds = (now - startUs) / 1e6;
    this.onProgress({ phase: name, connections: clients, answered, seconds });
  }
}
