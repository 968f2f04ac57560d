/**
 * Agents that speak the protocol and make no load: what is left is what they cost a coordinator.
 *
 * @module
 */
import type { NatsConnection } from "../../lib/fleet/broker.ts";
import {
  agentSubject,
  beatSubject,
  CALL,
  CALL_SUBJECT,
  DO,
  type FleetCommand,
  offerSubject,
  partsOf,
  pulseSubject,
  randomId,
  readMessage,
} from "../../lib/fleet/protocol.ts";
import { monotonicUs } from "../../lib/sampling/process.ts";
import { Histogram } from "../../lib/timing/histogram.ts";

export const DIGEST = "0123456789abcdef";
/** How far the clocks of two neighbours are apart. */
export const CLOCK_US = 1e6;
/** Clients of each. */
export const CLIENTS = 100;

/** Latencies that look like those of a server: most of them near the median, few far above. */
export function latencies(seed: number, requests: number): Histogram {
  const histogram = new Histogram();
  for (let i = 0; i < requests; i++) {
    const spread = ((i * 7919 + seed * 104_729) % 9973 + 1) / 9974;
    histogram.record(Math.round(200 * Math.exp(3 * spread ** 4)));
  }
  return histogram;
}

/** What a process answers behind a window of an open loop, with all its histograms. */
export function windowOf(seed: number, requests: number) {
  const histogram = latencies(seed, requests).toJSON();
  return {
    ...{ seconds: 0.1, from_us: 0, to_us: 1e5, connections: CLIENTS, requests, drained: 0, errors: {}, lost: 0 },
    ...{ dropped: 0, closed: 0, reconnects: 0, redials: 0, closes: {}, unanswered: 0, histogram },
    ...{ censored: new Histogram().toJSON(), raw: histogram, lateness: histogram },
    ...{ client_cpu_us: 1000, client_spin_us: 0, late_sends: 0, scheduled: requests, stopped_early: null },
  };
}

/** What it answers to a command. */
export function outcomeOf(command: FleetCommand, window: ReturnType<typeof windowOf>): unknown {
  const none = { lost: 0, dropped: 0, closed: 0, unanswered: 0, errors: {}, seconds: 0.01 };
  if (command.name === "connect") {
    const { count } = command.options;
    return { requested: count, connected: count, failed: 0, redials: 0, seconds: 0.01, errors: {} };
  }
  if (command.name === "ask") return { ...none, asked: CLIENTS, answered: CLIENTS, histogram: window.histogram };
  return window;
}

/** How one agent differs from the others. */
export interface Simulated {
  seed?: number;
  digest?: string;
  /** Requests of each window. */
  requests?: number;
  bounds?: { connections: number; rate_per_s: number; seconds: number; open_only: boolean };
  processes?: number;
  /** Default: as if all went well. Undefined, or a promise of it: it gives no answer. */
  answer?: (command: FleetCommand, window: ReturnType<typeof windowOf>) => unknown;
}

const BOUNDS = { connections: 10_000, rate_per_s: 1e6, seconds: 600, open_only: false };

/** Starts an agent. Its clock runs ahead of that of the coordinator. It ends with its connection. */
export function simulate(
  broker: NatsConnection,
  { seed = 1, digest = DIGEST, requests = 1000, bounds = BOUNDS, processes = 1, answer = outcomeOf }: Simulated,
): void {
  const agent = randomId();
  const window = windowOf(seed, requests);
  broker.subscribe(CALL_SUBJECT, {
    callback: (_, message) => {
      const { run } = readMessage(CALL, message.string());
      const offer = { agent, name: `sim${seed}`, digest, processes, bounds, refuses: null };
      broker.publish(offerSubject(run), JSON.stringify(offer));
    },
  });
  const progress = Array.from({ length: processes }, () => null);
  broker.subscribe(agentSubject(agent), {
    callback: (_, message) =>
      void (async () => {
        const { run, verb } = partsOf(message.subject);
        const reply = (body: unknown): void => void message.respond(JSON.stringify(body));
        if (verb === "engage") {
          broker.subscribe(beatSubject(run), {
            callback: () => broker.publish(pulseSubject(run), JSON.stringify({ agent, progress, ended: null })),
          });
        }
        if (verb === "clock") return reply({ at_us: monotonicUs() + seed * CLOCK_US });
        if (verb === "start") return reply({ offsets_us: progress.map(() => 0) });
        if (verb !== "do") return reply({ ok: true });
        const done = await answer(readMessage(DO, message.string()).command, window);
        if (done !== undefined) reply({ done, clients: CLIENTS });
      })(),
  });
}
