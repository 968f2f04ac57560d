/**
 * `@std/assert` over Node's comparison: the signatures and the outcomes of the original, for places where JSR cannot be reached.
 *
 * The difference: `assertEquals` compares like `node:assert/strict`. It tells 0 from -0 and objects without a prototype from
 * object literals, which the original does not; and of two errors it compares name and message, not where they were made.
 *
 * @module
 */
import { deepStrictEqual } from "node:assert/strict";
import { inspect, isDeepStrictEqual } from "node:util";

// deno-lint-ignore no-explicit-any -- the arguments of a class are of no concern to `instanceof`
type Class<T> = abstract new (...args: any[]) => T;

/** What every function of this module throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** Throws, unless `condition` holds. The detail, usually both values, is only made for a failure. */
function check(condition: boolean, detail: () => string, msg?: string): asserts condition {
  if (!condition) throw new AssertionError(msg === undefined ? detail() : `${msg}: ${detail()}`);
}

/** @throws {AssertionError} If `expr` is falsy. */
export function assert(expr: unknown, msg = "The expression is falsy."): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

function difference(actual: unknown, expected: unknown): string {
  try {
    deepStrictEqual(actual, expected);
  } catch (error) {
    return (error as Error).message;
  }
  return "";
}

/** @throws {AssertionError} If the values differ in structure: a key that is missing differs from one that is undefined. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  check(isDeepStrictEqual(actual, expected), () => difference(actual, expected), msg);
}

/** @throws {AssertionError} If the values have the same structure. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  check(!isDeepStrictEqual(actual, expected), () => `${inspect(actual)} should differ from the expected value.`, msg);
}

/** @throws {AssertionError} If `actual` does not match. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  check(expected.test(actual), () => `${inspect(actual)} does not match ${expected}.`, msg);
}

/** @throws {AssertionError} If `actual` does not contain `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  check(actual.includes(expected), () => `${inspect(actual)} does not include ${inspect(expected)}.`, msg);
}

/**
 * @param tolerance The largest difference that is still equal; a ten-millionth of `expected` unless it is given.
 * @throws {AssertionError} If the numbers are further apart.
 */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, msg?: string): void {
  const limit = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const near = Object.is(actual, expected) || Math.abs(expected - actual) <= limit;
  check(near, () => `${actual} is more than ${limit} away from ${expected}.`, msg);
}

/** @throws {AssertionError} If `actual` is not greater than `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  check(actual > expected, () => `${inspect(actual)} is not > ${inspect(expected)}.`, msg);
}

/** @throws {AssertionError} If `actual` is less than `expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  check(actual >= expected, () => `${inspect(actual)} is not >= ${inspect(expected)}.`, msg);
}

/** @throws {AssertionError} If `actual` is not less than `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  check(actual < expected, () => `${inspect(actual)} is not < ${inspect(expected)}.`, msg);
}

/** @throws {AssertionError} If `actual` is greater than `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  check(actual <= expected, () => `${inspect(actual)} is not <= ${inspect(expected)}.`, msg);
}

/** Checks what was thrown against the class and the part of its message that were asked for. */
function checkError<E extends Error>(error: unknown, type?: Class<E>, includes = "", msg?: string): void {
  if (type === undefined) return;
  check(error instanceof type, () => `${inspect(error)} was thrown, which is no ${type.name}.`, msg);
  check(
    error.message.includes(includes),
    () => `${inspect(error.message)} does not include ${inspect(includes)}.`,
    msg,
  );
}

/** Returns what `fn` throws. With `ErrorClass`, it has to be one, and its message has to contain `msgIncludes`.
 * @throws {AssertionError} If `fn` returns, or throws something else. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(fn: () => unknown, type?: Class<Error> | string, includes?: string, msg?: string) {
  if (typeof type === "string") return assertThrows(fn, Error, "", type);
  try {
    fn();
  } catch (error) {
    checkError(error, type, includes, msg);
    return error;
  }
  check(false, () => "The function should throw.", msg);
}

/** Resolves to what the promise of `fn` rejects with, checked like `assertThrows`.
 * @throws {AssertionError} If it resolves, rejects with something else, or if `fn` throws before it returns a promise. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  type?: Class<Error> | string,
  includes?: string,
  msg?: string,
) {
  if (typeof type === "string") [type, msg] = [undefined, type];
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (error) {
    check(false, () => `The function should return a promise that rejects, but it threw ${inspect(error)}.`, msg);
  }
  try {
    await promise;
  } catch (error) {
    checkError(error, type, includes, msg);
    return error;
  }
  check(false, () => "The promise should reject.", msg);
}
