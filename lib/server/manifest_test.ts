import { assertEquals, assertRejects } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { differences, manifestOf } from "./manifest.ts";
import { experimentCommand, startServer } from "./server.ts";
import { Client } from "../testing/client.ts";
import type { Manifest } from "../results/schema.ts";

const ignore = Deno.build.os !== "linux";

Deno.test({
  name: "a running server's backlog, TCP_NODELAY and core are those it has, not those it tells",
  ignore,
  async fn() {
    const experiment = find("epoll");
    await using server = await startServer(experimentCommand(experiment), { cpu: 0 });
    const alone = await manifestOf(experiment, server);
    assertEquals([alone.backlog, alone.nodelay, alone.send_buffer_bytes], [4096, null, null]); // nobody is connected
    using client = await Client.connect(server.port);
    await client.ask("/");
    const { nodelay, cpus, processes, version, settings } = await manifestOf(experiment, server);
    assertEquals([nodelay, cpus, processes, settings], [true, "0", 1, null]);
    assertEquals(version, `Deno ${Deno.version.deno}`);
  },
});

Deno.test({
  name: "TCP_NODELAY is seen as it is set",
  ignore,
  async fn() {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    using accepted = await listener.accept();
    const own = { pid: Deno.pid }; // client and server in one
    accepted.setNoDelay(true);
    client.setNoDelay(true);
    assertEquals((await manifestOf(find("epoll"), own)).nodelay, true);
    accepted.setNoDelay(false);
    client.setNoDelay(false);
    assertEquals((await manifestOf(find("epoll"), own)).nodelay, false);
    listener.close();
  },
});

Deno.test("the version is the first line with a number in it, and a command without one is an error", async () => {
  const nobody = { pid: 2 ** 22 };
  const asked = (version: string) => manifestOf({ ...find("epoll"), version }, nobody);
  assertEquals((await asked(`${Deno.execPath()} --version`)).version.startsWith(`deno ${Deno.version.deno}`), true);
  await assertRejects(() => asked(`${Deno.execPath()} eval 1`), Error, "does not print a version");
});

Deno.test("what differs is reported once, each value with those that have it, and what is alike is not", () => {
  const manifest: Manifest = {
    version: "Deno 1.2.3",
    settings: null,
    cannot: [],
    cpus: "0",
    processes: 1,
    threads: 6,
    backlog: 4096,
    nodelay: true,
    send_buffer_bytes: 1,
    receive_buffer_bytes: 1,
  };
  const other = { ...manifest, backlog: 511, nodelay: null };
  assertEquals(differences([["a", manifest], ["b", { ...manifest }]]), []);
  assertEquals(differences([["a", manifest], ["b", other], ["c", manifest]]), [
    "backlog",
    "  4096: a, c",
    "  511: b",
    "nodelay",
    "  true: a, c",
    "  not stated: b",
  ]);
});

Deno.test("the version of a peer whose compiler has gone is unknown, and the reason is given", async () => {
  const gone = { ...find("c-epoll"), version: "no-such-compiler --version" };
  const { version } = await manifestOf(gone, { pid: null });
  assertEquals(version, "unknown: no-such-compiler is not installed");
});
