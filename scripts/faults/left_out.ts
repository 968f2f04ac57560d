/**
 * Which servers of the catalogue are put under all faults, and why others are not.
 *
 * @module
 */
import { type Experiment, runsHere, speaksHttp, type System } from "../../lib/catalogue/catalogue.ts";

/** Those that this system can run and that speak HTTP, and a sentence for each of the others. */
export function allServers(
  experiments: readonly Experiment[],
  system?: System,
): { here: Experiment[]; leftOut: string[] } {
  const reasonOf = (one: Experiment): string | null => {
    if (!speaksHttp(one)) return `${one.name} speaks WebSocket, and the clients of faults ask by HTTP.`;
    const here = runsHere(one, system);
    return here.runs ? null : here.reason;
  };
  const all = experiments.map((one) => ({ one, reason: reasonOf(one) }));
  return {
    here: all.filter(({ reason }) => reason === null).map(({ one }) => one),
    leftOut: all.flatMap(({ reason }) => reason ?? []),
  };
}
