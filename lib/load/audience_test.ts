import { assert, assertEquals, assertGreater, assertRejects } from "@std/assert";
import { WebSocket, WebSocketServer } from "ws";
import { find } from "../catalogue/catalogue.ts";
import { UsageError } from "../cli/errors.ts";
import { experimentCommand, startServer } from "../server/server.ts";
import { until } from "../testing/client.ts";
import { LoadGenerator } from "./generator.ts";

const ignore = Deno.build.os !== "linux";
const PLAN = { rate: 100, seconds: 0.5, warmupSeconds: 0.1 };
const MESSAGES = 50, WARMUPS = 10;

/** What a server does with a message: `all` are its clients in the order in which they came. */
type Publish = (data: Uint8Array, number: number, all: WebSocket[]) => void | Promise<void>;
const toAll: Publish = (data, _, all) => all.forEach((client) => client.send(data, { binary: false }));

/** Broadcasts over a server that does what the test wants, to three listeners. */
async function broadcastOver(publish: Publish, listeners = 3) {
  const all: WebSocket[] = [];
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", (client: WebSocket) => {
    all.push(client);
    client.on("error", () => {}); // resets are what this is about
    client.on("message", (data: Uint8Array) => {
      const number = Number(new TextDecoder().decode(data).slice(0, 10));
      publish(Uint8Array.from(data), number, all);
    });
  });
  await new Promise((resolve) => server.on("listening", resolve));
  try {
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.address().port });
    const opened = await generator.listen(listeners);
    assertEquals([opened.connected, opened.failed], [listeners, 0]);
    return await generator.broadcast(PLAN);
  } finally {
    for (const client of all) client.terminate();
    await new Promise((resolve) => server.close(resolve));
  }
}

Deno.test("WebSockets are opened at the path of the generator", { ignore }, async () => {
  const asked: string[] = [];
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", (client: WebSocket, request: { url: string }) => {
    asked.push(request.url);
    client.on("error", () => {}); // the generator ends without a close frame
  });
  await new Promise((resolve) => server.on("listening", resolve));
  await using generator = await LoadGenerator.start(
    { host: "127.0.0.1", port: server.address().port },
    { path: "/chat?room=1" },
  );
  assertEquals((await generator.listen(2)).connected, 2);
  for (const client of server.clients) client.terminate();
  await new Promise((resolve) => server.close(resolve));
  assertEquals(asked, ["/chat?room=1", "/chat?room=1"]);
});

Deno.test("every delivery is counted, and the counts are the server's own", { ignore }, async () => {
  await using server = await startServer(experimentCommand(find("ws-epoll")));
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, {
    processes: 2,
    serverPid: server.pid,
  });
  assertEquals((await generator.listen(7)).connected, 7);
  assertEquals((await generator.listen(0, { slow: 2 })).connected, 2);
  for (let i = 0; i < 2; i++) {
    const { requests, messages, unanswered, lost, errors, histogram, last, scheduled, server_cpu_us, connections } =
      await generator.broadcast(PLAN);
    assertEquals([requests, messages, scheduled, connections], [7 * MESSAGES, MESSAGES, MESSAGES, 7]);
    assertEquals([unanswered, lost, errors, histogram.count, last.count], [0, 0, {}, 7 * MESSAGES, MESSAGES]);
    assertGreater(server_cpu_us!, 0);
    assert(last.percentile(50) >= histogram.percentile(50));
  }
  const { stopped } = await server.stop();
  assertEquals([stopped!.accepted, stopped!.served], [9, 2 * (MESSAGES + WARMUPS)]);
  assertEquals(stopped!.delivered, 9 * stopped!.served);
});

Deno.test("messages of every length of a length come whole", { ignore }, async () => {
  await using server = await startServer(experimentCommand(find("ws-epoll")));
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port });
  await generator.listen(2);
  for (const bytes of [16, 125, 126, 127, 65_535]) {
    const { requests, errors } = await generator.broadcast({ ...PLAN, bytes });
    assertEquals([requests, errors], [2 * MESSAGES, {}], `${bytes} bytes`);
  }
});

Deno.test("a delivery that does not come is counted, and waits to the end", { ignore }, async () => {
  const { requests, unanswered, censored, errors } = await broadcastOver((data, number, all) => {
    all.forEach((client, i) =>
      void (i === 1 && number >= WARMUPS + MESSAGES - 5 || client.send(data, { binary: false }))
    );
  });
  assertEquals([requests, unanswered, errors], [3 * MESSAGES - 5, 5, {}]);
  assertEquals(censored.count, 5);
  assertGreater(censored.percentile(0), 4_000_000); // the generator waits 5 s for it
});

