/**
 * An engine of the load generator: the commands, done with whatever connections it is given.
 *
 * @module
 */
import { ask, connect } from "./load_ask.ts";
import { churn } from "./load_churn.ts";
import type { Connections, Steps } from "./load_connections.ts";
import { catchUp, closedLoop } from "./load_loops.ts";
import { openLoop, slowClients } from "./load_open.ts";
import { Meter } from "./load_tally.ts";
import type { Commands, EngineConfig, OpenOptions, Progress } from "./load_types.ts";

/** How often progress is told while a phase runs. */
const PROGRESS_US = 250_000;

/** The bytes of a request: GET, the path and the Host, which is all that HTTP/1.1 demands. */
export const requestFor = (path: string, { host, port }: EngineConfig): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(`GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);

/** Does commands, one at a time. */
export class Engine {
  readonly #connections: Connections;
  readonly #meter: Meter;
  readonly #commands: { [Name in keyof Commands]: (options: Commands[Name]["options"]) => Steps<unknown> };
  #phase = { name: "", startUs: 0, answeredBefore: 0, tellAtUs: Infinity };

  constructor(
    readonly config: EngineConfig,
    connections: Connections,
    ownCpuUs: () => number,
    readonly onProgress: (progress: Progress) => void,
  ) {
    const meter = new Meter({ wallUs: () => connections.clockUs(), ownCpuUs }, config.serverPid);
    connections.housekeeping = () => this.#tellProgress();
    this.#connections = connections;
    this.#meter = meter;
    this.#commands = {
      connect: (options) => connect(connections, options),
      ask: (options) => ask(connections, options),
      closed: (options) => closedLoop(connections, meter, options),
      open: (options) => this.#open(options),
      churn: (options) => churn(connections, meter, options),
      slow: (options) => slowClients(connections, meter, options),
      drop: () => this.#drop(),
      totals: () => this.#totals(),
    };
  }
}
