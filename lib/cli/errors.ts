/** Errors that the commands tell to their user in words, without a stack trace. */

/**
 * The command line cannot be understood: an unknown flag, a value out of range, an unknown name. A script prints the
 * message and ends with exit code 2; the message says what was given and what would be right.
 *
 * @example
 * ```ts
 * throw new UsageError("--port 70000 is not a port (0..65535).");
 * ```
 */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
