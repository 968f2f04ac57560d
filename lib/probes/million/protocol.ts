/**
 * What the probe `million` and its client, a process of its own, say to each other, one line of JSON each.
 *
 * @module
 */

/** What the client is given in its argument. */
export interface MillionConfig {
  /** Rings, each with an address of its own: 1..MAX_RINGS. */
  rings: number;
  /** Connections of each ring: the kernel allows a ring as many direct descriptors as RLIMIT_NOFILE says. */
  slots: number;
  /** Where the server listens. */
  port: number;
}

/** As many rings have an address: ring k connects to 127.77.k.1. */
export const MAX_RINGS = 250;

/** What the client is asked for. A line at a time: the next one only after the answer. */
export type MillionCommand = { connect: number } | { ask: true };

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
