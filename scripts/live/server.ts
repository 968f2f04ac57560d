/**
 * A run that is looked at and steered in a page: it begins when the page is opened and ends when that is closed.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util";
import type { Experiment } from "../../lib/catalogue/catalogue.ts";
import { diagnose } from "../../lib/run/limits.ts";
import { settles } from "../../lib/server/process_group.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { type Wanted, watchTogether } from "../../lib/run/watch.ts";
import { type Asset, type LiveContext, respond } from "./http.ts";
import { type Ending, type Limits, recent, type Round } from "./wire.ts";
import { Viewer } from "./viewer.ts";
import { StartError } from "../../lib/server/server.ts";

/** What is to be shown. */
export interface LiveOptions {
  /** One, or two beside each other. */
  experiments: readonly Experiment[];
  /** What the load begins with. */
  wanted: Wanted;
  limits: Limits;
  /** 0: the kernel chooses. */
  port: number;
  assets: Readonly<Record<string, Asset>>;
  /** Ends the run. */
  signal: AbortSignal;
}

/** More requests/s than one core sends, so that the scale has an end. */
const MAX_RATE_PER_S = 100_000;
/** So long a page has to take the last event. */
export const FAREWELL_MS = 1000;

/** The most that this machine lets one process hold, and the most that makes sense to ask for. */
export function liveLimits(): Limits {
  const most = diagnose(hostFacts()).flatMap(({ connections }) => connections ?? []);
  return { connections: Math.min(1_000_000, ...most), rate_per_s: MAX_RATE_PER_S };
}

/**
 * Serves the page on 127.0.0.1.
 *
 * @returns Where the page is, and how it ended: then no server, no load and no listener is left.
 * @throws {Deno.errors.AddrInUse} If something listens on the port.
 */
export function serveLive(options: LiveOptions): { port: number; ended: Promise<Ending> } {
  const { experiments, limits } = options;
  const servers = experiments.map(({ name, title, family, idea }) => ({ name, title, family, idea }));
  const viewer = new Viewer();
  const state: State = { wanted: options.wanted, rounds: [] };
  const context: LiveContext = {
    assets: options.assets,
    join: () => viewer.join({ servers, limits, ...state }),
    load: { limits, onWanted: (wanted) => state.wanted = wanted },
  };
  const server: Deno.HttpServer<Deno.NetAddr> = Deno.serve(
    { hostname: "127.0.0.1", port: options.port, onListen: () => {} },
    (request) => respond(request, context),
  );
  const ended = run(options, viewer, state).then(async (ending) => {
    viewer.send("end", ending);
    viewer.close();
    await settles(server.shutdown(), FAREWELL_MS);
    return ending;
  });
  return { port: server.addr.port, ended };
}

/** What runs, and what was seen of it. */
interface State {
  wanted: Wanted;
  rounds: Round[];
}

export const STOPPED: Ending = { how: "stopped", sentence: "Stopped." };
export const CLOSED: Ending = { how: "closed", sentence: "The page was closed." };

/** From the first page to the end. */
async function run({ experiments, signal }: LiveOptions, viewer: Viewer, state: State): Promise<Ending> {
  const stop = new AbortController();
  const aborted = Promise.withResolvers<void>();
  const onAbort = () => (stop.abort(), aborted.resolve());
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  viewer.left.then(() => stop.abort());
  try {
    await Promise.race([viewer.first, aborted.promise]);
    if (stop.signal.aborted) return STOPPED;
    for await (const round of watchTogether(experiments, () => state.wanted, stop.signal)) {
      state.rounds = recent([...state.rounds, round]);
      viewer.send("round", round);
    }
  } catch (error) {
    const sentence = stripVTControlCharacters((error as Error).message); // a server's last words may be in colour
    if (!stop.signal.aborted) return { how: error instanceof StartError ? error.failure.ended : "crashed", sentence };
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  return signal.aborted ? STOPPED : CLOSED;
}
