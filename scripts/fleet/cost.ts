/**
 * What many agents cost their coordinator: messages, bytes and time, over a real broker.
 *
 * @module
 */
import { PROBE, variantOf } from "./plan.ts";
import { CLIENTS, DIGEST, simulate, windowOf } from "./simulated.ts";
import { readBroker } from "../../lib/fleet/address.ts";
import { connectBroker } from "../../lib/fleet/broker.ts";
import { BrokerProcess } from "../../lib/fleet/broker_process.ts";
import { Fleet } from "../../lib/fleet/coordinator.ts";
import { LoadGenerator } from "../../lib/load/generator.ts";
import type { ProbeRow } from "../../lib/results/rows.ts";
import { signInterval } from "../../lib/timing/stats.ts";

/** How long a window would be of which the agents tell. */
const WINDOW_S = 10;
const GATHER_S = 30;

/** How it is measured. */
export interface Extent {
  agents: number;
  /** Requests per second of all of them. */
  rate: number;
  /** How many windows. */
  windows: number;
  signal: AbortSignal;
  /** Called with each window as it begins, from 1. */
  onWindow?: (number: number) => void;
}

/** What one step has cost. */
interface Cost {
  messages: number;
  bytes: number;
  ms: number;
}

/** Does a step, and returns what it has cost. */
async function costOf(fleet: Pick<Fleet, "messages" | "bytes">, step: () => Promise<unknown>): Promise<Cost> {
  const { messages, bytes } = fleet;
  const ms = await timeOf(step);
  return { messages: fleet.messages - messages, bytes: fleet.bytes - bytes, ms };
}

/** The same where no message is sent: how long it takes, in ms. */
async function timeOf(step: () => Promise<unknown>): Promise<number> {
  const fromMs = performance.now();
  await step();
  return performance.now() - fromMs;
}

/** A load generator whose processes have the answers at hand: without a broker between, only the merge is left. */
function atHand(parts: readonly unknown[]): LoadGenerator {
  const stop = () => Promise.resolve();
  const units = parts.map((part) => ({
    ...{ pid: null, clients: CLIENTS, clockOffsetUs: 0, stop },
    run: () => Promise.resolve(part),
  }));
  return LoadGenerator.over(units, {});
}

/** One window of all agents. @throws {Error} If the merge has lost a request. */
async function open(generator: LoadGenerator, rate: number, requests: number): Promise<void> {
  const window = await generator.open({ rate, seconds: 0.1, warmupSeconds: 0 });
  const counts = [window.requests, window.histogram.count, window.raw!.count, window.lateness!.count];
  if (counts.every((each) => each === requests)) return;
  throw new Error(`Of ${requests} requests a merge of ${window.client_processes} windows has ${counts.join(", ")}.`);
}

function rowsOf(agents: number, figures: Record<string, [values: number[], note: string]>): ProbeRow[] {
  return Object.entries(figures).map(([metric, [values, note]]) => {
    const { estimate, low, high } = signInterval(values);
    return { probe: PROBE, variant: variantOf(agents), metric, value: estimate, low, high, runs: values.length, note };
  });
}

/** Measures it. */
export async function measureCost({ agents, rate, windows, signal, onWindow }: Extent): Promise<ProbeRow[]> {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await BrokerProcess.start());
  const address = readBroker("fleet", `nats://127.0.0.1:${broker.port}`, {});
  const requests = Math.round(rate * WINDOW_S / agents);
  for (let i = 0; i < agents; i++) {
    const connection = await connectBroker(address, `sim${i + 1}`, false);
    stack.defer(() => connection.close());
    simulate(connection, { seed: i + 1, requests });
    await connection.flush();
  }
  const target = { host: "127.0.0.1", addresses: ["127.0.0.1"], port: 80 };
  const options = { broker: address.display, agents, target, digest: DIGEST, signal, waitSeconds: GATHER_S };
  const own = await connectBroker(address, "coordinator", false);
  const fromMs = performance.now();
  const fleet = stack.use(await Fleet.gather(own, options));
  const gatherMs = performance.now() - fromMs;
  const { messages } = fleet;
  const generator = await fleet.start({ host: "127.0.0.1", port: 80 }, {});
  await generator.connect(agents * CLIENTS);
  const parts = Array.from({ length: agents }, (_, i) => windowOf(i + 1, requests));
  const costs: Cost[] = [];
  const mergesMs: number[] = [];
  for (let i = 0; i < windows; i++) {
    signal.throwIfAborted();
    onWindow?.(i + 1);
    costs.push(await costOf(fleet, () => open(generator, rate, agents * requests)));
    mergesMs.push(await timeOf(() => open(atHand(parts), rate, agents * requests)));
  }
  return rowsOf(agents, {
    gather_messages: [[messages], "calls, offers, engagements and the first reading of the clocks"],
    gather_ms: [[gatherMs], "the agents are in the process of the coordinator: an upper bound"],
    window_messages: [costs.map((cost) => cost.messages), "the barrier, the commands, their answers and heartbeats"],
    window_bytes: [costs.map(({ bytes }) => bytes), "of these messages, without their subjects"],
    window_ms: [costs.map(({ ms }) => ms), "beyond the window itself; an upper bound as above"],
    answer_bytes: [parts.map((part) => JSON.stringify(part).length), "of one agent behind a window: three histograms"],
    merge_ms: [mergesMs, "the same answers without a broker between"],
  });
}
