/**
 * What the probe `million` and its two worker programs say to each other, one line of JSON each.
 *
 * @module
 */

/** What a worker is told in its argument. */
export interface MillionConfig {
  role: "server" | "client";
  /** Rings, each with an address of its own: 1..MAX_RINGS. */
  rings: number;
  /** Connections of each ring: the kernel allows a ring as many direct descriptors as RLIMIT_NOFILE says. */
  slots: number;
  /** Where the server listens, on all its addresses; 0: the kernel chooses. */
  port: number;
}

/** As many rings have an address: ring k of the server is 127.77.k.1. */
export const MAX_RINGS = 250;

/** What the client is asked for. A line at a time: the next one only after the answer. */
export type MillionCommand = { connect: number } | { ask: true };

/** Says its state as it begins to listen and, while it changes, some times a second. */
export interface ServerState {
  port: number;
  /** Connections that take a slot. */
  live: number;
  accepted: number;
  answered: number;
  /** By the name of the errno, or in words. */
  errors: Record<string, number>;
}

/** Says its state as it is ready, and after each command. */
export interface ClientState {
  /** Commands that were carried out. */
  done: number;
  /** Connections that are held. */
  connected: number;
  /** Connections that could not be made. */
  failed: number;
  /** Connections that gave the right answer, byte for byte, when they were asked last. */
  answered: number;
  /** By the name of the errno, or in words. */
  errors: Record<string, number>;
}