Deno.test("a gap, a wrong order and a message that comes twice are named", { ignore }, async () => {
  let kept: Uint8Array | null = null;
  const swapping: Publish = (data, number, all) => {
    if (number === WARMUPS + 3) {
      kept = Uint8Array.from(data);
      return;
    }
    toAll(data, number, all);
    if (kept !== null) toAll(kept, number, all);
    kept = null;
  };
  const swapped = await broadcastOver(swapping);
  assertEquals([swapped.requests, swapped.unanswered], [3 * MESSAGES, 0]);
  assertEquals(swapped.errors, { gap: 3, out_of_order: 3 });
  const skipped = await broadcastOver((data, number, all) => void (number === WARMUPS + 3 || toAll(data, number, all)));
  assertEquals([skipped.requests, skipped.unanswered, skipped.errors], [3 * MESSAGES - 3, 3, { gap: 3 }]);
  const twice = await broadcastOver((data, number, all) => {
    toAll(data, number, all);
    if (number === WARMUPS + 3) toAll(data, number, all);
  });
  assertEquals([twice.requests, twice.unanswered, twice.errors], [3 * MESSAGES, 0, { duplicate: 3 }]);
});

Deno.test("each ping is answered with what it carried, and is no delivery", { ignore }, async () => {
  const pongs = new Map<string, number>();
  const heard = new WeakSet<WebSocket>();
  const lengths = Array.from({ length: WARMUPS + MESSAGES }, (_, number) => "x".repeat(number));
  const whole = new Map(lengths.map((text) => [text, 3]));
  const { requests, unanswered, errors, lost } = await broadcastOver(async (data, number, all) => {
    for (const client of all) {
      if (!heard.has(client)) {
        client.on("pong", (data: Uint8Array) => {
          const text = new TextDecoder().decode(data);
          pongs.set(text, (pongs.get(text) ?? 0) + 1);
        });
      }
      heard.add(client);
      client.ping("x".repeat(number % 126));
    }
    // The last message is held back until all pongs are there, for the connections end behind it.
    const isLast = number === WARMUPS + MESSAGES - 1;
    if (isLast) {
      await until(() => pongs.size === whole.size && [...pongs.values()].every((of) => of === 3), 4000, "all pongs");
    }
    toAll(data, number, all);
  });
  assertEquals([requests, unanswered, errors, lost], [3 * MESSAGES, 0, {}, 0]);
  assertEquals(pongs, whole);
});

Deno.test("a message in several frames is delivered with its last one", { ignore }, async () => {
  const { requests, unanswered, errors } = await broadcastOver((data, _, all) => {
    for (const client of all) {
      client.send(data.subarray(0, 12), { binary: false, fin: false });
      client.ping();
      client.send(data.subarray(12, 13), { binary: false, fin: false });
      client.send(data.subarray(13), { binary: false, fin: true });
    }
  });
  assertEquals([requests, unanswered, errors], [3 * MESSAGES, 0, {}]);
});

Deno.test("a listener that the server drops is lost, with the code of its Close", { ignore }, async () => {
  const { lost, errors, connections, requests, unanswered } = await broadcastOver((data, number, all) => {
    toAll(data, number, all.filter((client) => client.readyState === WebSocket.OPEN));
    if (number === WARMUPS + 9) all[2]!.close(1013);
  });
  assertEquals([lost, errors, connections], [1, { close_1013: 1 }, 2]);
  assertEquals([requests, unanswered], [2 * MESSAGES + 10, MESSAGES - 10]);
});

Deno.test(
  "a first frame without the whole number of its message ends the listener, and is named",
  { ignore },
  async () => {
    const last = WARMUPS + 9;
    const { lost, errors, connections, requests } = await broadcastOver((data, number, all) => {
      toAll(data, number, number < last ? all : all.slice(0, 2));
      if (number === last) all[2]!.send(data.subarray(0, 5), { binary: false, fin: false });
    });
    assertEquals([lost, errors, connections], [1, { short_fragment: 1 }, 2]);
    assertEquals(requests, 2 * MESSAGES + 9);
  },
);

Deno.test("a broadcast ends when nobody is left", { ignore }, async () => {
  const { stopped_early, lost } = await broadcastOver((_, __, all) => all.forEach((client) => client.terminate()));
  assertEquals([stopped_early, lost], ["All listeners were lost.", 3]);
});

Deno.test("a server that speaks HTTP only opens no listener, and the errors say why", { ignore }, async () => {
  await using server = await startServer(experimentCommand(find("epoll")));
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port });
  const { connected, failed, errors } = await generator.listen(2);
  assertEquals([connected, failed, errors], [0, 2, { http_200: 2 }]);
});

Deno.test("what cannot be asked for is refused", { ignore }, async () => {
  await using server = await startServer(experimentCommand(find("ws-epoll")));
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port });
  await generator.listen(1);
  const wrong = [{ bytes: 8 }, { bytes: 65_536 }, { rate: 0 }, { seconds: 1800 }];
  for (const options of wrong) {
    await assertRejects(() => generator.broadcast({ ...PLAN, ...options }), UsageError);
  }
});
