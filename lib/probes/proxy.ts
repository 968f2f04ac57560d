/**
 * How many clients of a proxy are answered at a time by one worker of nginx, whose table of connections has a set size. The
 * backend answers late: so all clients wait at one time, and each of them has a connection to the backend.
 *
 * @module
 */
import { delay } from "@std/async";
import { dirname } from "node:path";
import { find } from "../catalogue/catalogue.ts";
import { cannotChange, PatchedCopies } from "../catalogue/patched_copies.ts";
import { obstacleTo } from "../catalogue/tools.ts";
import { PROXY } from "../results/conventions.ts";
import { SILENCE_MS } from "../run/bench.ts";
import { type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = PROXY.probe;
const SERVER = "nginx-proxy";
const METRICS = ["answered", "connected"] as const;
const LATE_MS = 1000; // far longer than it takes until the last client has asked
const ANSWER = new TextEncoder().encode("HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nHello World");

/** The proxy has gone, as at the end of a run. */
const GONE = [Deno.errors.ConnectionReset, Deno.errors.BrokenPipe];

/** How it is measured. */
export interface Extent {
  /** The size of the table, and how many clients ask at a time. */
  connections: number;
  /** Fresh servers. */
  runs: number;
}

/** A backend that answers every connection once, late, and closes it. */
class LateBackend implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly port = this.#listener.addr.port;
  readonly #over = this.#accept().then(() => null, (error: unknown) => error);

  /** Ends when the listener is closed. */
  async #accept(): Promise<void> {
    for await (const connection of this.#listener) void this.#answer(connection);
  }

  async #answer(connection: Deno.Conn): Promise<void> {
    using _ = connection;
    try {
      await connection.read(new Uint8Array(4096));
      await delay(LATE_MS);
      await connection.write(ANSWER);
    } catch (error) {
      if (!GONE.some((kind) => error instanceof kind)) throw error;
    }
  }

  /** @throws What has ended it before, as when no descriptor was left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    const error = await this.#over;
    if (error !== null) throw error;
  }
}

/** A copy of the proxy with a table of this size, in front of another backend. */
function copyOf(changed: PatchedCopies, connections: number, backend: LateBackend) {
  const nginx = `${dirname(find(SERVER).path)}/nginx`; // where its configuration stands
  return changed.make(
    SERVER,
    { name: `proxy-${connections}`, replace: "${import.meta.dirname}/nginx", by: nginx },
    {
      replace: '.replace("WORKERS", "1")',
      by: `.replace("WORKERS", "1").replace("worker_connections 20000", "worker_connections ${connections}")`,
    },
    { replace: "${LOOPBACK}:${backend.port}", by: `\${LOOPBACK}:${backend.port}` },
  );
}

async function count(changed: PatchedCopies, { connections }: Extent, signal: AbortSignal) {
  await using backend = new LateBackend();
  await using rig = await Rig.start({ server: copyOf(changed, connections, backend), signal });
  const timeoutMs = SILENCE_MS + LATE_MS;
  const { connected } = await rig.generator.connect(connections, { timeoutMs });
  const { answered } = await rig.generator.ask({ onlyNew: true, window: connections, timeoutMs });
  return { answered, connected };
}

/** Counts the answered clients. */
export async function measureProxy(extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  using changed = new PatchedCopies();
  const rows = rowsOf(NAME, String(extent.connections));
  const note = `of ${extent.connections} clients that ask at a time; one worker with as many worker_connections`;
  return await orMissing([rows], METRICS, plan, async () => {
    const found: Awaited<ReturnType<typeof count>>[] = [];
    for (let run = 0; run < extent.runs; run++) {
      plan.onProgress(`run ${run + 1} of ${extent.runs}`);
      found.push(await count(changed, extent, plan.signal));
    }
    return METRICS.map((metric) => rows.of(metric, found.map((each) => each[metric]), note));
  });
}

export const proxy: Probe = {
  name: NAME,
  title: "Clients that a proxy answers at a time, against the size of its table",
  obstacle: async () => await obstacleTo(find(SERVER)) ?? cannotChange(),
  run: (plan) => measureProxy({ connections: PROXY.connections, runs: plan.quick ? 1 : RUNS }, plan),
};
