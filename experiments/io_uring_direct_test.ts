/** What io-uring-direct promises besides the contract: connections that no descriptor bounds, and a bound that can be set. */
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { catalogue, runsHere } from "../lib/catalogue/catalogue.ts";
import { sample } from "../lib/sampling/sampler.ts";
import { experimentCommand, type Server, type ServerOptions, startServer } from "../lib/server/server.ts";
import { Client, PATIENCE_MS, until } from "../lib/testing/client.ts";
import { hello } from "../lib/testing/contract.ts";

const LIMIT = 200; // descriptors of the server, and so slots of a table
const CLIENTS = 5 * LIMIT;
const BOUND = 5; // connections by --connections
const SPARE_DESCRIPTORS = 4; // more than at rest, where two further rings can be opened
const RINGS = 3;

const experiment = catalogue().find(({ name }) => name === "io-uring-direct")!;
const ignore = !runsHere(experiment).runs;

const start = (options: ServerOptions, ...args: string[]): Promise<Server> =>
  startServer(experimentCommand(experiment, args), options);

/** Asks for the counts, and returns the last ones that were said. */
function statsOf(server: Server): { event: string; open: number; rings: number; errors: Record<string, number> } {
  Deno.kill(server.leaderPid, "SIGUSR1");
  return JSON.parse(server.lastLine());
}

const isOpen = (server: Server, count: number) => () => statsOf(server).open === count;

/** Connects clients and asks each once. Returns what they are answered. */
async function crowd(server: Server, size: number, stack: DisposableStack) {
  const clients: Client[] = [];
  for (let i = 0; i < size; i++) clients.push(stack.use(await Client.connect(server.port)));
  let answered = 0;
  const answers = clients.map(async (client) => {
    hello(await client.ask("/"));
    answered++;
  });
  for (const answer of answers) answer.catch(() => {}); // awaited by the test
  return { clients, answers, answered: () => answered };
}

Deno.test({
  name: "io-uring-direct holds more connections than it may open descriptors, and uses their slots again",
  ignore,
  async fn() {
    await using server = await start({ prlimit: [`--nofile=${LIMIT}`] });
    for (let round = 0; round < 2; round++) {
      {
        using stack = new DisposableStack();
        const { clients, answers } = await crowd(server, CLIENTS, stack);
        await Promise.all(answers);
        for (const client of clients) hello(await client.ask("/"));
        await until(isOpen(server, CLIENTS), PATIENCE_MS, "the count of all connections");
        assertLess(sample(server.pid)!.descriptors, LIMIT / 2);
        assertEquals(statsOf(server).rings, CLIENTS / LIMIT + 1, "one for the accepts in flight");
      }
      await until(isOpen(server, 0), PATIENCE_MS, "the end of all connections");
    }
    const { stopped, code } = await server.stop();
    assertEquals([code, stopped?.accepted, stopped?.served], [0, 2 * CLIENTS, 4 * CLIENTS]);
    assertEquals(stopped?.errors, {});
  },
});

Deno.test({
  name: "io-uring-direct lets wait who comes when --connections are open, counts it, and serves them afterwards",
  ignore,
  async fn() {
    await using server = await start({}, "--connections", String(BOUND));
    using stack = new DisposableStack();
    const { clients, answers, answered } = await crowd(server, 2 * BOUND, stack);
    await until(() => answered() === BOUND, PATIENCE_MS, "the answers to as many as there is room for");
    await until(isOpen(server, BOUND), PATIENCE_MS, "the count of the open connections");
    assertEquals(answered(), BOUND);
    for (const client of clients.slice(0, BOUND)) await client.finish();
    await Promise.all(answers);
    const { stopped, code } = await server.stop();
    assertEquals([code, stopped?.served], [0, 2 * BOUND]);
    assertGreater(stopped!.errors["--connections"]!, 0);
  },
});

Deno.test({
  name: "io-uring-direct counts and waits where no further ring can be opened, and serves those that have waited",
  ignore,
  async fn() {
    let atRest = 0;
    {
      await using server = await start({});
      await until(() => (atRest = sample(server.pid)!.descriptors) > 0, PATIENCE_MS, "the descriptors of the server");
    }
    const limit = atRest + SPARE_DESCRIPTORS;
    await using server = await start({ prlimit: [`--nofile=${limit}`] });
    using stack = new DisposableStack();
    const { clients, answers, answered } = await crowd(server, (RINGS + 1) * limit, stack);
    await until(() => (statsOf(server).errors?.EMFILE ?? 0) > 1, PATIENCE_MS, "a second refusal");
    await until(() => answered() >= limit, PATIENCE_MS, "the answers to a whole table");
    assert(answered() <= RINGS * limit, `${answered()} answers`);
    await Promise.all(clients.map(async (client, i) => {
      await answers[i];
      await client.finish(); // makes room for the next one
    }));
    const { stopped, code } = await server.stop();
    assertEquals([code, stopped?.served], [0, clients.length]);
  },
});
