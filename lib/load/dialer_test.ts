/** Linux only: the modules open its libc when they are loaded. */
import { assert, assertEquals } from "@std/assert";
import { LoadGenerator } from "./generator.ts";
import { PATIENCE_MS, until } from "../testing/client.ts";
import { FakeServer, HELLO } from "../testing/fake_server.ts";

const ignore = Deno.build.os !== "linux";

Deno.test("127.0.0.1 comes first, sources are filled one after the other, and room that was given back is used", {
  ignore,
}, async () => {
  const { CONNECTIONS_PER_SOURCE, Sources } = await import("./dialer.ts");
  const sources = new Sources(0x1234, null, 1);
  const taken = Array.from({ length: 2 * CONNECTIONS_PER_SOURCE + 1 }, () => sources.take());
  const n = CONNECTIONS_PER_SOURCE;
  assertEquals([taken[0], taken[n - 1], taken[n], taken.at(-1)], [0, 0, 1, 2]);
  assertEquals([...sources.address(0).subarray(0, 8)], [2, 0, 0, 0, 127, 0, 0, 1]);
  assertEquals([...sources.address(2).subarray(0, 8)], [2, 0, 0, 0, 127, 0x13, 0x34, 2]);
  sources.giveBack(0);
  for (let i = 1; i < n; i++) assertEquals(sources.take(), 2);
  assertEquals([sources.take(), sources.take()], [0, 3]);
});

Deno.test(
  "a source has no more connections than the system has ports, and 127.0.0.1 is shared",
  { ignore },
  async () => {
    const { Sources } = await import("./dialer.ts");
    const sources = new Sources(1, 1000, 4);
    const taken = Array.from({ length: 225 + 900 + 1 }, () => sources.take());
    assertEquals([taken[224], taken[225], taken[1124], taken[1125]], [0, 1, 1, 2]);
    sources.exhausted(2); // the system had no port left: what ends there makes room again
    assertEquals(sources.take(), 3);
  },
);

Deno.test("when all sources are full there is none", { ignore }, async () => {
  const { CONNECTIONS_PER_SOURCE, Sources } = await import("./dialer.ts");
  const sources = new Sources(1, null, 1);
  for (let i = 0; i < 255 * CONNECTIONS_PER_SOURCE; i++) assert(sources.take() >= 0);
  assertEquals(sources.take(), -1);
  sources.giveBack(77);
  assertEquals([sources.take(), sources.take()], [77, -1]);
});

Deno.test("addresses are written as the kernel wants them", { ignore }, async () => {
  const { socketAddress } = await import("./dialer.ts");
  const of = (host: string) => [...socketAddress(host, 0x1f90)];
  assertEquals(of("127.0.0.1").slice(0, 8), [2, 0, 0x1f, 0x90, 127, 0, 0, 1]);
  const six = [10, 0, 0x1f, 0x90, 0, 0, 0, 0];
  assertEquals(of("::1"), [...six, ...Array(15).fill(0), 1, 0, 0, 0, 0]);
  assertEquals(of("2001:db8::a:b").slice(8, 24), [0x20, 1, 0xd, 0xb8, ...Array(8).fill(0), 0, 0xa, 0, 0xb]);
  assertEquals(of("::ffff:127.0.0.1").slice(8, 24), [...Array(10).fill(0), 255, 255, 127, 0, 0, 1]);
});

Deno.test("connections come from 127.0.0.1 as long as it has ports", { ignore }, async () => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port });
  await generator.connect(3);
  assertEquals((await generator.ask()).answered, 3);
  assertEquals(server.clients.map(({ from }) => from), Array(3).fill("127.0.0.1"));
});

Deno.test("waiting without events takes its time, with epoll_pwait2 and without", { ignore }, async () => {
  const { clockUs, Waiter } = await import("./libc.ts");
  for (const precise of [true, false]) {
    const waiter = new Waiter(precise);
    const startUs = clockUs();
    assertEquals(waiter.wait(2500), 0);
    assert(clockUs() - startUs >= 2000); // whole milliseconds, without epoll_pwait2: the caller asks again for the rest
    assertEquals(waiter.wait(0), 0);
  }
});

Deno.test("a full queue for accept(2) loses no connection, and makes none twice", { ignore }, async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 4 });
  const { promise: full, resolve } = Promise.withResolvers<void>();
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: listener.addr.port }, {
    onProgress: ({ connections }) => connections > 0 && resolve(), // for a quarter of a second nobody has accepted
  });
  const connecting = generator.connect(200);
  await full;
  const ends: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) ends.push(connection.readable.pipeTo(new WritableStream()));
  })();
  const { connected, errors, redials } = await connecting;
  assertEquals({ connected, errors }, { connected: 200, errors: {} });
  assert(redials > 0, "attempts that found the queue full are counted");
  await generator.drop();
  await generator.stop();
  // The queue is first in, first out: when this last connection ends, all others have been accepted.
  const last = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  last.close();
  await until(() => ends.length >= 201, PATIENCE_MS, "the last connection");
  listener.close();
  await Promise.all([accepting, ...ends]); // each ended with FIN, and none with an error
  assertEquals(ends.length, 201);
});
