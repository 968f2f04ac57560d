/**
 * Checks that a value read from JSON is what a type promises, and tells where it is not.
 *
 * @module
 */

/** Returns what is wrong with the value, such as `metrics.p50_us is not a number`; undefined if nothing is. */
export type Check = (value: unknown, path: string) => string | undefined;

/** The checks of an object's keys. */
export type Shape<T> = { readonly [K in keyof Required<T>]: Check };

const is = (what: string, test: (value: unknown) => boolean): Check => (value, path) =>
  test(value) ? undefined : `${path} is not ${what}`;

export const text: Check = is("text", (value) => typeof value === "string");
export const truth: Check = is("true or false", (value) => typeof value === "boolean");
/** A finite number; JSON knows no other, but a key may hold anything. */
export const number: Check = is("a number", Number.isFinite);

export const oneOf = (values: readonly unknown[]): Check =>
  is(`one of ${values.join(", ")}`, (value) => values.includes(value));

export const nullOr = (check: Check): Check => (value, path) => value === null ? undefined : check(value, path);

/** The key may be missing. */
export const optional = (check: Check): Check => (value, path) => value === undefined ? undefined : check(value, path);

export const list = (check: Check): Check => (value, path) => {
  if (!Array.isArray(value)) return `${path} is not a list`;
  return firstWrong(value.map((item, i) => () => check(item, `${path}[${i}]`)));
};

/** Exactly these keys: one more is as wrong as one that is missing. */
export const object = (shape: Readonly<Record<string, Check>>): Check => (value, path) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return `${path || "it"} is not an object`;
  const at = (key: string) => path === "" ? key : `${path}.${key}`;
  const unknown = Object.keys(value).find((key) => !Object.hasOwn(shape, key));
  if (unknown !== undefined) return `${at(unknown)} is unknown`;
  const members = value as Record<string, unknown>;
  return firstWrong(Object.entries(shape).map(([key, check]) => () => check(members[key], at(key))));
};

/** Any keys; each value passes the check. */
export const dictionary = (check: Check): Check => (value, path) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return `${path || "it"} is not an object`;
  return firstWrong(Object.entries(value).map(([key, member]) => () => check(member, `${path}.${key}`)));
};

/** Passes if one of the two does. */
export const either = (first: Check, second: Check): Check => (value, path) =>
  first(value, path) === undefined ? undefined : second(value, path);

function firstWrong(checks: (() => string | undefined)[]): string | undefined {
  for (const check of checks) {
    const wrong = check();
    if (wrong !== undefined) return wrong;
  }
}
