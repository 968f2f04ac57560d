/**
 * An engine of the load generator: the commands, done with whatever connections it is given.
 *
 * @module
 */
import { ask, connect } from "./connect_and_ask.ts";
import { churn } from "./churn.ts";
import type { Connections, Steps } from "./connections.ts";
import { closedLoop } from "./closed_loop.ts";
import { openLoop, slowClients } from "./open_loop.ts";
import { Meter } from "./tally.ts";
import type { Command, Commands, EngineConfig, Progress } from "./types.ts";
import { catchUp } from "./patience.ts";

/** How often progress is told while a phase runs. */
const PROGRESS_US = 250_000;

/** The bytes of a request: GET, the path and the Host, which is all that HTTP/1.1 demands. */
export const requestFor = (path: string, { host, port }: EngineConfig): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(`GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);

/** Does commands, one at a time. */
export class Engine {
  readonly #meter: Meter;
  #phase = { name: "", startUs: 0, answeredBefore: 0, tellAtUs: 0 };

  constructor(
    readonly config: EngineConfig,
    readonly connections: Connections,
    ownCpuUs: () => number,
    readonly onProgress: (progress: Progress) => void,
  ) {
    this.#meter = new Meter({ wallUs: () => connections.clockUs(), ownCpuUs }, config.serverPid);
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
        return yield* connect(connections, command.options);
      case "ask":
        return yield* ask(connections, command.options);
      case "closed":
        return yield* closedLoop(connections, this.#meter, command.options);
      case "open":
        connections.requests[1] = requestFor(command.options.heavyPath, this.config);
        return yield* openLoop(connections, this.#meter, command.options);
      case "churn":
        return yield* churn(connections, this.#meter, command.options);
      case "slow":
        return yield* slowClients(connections, this.#meter, command.options);
      case "drop":
        return this.drop();
      case "totals":
        return connections.tally.totals();
    }
  }

  /** Closes all held connections. */
  drop(): null {
    const { connections } = this;
    while (connections.held > 0) connections.close(connections.heldIds[connections.held - 1]!);
    return null;
  }

  #tellProgress(): void {
    const { now, held, tally } = this.connections;
    const { name, startUs, answeredBefore, tellAtUs } = this.#phase;
    if (now < tellAtUs) return;
    this.#phase.tellAtUs = now + PROGRESS_US;
    const answered = tally.answered - answeredBefore;
    const seconds = (now - startUs) / 1e6;
    this.onProgress({ phase: name, connections: held, answered, seconds });
  }
}
