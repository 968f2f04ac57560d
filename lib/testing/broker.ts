/**
 * A real broker for tests of fleets: the program nats-server.
 *
 * @module
 */
import { installLine, isInstalled, TOOLS } from "../catalogue/tools.ts";

export { BrokerProcess } from "../fleet/broker_process.ts";

export const HAS_BROKER = await isInstalled("nats-server");
if (!HAS_BROKER) {
  console.log(`Fleets are not tested: ${installLine(TOOLS.filter(({ command }) => command === "nats-server"))}`);
}
