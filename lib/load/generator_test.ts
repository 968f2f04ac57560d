import { assert, assertEquals } from "@std/assert";
import { createServer } from "node:http";
import { LoadGenerator, type Progress } from "./generator.ts";
import { PATIENCE_MS, until } from "../testing/client.ts";
import { testEngines, withAnswers } from "../testing/engines.ts";
import { FakeServer, HELLO } from "../testing/fake_server.ts";

testEngines("an answer that comes byte by byte is one answer", async (start) => {
  await using server = new FakeServer(async ({ write }) => {
    for (const byte of HELLO) await write(byte);
  });
  await using generator = await start(server.port);
  assertEquals((await generator.connect(5)).connected, 5);
  const { asked, answered, lost, unanswered, errors, histogram } = await generator.ask();
  assertEquals({ asked, answered, lost, unanswered, errors }, {
    asked: 5,
    answered: 5,
    lost: 0,
    unanswered: 0,
    errors: {},
  });
  assertEquals([histogram.count, server.paths.length], [5, 5]);
});

testEngines("connections without an answer are counted, kept, and asked again once it has come", async (start) => {
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  await using server = new FakeServer(async ({ write }) => {
    if (server.paths.length === 3) open(); // the third request, which is the first of the second round, frees the others
    await opened;
    await write(HELLO);
  });
  await using generator = await start(server.port);
  await generator.connect(5);
  const { asked, answered, lost, unanswered } = await generator.ask({ window: 2, timeoutMs: 200 });
  assertEquals({ asked, answered, lost, unanswered }, { asked: 5, answered: 0, lost: 0, unanswered: 5 });
  assertEquals(server.paths.length, 2); // the window is full
  assertEquals((await generator.ask()).answered, 5);
  const { answered: all, connections } = await generator.totals();
  assertEquals({ sent: server.paths.length, all, connections }, { sent: 7, all: 7, connections: 5 });
});

Deno.test("a request of the warm-up that gets no answer is an error of the window, and none of its requests", async () => {
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  await using server = new FakeServer(async ({ write }) => {
    if (server.paths.length === 1) await over; // the first of all
    await write(HELLO);
  });
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port });
  await generator.connect(3);
  const { scheduled, requests, unanswered, errors } = await generator.open({
    rate: 20,
    seconds: 0.5,
    warmupSeconds: 0.5,
  });
  end();
  assertEquals([scheduled, requests, unanswered, errors], [10, 10, 0, { warmup_unanswered: 1 }]);
});

testEngines("connections that are not made in time are failed", async (start) => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 2 }); // and nobody accepts
  await using generator = await start(listener.addr.port);
  const { connected, failed, errors } = await generator.connect(20, { timeoutMs: 100 });
  assert(connected > 0 && connected < 20);
  assertEquals([failed, errors], [20 - connected, { timeout: 20 - connected }]);
  listener.close();
});

Deno.test("an attempt that was given up, and that the runtime makes after all, is closed (portable)", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 8 });
  const target = { host: "127.0.0.1", port: listener.addr.port };
  await using generator = await LoadGenerator.start(target, { engine: "portable" });
  const { connected } = await generator.connect(20, { timeoutMs: 100 });
  const accepted: Deno.TcpConn[] = [];
  for (let i = 0; i < 20; i++) accepted.push(await listener.accept()); // the kernel tries again after 1, 3 and 7 s
  assertEquals((await generator.totals()).connections, connected);
  await generator.drop();
  for (const connection of accepted) {
    assertEquals(await connection.read(new Uint8Array(1)), null);
    connection.close();
  }
  listener.close();
});

testEngines("an error status is an answer that does not count, and the connection stays", async (start) => {
  await using server = new FakeServer(({ write }) => write("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"));
  await using generator = await start(server.port);
  await generator.connect(4);
  for (let round = 0; round < 2; round++) {
    const { asked, answered, lost, unanswered, errors } = await generator.ask();
    assertEquals({ asked, answered, lost, unanswered }, { asked: 4, answered: 0, lost: 0, unanswered: 0 });
    assertEquals(errors, { http_500: 4 });
  }
  assertEquals((await generator.totals()).errors, { http_500: 8 });
});

