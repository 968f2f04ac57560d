/**
 * Tests that hold for each engine of the load generator.
 *
 * @module
 */
import { type EngineName, LoadGenerator, type LoadOptions, type Window } from "../load/generator.ts";

/** The engines that run on this system. */
export const ENGINES: EngineName[] = Deno.build.os === "linux" ? ["epoll", "portable"] : ["portable"];

/** Starts a generator against a port of 127.0.0.1. */
export type Start = (port: number, options?: LoadOptions) => Promise<LoadGenerator>;

/** Registers the same test once for each engine. */
export function testEngines(name: string, body: (start: Start) => Promise<void>): void {
  for (const engine of ENGINES) {
    const start: Start = (port, options) => LoadGenerator.start({ host: "127.0.0.1", port }, { ...options, engine });
    Deno.test(`${name} (${engine})`, () => body(start));
  }
}

const MOST_WINDOWS = 20;

/**
 * The first of several equal windows with so many answers, of whatever status: a busy machine may leave a process without CPU
 * time for all of a short one.
 *
 * @throws {Error} If none has.
 */
export async function withAnswers(load: () => Promise<Window>, enough = 1): Promise<Window> {
  for (let i = 0; i < MOST_WINDOWS; i++) {
    const window = await load();
    const { requests, errors } = window;
    if (Object.values(errors).reduce((sum, each) => sum + each, requests) >= enough) return window;
  }
  throw new Error(`None of ${MOST_WINDOWS} windows has ${enough} answers.`);
}
