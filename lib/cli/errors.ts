/** Errors that a command reports in one sentence, without a stack trace. */

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

/**
 * Something failed whose cause is known: a full disk, a damaged file, another run. The message says what was tried, with
 * what, and what to do. A script prints it and ends with exit code 70.
 */
export class KnownFailure extends Error {
  override readonly name: string = "KnownFailure";
}

/** Something could not be stored: the disk is full, or the folder is read-only. What was there before is untouched. */
export class CannotStore extends KnownFailure {
  override readonly name = "CannotStore";
}

/** This system cannot do it, or a tool is missing. A script prints the message and ends with exit code 69. */
export class Unavailable extends KnownFailure {
  override readonly name = "Unavailable";
}

/** A signal asked for the end. A script ends with exit code 130. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  constructor() {
    super("Interrupted.");
  }
}
