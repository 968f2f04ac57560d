/**
 * xdp and clients of the kernel, with a wire between them that loses, repeats, reorders and damages frames. `deno test … --
 * --thorough` asks a hundred times as much.
 */
import { assertEquals, assertGreater } from "@std/assert";
import { fileURLToPath } from "node:url";
import { find } from "../lib/catalogue.ts";
import { experimentCommand, type Server, startServer } from "../lib/server.ts";
import type { Exactness } from "../lib/testing/exact_client.ts";
import { badWire } from "../lib/testing/bad_wire.ts";
import { type Network, networkObstacle, openNetwork, type Relay } from "../lib/network/namespaces.ts";
import { isInstalled } from "../lib/tools.ts";

const EXACT = fileURLToPath(new URL("../lib/testing/exact_client.ts", import.meta.url));
const IS_THOROUGH = Deno.args.includes("--thorough");
const CLIENTS = IS_THOROUGH ? 1000 : 100;
const REQUESTS = IS_THOROUGH ? 100 : 10;
const seedArgument = Deno.args.find((arg) => arg.startsWith("--seed="));
const SEED = seedArgument
  ? Number(seedArgument.slice("--seed=".length))
  : crypto.getRandomValues(new Uint16Array(1))[0]!;
const obstacle = await networkObstacle();

console.log(`seed ${SEED}`);

const lossy = (loss: number): Relay =>
  badWire({ seed: SEED, loss, duplication: 0.01, reordering: 0.25, corruption: 0.01, delayMs: 5 });

/** Starts xdp at one end of a network. */
function serve(net: Network): Promise<Server> {
  const args = ["--interface", net.interface, "--address", net.address];
  return startServer(net.server.command(experimentCommand(find("xdp"), args)));
}

/** A test with a network, and xdp in it. */
function testWire(name: string, relay: Relay | undefined, act: (net: Network, server: Server) => Promise<void>): void {
  Deno.test({
    name: obstacle === null ? name : `${name} (${obstacle})`,
    ignore: obstacle !== null,
    async fn() {
      await using net = await openNetwork(relay);
      await using server = await serve(net);
      await act(net, server);
    },
  });
}

for (const loss of [0.01, 0.1]) {
  testWire(
    `${CLIENTS} kernel clients get all ${REQUESTS} answers, byte for byte, at ${loss * 100} % loss`,
    lossy(loss),
    async (net, { port }) => {
      const plan = { host: net.address, port, clients: CLIENTS, requests: REQUESTS, seed: SEED, timeoutMs: 240_000 };
      const args = ["run", "--no-config", "--allow-net", EXACT, JSON.stringify(plan)];
      const result = JSON.parse(await net.client.run(Deno.execPath(), args)) as Exactness;
      console.log(`${loss * 100} % loss: ${result.answered} answers in ${result.seconds.toFixed(1)} s`);
      assertEquals([result.faults, result.missing], [[], 0]);
    },
  );
}

testWire("curl gets its answers at 10 % loss", lossy(0.1), async (net, { port }) => {
  const urls = ["/", "/work/100", "/"].map((path) => `http://${net.address}:${port}${path}`);
  assertEquals(await net.client.run("curl", ["-sS", "--max-time", "60", ...urls]), "Hello World".repeat(3));
});

const LOADS: [program: string, args: string[], requests: RegExp][] = [
  ["wrk", ["-t1", "-c50", "-d3s", "--timeout", "30s"], /(\d+) requests in/],
  ["h2load", ["--h1", "-t1", "-c50", "-n2000"], /(\d+) succeeded, 0 failed, 0 errored, 0 timeout/],
];
for (const [program, args, requests] of LOADS) {
  if (await isInstalled(program)) {
    testWire(`${program} sees no error at 1 % loss`, lossy(0.01), async (net, { port }) => {
      const said = await net.client.run(program, [...args, `http://${net.address}:${port}/`]);
      assertEquals(/Socket errors|Non-2xx/.test(said), false, said);
      assertGreater(Number(requests.exec(said)?.[1]), 0, said);
    });
  }
}
