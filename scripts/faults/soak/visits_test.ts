import { assertEquals } from "@std/assert";
import { PATIENCE_MS, until, within } from "../../../lib/testing/client.ts";
import { visiting } from "./visits.ts";

/** A server that accepts and never answers. `open` are the connections whose clients have not left. */
function silentServer() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const seen = { accepted: 0, open: 0 };
  const serve = async (connection: Deno.TcpConn) => {
    seen.accepted++;
    seen.open++;
    const buffer = new Uint8Array(4096);
    while (await connection.read(buffer) !== null); // what it is asked
    connection.close();
    seen.open--;
  };
  const over = (async () => {
    const served: Promise<void>[] = [];
    for await (const connection of listener) served.push(serve(connection));
    await Promise.all(served);
  })();
  return {
    port: listener.addr.port,
    seen,
    async [Symbol.asyncDispose]() {
      listener.close();
      await over;
    },
  };
}

const BRIEF_MS = 50;

Deno.test("visits that are never answered fail once their patience is over, one after the other", async () => {
  await using server = silentServer();
  const counts = { visits: 0, visitsFailed: 0 };
  {
    await using _visits = visiting(server.port, Infinity, counts, BRIEF_MS);
    await until(() => counts.visitsFailed >= 3, PATIENCE_MS, "three visits to fail");
    assertEquals(counts.visits, counts.visitsFailed);
  }
  await until(() => server.seen.open === 0, PATIENCE_MS, "the last client to leave");
});

Deno.test("the end of a soak waits for no visit, and does not count the one under way", async () => {
  await using server = silentServer();
  const counts = { visits: 0, visitsFailed: 0 };
  const visits = visiting(server.port, Infinity, counts, 2 ** 31 - 1); // weeks
  await until(() => server.seen.accepted === 1, PATIENCE_MS, "a visit");
  await within(Promise.resolve(visits[Symbol.asyncDispose]()), PATIENCE_MS, "the end of the visits");
  assertEquals(counts, { visits: 0, visitsFailed: 0 });
  await until(() => server.seen.open === 0, PATIENCE_MS, "its client to leave");
});
