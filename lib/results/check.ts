/**
 * What the schemas of results/ are made of. A schema is declared once: the type, the check of a file and the format
 * document come from it.
 *
 * @module
 */
import * as v from "valibot";

/** A field with what it says: one line of the format document. */
export const field = <S extends v.GenericSchema>(
  schema: S,
  says: string,
): v.SchemaWithPipe<readonly [S, v.DescriptionAction<v.InferOutput<S>, string>]> =>
  v.pipe(schema, v.description<v.InferOutput<S>, string>(says));

/** A finite number: JSON has no other. */
export const number = v.pipe(v.number(), v.finite());
export const text = v.string();
export const numberOrNull = v.nullable(number);
export const textOrNull = v.nullable(text);

/** A time as `Date.toISOString` writes it. */
export const time = v.pipe(
  v.string(),
  v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, "is not a time like 2025-01-31T12:00:00.000Z"),
);

/** A schema of an object with exactly these fields. */
export type Fields = v.StrictObjectSchema<v.ObjectEntries, undefined>;

/**
 * What is wrong with a value, such as `metrics.p50_us: expected number, found "410"`; undefined if the schema accepts it.
 */
export function wrongIn(schema: v.GenericSchema, value: unknown): string | undefined {
  const { issues } = v.safeParse(schema, value, { abortEarly: true });
  const issue = issues?.[0];
  if (issue === undefined) return undefined;
  const path = v.getDotPath(issue) ?? "the value";
  if (issue.type === "strict_object" && issue.expected === "never") return `${path}: unknown field`;
  if (issue.type === "strict_object" && issue.received === "undefined") return `${path}: missing`;
  if (issue.type === "regex" || issue.type === "custom") return `${path} ${issue.message}`;
  if (issue.type === "finite") return `${path}: expected finite number, found ${issue.received}`;
  return `${path}: expected ${issue.expected}, found ${issue.received}`;
}

/** The fields of an object schema in order, each with its description. */
export const describeFields = (schema: { entries: v.ObjectEntries }): [name: string, says: string][] =>
  Object.entries(schema.entries).map(([name, entry]) => {
    const isOptional = entry.type === "exact_optional";
    const described = isOptional ? (entry as v.ExactOptionalSchema<v.GenericSchema, undefined>).wrapped : entry;
    return [name, v.getDescription(described as v.GenericSchema) ?? ""];
  });