const UNUSABLE = {
  no_http: "SSH-2.0-OpenSSH_9.2\r\n",
  coding: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 11\r\n\r\nHello World",
  no_length: "HTTP/1.1 200 OK\r\n\r\nwithout an end",
  bad_chunk: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHello World",
  head_too_long: `HTTP/1.1 200 OK\r\nX-Long: ${"y".repeat(20_000)}\r\nContent-Length: 11\r\n\r\nHello World`,
  body_too_long: "HTTP/1.1 200 OK\r\nContent-Length: 123456789012\r\n\r\n",
  surplus_bytes: HELLO + HELLO,
};
testEngines(
  "what cannot be followed is named within two seconds, and dropped here and not by the server",
  async (start) => {
    for (const [key, text] of Object.entries(UNUSABLE)) {
      await using server = new FakeServer(({ write }) => write(text));
      await using generator = await start(server.port);
      await generator.connect(3);
      const { asked, answered, lost, dropped, closed, errors, seconds } = await generator.ask();
      assertEquals({ asked, answered, lost, dropped, closed }, {
        asked: 3,
        answered: 0,
        lost: 0,
        dropped: 3,
        closed: 0,
      });
      assertEquals(errors, { [key]: 3 });
      assert(seconds < PATIENCE_MS / 1000 / 3, `${key}: ${seconds} s`);
      assertEquals((await generator.ask()).asked, 0);
    }
  },
);

testEngines("each connection of a churn asks once", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port);
  const churn = () => generator.churn({ concurrency: 3, seconds: 0.3, warmupSeconds: 0 });
  const { requests, lost, unanswered, errors } = await withAnswers(churn);
  const totals = await generator.totals();
  assertEquals({ lost, unanswered, errors }, { lost: 0, unanswered: 0, errors: {} });
  assert(requests <= totals.answered);
  assertEquals([totals.connections, totals.answered], Array(2).fill(server.clients.length));
  await until(() => server.open === 0, PATIENCE_MS, "the end of all connections");
});

testEngines("a port where nothing listens refuses each connection, and ends a churn", async (start) => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await using generator = await start(port);
  const { requested, connected, failed, errors } = await generator.connect(5);
  assertEquals({ requested, connected, failed }, { requested: 5, connected: 0, failed: 5 });
  assertEquals(errors, { ECONNREFUSED: 5 });
  const { requests, stopped_early } = await generator.churn({ concurrency: 2, seconds: 60, warmupSeconds: 0 });
  assertEquals([requests, stopped_early], [0, "1 000 connections in a row failed."]);
});

testEngines("answers of the runtime's own server and of node are understood", async (start) => {
  await using deno = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("Hello World"));
  const node = createServer((_, response) => {
    response.setHeader("Content-Length", 11).end("Hello World");
  });
  await new Promise<void>((resolve) => node.listen(0, "127.0.0.1", resolve));
  for (const port of [deno.addr.port, (node.address() as { port: number }).port]) {
    await using generator = await start(port);
    await generator.connect(3);
    const window = await withAnswers(() => generator.closed({ seconds: 0.2, warmupSeconds: 0 }), 4);
    assertEquals([window.errors, window.lost], [{}, 0]);
  }
  await new Promise((resolve) => node.close(resolve));
});

testEngines("a closed loop lasts as long as it is asked to, and progress is reported meanwhile", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  const seen: Progress[] = [];
  await using generator = await start(server.port, { onProgress: (progress) => seen.push(progress) });
  await generator.connect(2);
  const { connections, seconds, requests, histogram } = await generator.closed({ seconds: 0.9, warmupSeconds: 0 });
  assertEquals([connections, histogram.count], [2, requests]);
  assert(seconds > 0.6 && seconds < 5, `${seconds} s`); // a busy machine begins late
  assert(seen.length > 0 && seen.every(({ phase, connections }) => phase === "closed" && connections === 2));
  const { answered } = await generator.totals();
  assert(requests <= answered && answered === server.paths.length);
});

testEngines("a loop without a connection says so, and what follows is done", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port);
  const closed = await generator.closed({ seconds: 1 });
  const open = await generator.open({ seconds: 1, rate: 5, warmupSeconds: 0 });
  for (const { requests, stopped_early } of [closed, open]) {
    assertEquals([requests, stopped_early], [0, "No connection was held."]);
  }
  assertEquals([open.scheduled, open.unanswered], [5, 5]);
  await generator.connect(3);
  assertEquals((await generator.ask({ onlyNew: true })).asked, 3);
  await generator.connect(2);
  assertEquals((await generator.ask({ onlyNew: true })).asked, 2);
  await generator.drop();
  assertEquals((await generator.ask()).asked, 0);
});
