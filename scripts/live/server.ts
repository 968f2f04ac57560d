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
import { type Wanted, watch } from "../../lib/run/watch.ts";
import { type Asset, type Desk, respond } from "./http.ts";
import { type Ending, type Limits, recent, toWire, type WireFrame } from "./wire.ts";
import { Viewers } from "./viewers.ts";
import { StartError } from "../../lib/server/server.ts";

/** What is to be shown. */
export interface LiveOptions {
  experiment: Experiment;
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
/** So long the pages have to take the last event. */
const FAREWELL_MS = 1000;

/** The most that this machine lets one process hold, and the most that makes sense to ask for. */
export function liveLimits(): Limits {
  const most = diagnose(hostFacts()).flatMap(({ connections }) => connections ?? []);
  return { connections: Math.min(1_000_000, ...most), rate_per_s: MAX_RATE_PER_S };
}

/**
 * Serves the page on 127.0.0.1.
 *
 * @returns Where the page is, and how it ended: then no server, no load and no listener is left.
 * @throws {Deno.errors.AddrInUse} If somebody listens on the port.
 */
export function serveLive(options: LiveOptions): { port: number; ended: Promise<Ending> } {
  const { experiment, limits } = options;
  const { name, title, family, idea } = experiment;
  const viewers = new Viewers();
  const state = { wanted: options.wanted, frames: [] as WireFrame[] };
  const desk: Desk = {
    viewers,
    limits,
    assets: options.assets,
    hello: () => ({ name, title, family, idea, limits, wanted: toWire(state.wanted), frames: state.frames }),
    onWanted: (wanted) => {
      state.wanted = wanted;
      viewers.send("wanted", toWire(wanted));
    },
  };
  const server: Deno.HttpServer<Deno.NetAddr> = Deno.serve(
    { hostname: "127.0.0.1", port: options.port, onListen: () => {} },
    (request) => respond(request, desk),
  );
  const ended = run(options, viewers, state).then(async (ending) => {
    viewers.send("end", ending);
    viewers.close();
    await settles(server.shutdown(), FAREWELL_MS);
    return ending;
  });
  return { port: server.addr.port, ended };
}

const STOPPED: Ending = { how: "stopped", sentence: "Stopped." };

/** From the first page to the end. */
async function run(
  { experiment, signal }: LiveOptions,
  viewers: Viewers,
  state: { wanted: Wanted; frames: WireFrame[] },
): Promise<Ending> {
  const stop = new AbortController();
  const aborted = Promise.withResolvers<void>();
  const onAbort = () => (stop.abort(), aborted.resolve());
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  viewers.left.then(() => stop.abort());
  try {
    await Promise.race([viewers.first, aborted.promise]);
    if (stop.signal.aborted) return STOPPED;
    for await (const frame of watch(experiment, () => state.wanted, stop.signal)) {
      const sent = { ...frame, wanted: toWire(frame.wanted) };
      state.frames = recent([...state.frames, sent]);
      viewers.send("frame", sent);
    }
  } catch (error) {
    const sentence = stripVTControlCharacters((error as Error).message); // a server's last words may be in colour
    if (!stop.signal.aborted) return { how: error instanceof StartError ? error.failure.ended : "crashed", sentence };
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  return signal.aborted ? STOPPED : { how: "closed", sentence: "The page was closed." };
}
