/**
 * What the command `live` and its page tell each other, as JSON: events from the command, and what is wanted from the page.
 *
 * @module
 */
import type { Experiment } from "../../lib/catalogue/catalogue.ts";
import type { Frame, Wanted } from "../../lib/run/watch.ts";
import { count } from "../../lib/text/format.ts";
import type { StartFailure } from "../../lib/server/server.ts";
import * as v from "valibot";
import { wrongIn } from "../../lib/results/check.ts";

/** The most that can be wanted; the least is 1. */
export type Limits = { connections: number; rate_per_s: number };

/** What a page says of a server. */
export type Shown = Pick<Experiment, "name" | "title" | "family" | "idea">;

/** A frame of each server, in the order in which they were named. */
export type Round = Frame[];

/** The first event that a page gets. */
export interface Hello {
  /** One, or two beside each other. */
  servers: Shown[];
  limits: Limits;
  wanted: Wanted;
  /** Of the last {@linkcode HISTORY_S} seconds. */
  rounds: Round[];
}

/** How a run ended: the page was closed, the command was stopped, or there is no server: it cannot run here, or gave up. */
export interface Ending {
  how: "closed" | "stopped" | StartFailure["ended"];
  sentence: string;
}

/** The events, by their names, with what they carry. */
export interface Events {
  hello: Hello;
  round: Round;
  /** Another page was opened: this one gets no more events. */
  replaced: null;
  end: Ending;
}

/** The first event that a page of a chat gets. */
export interface ChatHello {
  server: Shown;
  /** Where the server listens, such as `ws://127.0.0.1:43121`. */
  socket: string;
}

/** The events of a chat. Messages are none of them: these come from the server itself. */
export interface ChatEvents {
  hello: ChatHello;
  /** How many the server says are connected; null: it does not say. */
  listeners: { open: number | null };
  replaced: null;
  end: Ending;
}

/** So many seconds a page shows. */
export const HISTORY_S = 120;

const whole = (max: number) => {
  const isWhole = (value: unknown) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= max;
  return v.custom<number>(isWhole, `is not a whole number from 1 to ${count(max)}`);
};

/** Reads what a page wants; where that cannot be, what is wrong, such as `connections is not a whole number from 1 to 9`. */
export function readWanted(text: string, limits: Limits): Wanted | { wrong: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { wrong: "it is not JSON" };
  }
  const wrong = wrongIn(
    v.strictObject({ connections: whole(limits.connections), rate_per_s: v.nullable(whole(limits.rate_per_s)) }),
    value,
  );
  return wrong === undefined ? value as Wanted : { wrong };
}

/** The rounds that still belong on a page. All frames of a round are of one time. */
export function recent<F extends { elapsed_s: number }>(rounds: readonly F[][]): F[][] {
  const now = rounds.at(-1)?.[0]?.elapsed_s ?? 0;
  return rounds.filter(([first]) => first !== undefined && first.elapsed_s > now - HISTORY_S);
}
