/**
 * `@std/fmt/bytes` over pretty-bytes, which the original was made from; for places where JSR cannot be reached.
 *
 * Two differences: 1024 bytes are a `KiB` here, as the standard of these units says, and a `kiB` in the original; and just
 * below the next unit this one writes `1 MB` or `1023 KiB`, where the original rounds to `1000 kB` and `1020 kiB`.
 *
 * @module
 */
import prettyBytes from "pretty-bytes";

/** How `format` writes a number of bytes. */
export interface FormatOptions {
  /** Steps of 1024 (KiB, MiB) instead of 1000 (kB, MB). */
  binary?: boolean;
}

/**
 * Writes a number of bytes for people, in three digits: `format(1337)` is `1.34 kB`.
 *
 * @throws {TypeError} If `num` is not finite.
 */
export function format(num: number, options: FormatOptions = {}): string {
  return prettyBytes(num, options);
}
