/**
 * What a reader of the notebooks may change: checked before anything is measured, and said in one sentence where it is wrong.
 *
 * @module
 */
import * as v from "valibot";
import { find, findIn } from "../catalogue/catalogue.ts";
import type { Experiment } from "../catalogue/header.ts";
import { UsageError } from "../cli/errors.ts";
import { wrongIn } from "../results/check.ts";
import type { Parameters, ScenarioName } from "../results/results.ts";
import { METRICS, PARAMETERS, SCENARIOS } from "../results/schema.ts";

/** A number, or null where nothing is predicted. */
type Predicted = number | null;

const isNumber = (value: unknown): boolean => typeof value === "number" && Number.isFinite(value);
const isWhole = (value: unknown, least: number): boolean => Number.isInteger(value) && value as number >= least;
const named = (names: readonly string[]) => names.map((name) => ({ name }));

/** @throws {UsageError} If a prediction is neither a number nor null. */
export function checkPrediction(what: string, value: unknown): void {
  if (value === null || isNumber(value)) return;
  throw new UsageError(`${what}: ${Deno.inspect(value)} is no prediction; write a number, or null for none.`);
}

/**
 * Takes a prediction, or several with their names, before the cell measures.
 *
 * @throws {UsageError} If one of them is neither a number nor null.
 *
 * @example
 * ```ts
 * predict({ poll: 10, epoll_wait: null }).poll; // 10
 * ```
 */
export function predict<T extends Predicted | Record<string, Predicted>>(value: T): T {
  if (value === null || typeof value !== "object") checkPrediction("Your prediction", value);
  else for (const [name, each] of Object.entries(value)) checkPrediction(`Your prediction of ${name}`, each);
  return value;
}

/** @throws {UsageError} If a value is no number, or lower than `least`. */
export function checkNumber(what: string, value: unknown, least = 0): void {
  if (isNumber(value) && value as number >= least) return;
  throw new UsageError(`${what} is ${Deno.inspect(value)}: take a number from ${least} on.`);
}

/** @throws {UsageError} If a value is no number above zero. */
export function checkPositive(what: string, value: unknown): void {
  if (isNumber(value) && value as number > 0) return;
  throw new UsageError(`${what} is ${Deno.inspect(value)}: take a number above 0.`);
}

/** @throws {UsageError} If a value is no whole number, or lower than `least`. */
export function checkWhole(what: string, value: unknown, least = 1): void {
  if (isWhole(value, least)) return;
  throw new UsageError(`${what} is ${Deno.inspect(value)}: take a whole number from ${least} on.`);
}

/** @throws {UsageError} If sizes are not whole numbers from `least` on, each larger than the one before. */
export function checkSizes(sizes: unknown, least = 1): void {
  const isRising = (value: unknown, i: number, all: unknown[]) =>
    isWhole(value, least) && (i === 0 || value as number > (all[i - 1] as number));
  if (Array.isArray(sizes) && sizes.length > 0 && sizes.every(isRising)) return;
  throw new UsageError(
    `Sizes are whole numbers from ${least} on, each larger than the one before; ${Deno.inspect(sizes)} are not.`,
  );
}

/**
 * Finds all servers of a list before the first one is started.
 *
 * @throws {UsageError} If it names none, or one that is not in the catalogue.
 */
export function findAll(names: readonly string[]): Experiment[] {
  if (names.length === 0) throw new UsageError("The list of servers is empty: name one at least.");
  return names.map((name) => find(name));
}

/** @throws {UsageError} If runs have no such metric. */
export const checkMetric = (name: string): void => void findIn(named(METRICS), name, "metric");

/** @throws {UsageError} If options of a server are not all texts. */
export function checkOptions(options: readonly unknown[]): void {
  const wrong = options.find((option) => typeof option !== "string");
  if (wrong !== undefined) throw new UsageError(`Options are texts: write "${wrong}" in place of ${wrong}.`);
}

const GIVEN = v.partial(PARAMETERS);
const OPEN_LOOPS: readonly ScenarioName[] = ["rate", "mixed", "slow", "broadcast"];

/** @throws {UsageError} If there is no such scenario, or what it is asked for is not complete, or wrong. */
export function checkRun(scenario: ScenarioName, parameters: Partial<Parameters>): void {
  findIn(named(SCENARIOS), scenario, "scenario");
  const wrong = wrongIn(GIVEN, parameters);
  if (wrong !== undefined) throw new UsageError(`Wrong in what ${scenario} is asked for: ${wrong}.`);
  checkWhole("connections", parameters.connections);
  if (parameters.seconds !== undefined) checkPositive("seconds", parameters.seconds);
  const { heavy_share: share = 0 } = parameters;
  if (share < 0 || share > 1) throw new UsageError(`heavy_share is ${share}: take a number from 0 to 1.`);
  if (OPEN_LOOPS.includes(scenario)) checkPositive("rate_per_s", parameters.rate_per_s);
}
