/**
 * Tests that hold for each engine of the load generator.
 *
 * @module
 */
import { type EngineName, LoadGenerator, type LoadOptions } from "../load/generator.ts";

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
