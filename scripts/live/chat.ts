/**
 * A chat by way of a server that pushes: pages connect to it as any client does, and this command serves the pages.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util";
import { delay } from "@std/async";
import type { Experiment } from "../../lib/catalogue/catalogue.ts";
import { crash } from "../../lib/run/step.ts";
import { settles } from "../../lib/server/process_group.ts";
import type { Server } from "../../lib/server/server.ts";
import { startSubject } from "../../lib/server/subject.ts";
import { type Asset, type LiveContext, respond } from "./http.ts";
import { CLOSED, FAREWELL_MS, STOPPED } from "./server.ts";
import { Viewer } from "./viewer.ts";
import type { ChatEvents, Ending } from "./wire.ts";

/** A browser opens six connections to a host, and a page keeps one: one is left for the files of the next page. */
export const MAX_PAGES = 5;
const COUNT_EVERY_MS = 1000; // nothing is measured here, so that the server may be asked often

/** What is to be shown. */
export interface ChatOptions {
  /** Of the family `push`. */
  experiment: Experiment;
  /** 0: the kernel chooses. */
  port: number;
  assets: Readonly<Record<string, Asset>>;
  /** Ends the chat. */
  signal: AbortSignal;
}

/**
 * Starts the server, and serves the page of the chat on 127.0.0.1.
 *
 * @returns Where the page is, and how it ended: then no server and no listener is left.
 * @throws {StartError} If the server cannot start.
 * @throws {Deno.errors.AddrInUse} If something listens on the port.
 */
export async function serveChat(options: ChatOptions): Promise<{ port: number; ended: Promise<Ending> }> {
  const { experiment, assets, port, signal } = options;
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startSubject(experiment, { signal }));
  const { name, title, family, idea } = experiment;
  const viewer = new Viewer<ChatEvents>({ most: MAX_PAGES });
  const socket = `ws://127.0.0.1:${server.port}`;
  const context: LiveContext = {
    assets,
    connectsTo: socket,
    join: () => viewer.join({ server: { name, title, family, idea }, socket }),
  };
  const pages: Deno.HttpServer<Deno.NetAddr> = Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    (request) => respond(request, context),
  );
  const owned = stack.move();
  const ended = chat(options, server, viewer).then(async (ending) => {
    viewer.send("end", ending); // before the server goes: the pages then know why
    viewer.close();
    await settles(pages.shutdown(), FAREWELL_MS);
    await owned.disposeAsync();
    return ending;
  });
  return { port: pages.addr.port, ended };
}

/** Tells the pages how many listen, until it is over. */
async function chat({ experiment, signal }: ChatOptions, server: Server, viewer: Viewer<ChatEvents>): Promise<Ending> {
  const over = new AbortController();
  const aborted = Promise.withResolvers<Ending>();
  signal.addEventListener("abort", () => aborted.resolve(STOPPED), { once: true });
  if (signal.aborted) aborted.resolve(STOPPED);
  const crashed = server.exited.then((status): Ending => {
    const sentence = stripVTControlCharacters(`${experiment.name}: ${crash(status, server)}`);
    return { how: "crashed", sentence };
  });
  const counting = count(server, viewer, over.signal);
  const ending = await Promise.race([aborted.promise, crashed, viewer.left.then(() => CLOSED)]);
  over.abort();
  await counting;
  return ending;
}

async function count(server: Server, viewer: Viewer<ChatEvents>, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    const stats = await server.stats();
    viewer.send("listeners", { open: stats?.open ?? null });
    await delay(COUNT_EVERY_MS, { signal: over }).catch(ifOver(over));
  }
}

/** An error that an abort causes is none. */
const ifOver = (over: AbortSignal) => (error: unknown) => {
  if (!over.aborted) throw error;
};
