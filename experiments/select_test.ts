/** What select(2) does with the descriptor that its sets have no bit for. */
import { assert, assertEquals } from "@std/assert";
import { catalogue, runsHere } from "../lib/catalogue/catalogue.ts";
import { experimentCommand, startServer } from "../lib/server/server.ts";
import { Client } from "../lib/testing/client.ts";
import { hello } from "../lib/testing/contract.ts";

const FD_SETSIZE = 1024; // <sys/select.h>
const CLIENTS = FD_SETSIZE + 76; // more than there are bits

const select = catalogue().find(({ name }) => name === "select")!;

Deno.test({
  name: "select closes what gets descriptor 1024 or more, tells how many those were, and serves the others",
  ignore: !runsHere(select).runs,
  async fn() {
    await using server = await startServer(experimentCommand(select));
    using clients = new DisposableStack();
    const all: Client[] = [];
    for (let i = 0; i < CLIENTS; i++) all.push(clients.use(await Client.connect(server.port)));
    const outcomes = await Promise.allSettled(all.map((client) => client.ask("/")));
    const served = all.filter((_, i) => outcomes[i]!.status === "fulfilled");
    assert(served.length < FD_SETSIZE && served.length > FD_SETSIZE / 2, `${served.length} were served`);
    for (const client of served) hello(await client.ask("/")); // the refused ones have done them no harm
    const { stopped } = await server.stop();
    assertEquals(stopped?.errors, { FD_SETSIZE: CLIENTS - served.length });
  },
});
