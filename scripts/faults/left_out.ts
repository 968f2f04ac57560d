/**
 * Which servers of the catalogue are put under all faults, and why others are not.
 *
 * @module
 */
import { type Experiment, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { obstacleTo } from "../../lib/catalogue/tools.ts";

/**
 * Those that speak HTTP and that nothing here stands in the way of, and a sentence for each of the others.
 *
 * @param obstacle What stands in the way of one; null: nothing.
 */
export async function allServers(
  experiments: readonly Experiment[],
  obstacle: (one: Experiment) => Promise<string | null> = obstacleTo,
): Promise<{ here: Experiment[]; leftOut: string[] }> {
  const here: Experiment[] = [];
  const leftOut: string[] = [];
  for (const one of experiments) {
    const reason = speaksHttp(one)
      ? await obstacle(one)
      : `${one.name} speaks WebSocket, and the clients of faults speak HTTP.`;
    if (reason === null) here.push(one);
    else leftOut.push(reason);
  }
  return { here, leftOut };
}
