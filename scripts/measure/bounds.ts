/**
 * Whether the agents of a fleet do what is asked for, before any of it is done.
 *
 * @module
 */
import { UsageError } from "../../lib/cli/errors.ts";
import {
  leastSeconds,
  type LoadBounds,
  LOADED_CONNECTIONS,
  type MeasureOptions,
  WITHOUT_RATE,
} from "../../lib/run/ladder.ts";
import { count } from "../../lib/text/format.ts";

/** @throws {UsageError} If more is asked for than the agents do. What nobody asked for is cut later. */
export function checkBounds(options: MeasureOptions, bounds: LoadBounds): void {
  const { rate, connections, scenarios } = options;
  const highest = Math.min(...(connections ?? [LOADED_CONNECTIONS]).map((number) => bounds.ratePerS(number)));
  if ((rate ?? 0) > highest) {
    throw new UsageError(`--rate ${rate}: these agents send up to ${count(highest)} requests/s (--max-rate).`);
  }
  const without = scenarios?.find((name) => WITHOUT_RATE.includes(name));
  if (bounds.openOnly && without !== undefined) {
    throw new UsageError(`--scenario ${without}: it has no rate, and these agents bound theirs (--max-rate).`);
  }
  const least = leastSeconds(options);
  if (least > bounds.seconds) {
    throw new UsageError(
      `This takes ${count(least)} s at least, and these agents work for up to ${count(bounds.seconds)} s ` +
        "(--max-seconds): give fewer --seconds, --scenario or --connections.",
    );
  }
}
