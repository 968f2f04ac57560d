/** Servers as people have them: each is measured, or named by its cause within two seconds. */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { LoadGenerator, type Window } from "./generator.ts";
import { until } from "../testing/client.ts";
import { testEngines, withAnswers } from "../testing/engines.ts";
import { type Answering, FakeServer, HELLO } from "../testing/fake_server.ts";

const LINUX = Deno.build.os === "linux";

/** An answer with fields more. */
const answer = (status: string, body = "", ...fields: string[]) =>
  [`HTTP/1.1 ${status}`, `Content-Length: ${body.length}`, ...fields, "", body].join("\r\n");

const CLEAN = { lost: 0, dropped: 0, unanswered: 0, errors: {} };
const cleanOf = ({ lost, dropped, unanswered, errors }: Window) => ({ lost, dropped, unanswered, errors });

/** Asks once on each connection, then loads the server in all three ways. */
async function loads(generator: LoadGenerator, enough = 1): Promise<Record<"closed" | "open" | "churn", Window>> {
  await generator.connect(4);
  await generator.ask();
  const closed = await withAnswers(() => generator.closed({ seconds: 0.2, warmupSeconds: 0 }), enough);
  const open = await generator.open({ rate: 200, seconds: 0.2, warmupSeconds: 0 });
  const churn = await withAnswers(() => generator.churn({ concurrency: 2, seconds: 0.2, warmupSeconds: 0 }), enough);
  return { closed, open, churn };
}

const MEASURED: Record<string, Answering> = {
  "sends 103 before its answer": ({ write }) =>
    write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + HELLO),
  "ends its lines by LF alone": ({ write }) => write(HELLO.replaceAll("\r\n", "\n")),
  "folds a field": ({ write }) => write(answer("200 OK", "Hello", "X-Fold: a\r\n b")),
  "codes its body by gzip": ({ write }) => write(answer("200 OK", "\x1f not really", "Content-Encoding: gzip")),
  "sends its body in chunks": ({ write }) =>
    write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n\r\n"),
  "splits head and body": async ({ write }) => {
    await write(HELLO.slice(0, -11));
    await write(HELLO.slice(-11));
  },
};
for (const [how, answering] of Object.entries(MEASURED)) {
  testEngines(`a server that ${how} is measured`, async (start) => {
    await using server = new FakeServer(answering);
    await using generator = await start(server.port);
    for (const window of Object.values(await loads(generator))) {
      assertEquals([cleanOf(window), window.closed, window.reconnects], [CLEAN, 0, 0]);
      assertGreater(window.requests, 0);
    }
  });
}

const CLOSING: Record<string, (server: FakeServer) => Answering> = {
  "says Connection: close": (server) => async (client) => {
    await client.write(answer("200 OK", "Hello", "Connection: close"));
    server.hangUp(client);
  },
  "says Connection: close, and leaves that to the client": () => ({ write }) =>
    write(answer("200 OK", "Hello", "Connection: close")),
  "speaks HTTP/1.0": (server) => async (client) => {
    await client.write(HELLO.replace("HTTP/1.1", "HTTP/1.0"));
    server.hangUp(client);
  },
  "closes without a word": (server) => async (client) => {
    await client.write(HELLO);
    server.hangUp(client);
  },
  "sends no length": (server) => async (client) => {
    await client.write("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    server.hangUp(client);
  },
};
for (const [how, answeringOf] of Object.entries(CLOSING)) {
  testEngines(`a server that ${how} is reconnected for each request, and that is counted`, async (start) => {
    await using server: FakeServer = new FakeServer((...request) => answeringOf(server)(...request));
    await using generator = await start(server.port);
    const { closed, open, churn } = await loads(generator, 9); // then each connection was closed and made again, or one twice
    for (const window of [closed, open]) {
      assertEquals(cleanOf(window), CLEAN);
      assertGreater(window.requests, 0);
      assertEquals([window.closes_after, window.connections, window.stopped_early], [1, 4, null]);
      assert(window.closed > 0 && window.reconnects > 0);
    }
    assertEquals([open.scheduled, open.requests], [40, 40]);
    assertEquals([cleanOf(churn), churn.closed, churn.reconnects], [CLEAN, 0, 0]);
    assertGreater(churn.requests, 0);
    const { connections, answered, reconnects, lost, dropped, errors } = await generator.totals();
    assertEquals({ lost, dropped, errors }, { lost: 0, dropped: 0, errors: {} });
    assert(answered <= server.paths.length && connections > 4 + reconnects);
  });
}

testEngines("a limit of requests per connection is found and named", async (start) => {
  for (const says of [true, false]) {
    await using server = new FakeServer(async (client, number) => {
      await client.write(number < 10 || !says ? HELLO : answer("200 OK", "Hello", "Connection: close"));
      if (number === 10) server.hangUp(client);
    });
    await using generator = await start(server.port);
    await generator.connect(3);
    assertEquals((await generator.ask()).closed, 0);
    const window = await withAnswers(() => generator.closed({ seconds: 0.4, warmupSeconds: 0 }), 60);
    assertEquals([cleanOf(window), window.closes_after, window.connections], [CLEAN, 10, 3]);
    assertGreater(window.reconnects, 2); // within 60 answers there is a tenth one on each of three connections
    const open = await generator.open({ rate: 200, seconds: 0.5, warmupSeconds: 0 });
    assertEquals([cleanOf(open), open.requests, open.closes_after], [CLEAN, 100, 10]);
  }
});

testEngines("the time to reconnect is a part of the latency of the request for which it is done", async (start) => {
  const slowMs = 50;
  await using server = new FakeServer(async (client, number) => {
    if (number === 1) await new Promise((resolve) => setTimeout(resolve, slowMs)); // slow to take a new connection
    await client.write(answer("200 OK", "Hello", ...number === 2 ? ["Connection: close"] : []));
  });
  await using generator = await start(server.port);
  await generator.connect(1);
  await generator.ask();
  const window = await generator.open({ rate: 20, seconds: 0.5, warmupSeconds: 0 });
  assertEquals([cleanOf(window), window.requests, window.closes_after], [CLEAN, 10, 2]);
  // The first request was the second on its connection; of the others every other one waited for a new connection.
  assertGreater(window.histogram.percentile(60), slowMs * 1e3 - 1);
  assert(window.histogram.percentile(0) < slowMs * 1e3);
});

for (const [status, text] of [[204, "204 No Content"], [302, "302 Found"], [404, "404 Not Found"]] as const) {
  testEngines(
    `answers with status ${status} are counted under it, and are no failure of a connection`,
    async (start) => {
      await using server = new FakeServer(({ write }) =>
        write(status === 204 ? `HTTP/1.1 ${text}\r\n\r\n` : answer(text, "", "Location: /login"))
      );
      await using generator = await start(server.port);
      const { closed, open, churn } = await loads(generator);
      for (const { requests, lost, dropped, unanswered, errors, histogram } of [closed, open, churn]) {
        assertEquals({ requests, lost, dropped, unanswered, recorded: histogram.count }, {
          requests: 0,
          lost: 0,
          dropped: 0,
          unanswered: 0,
          recorded: 0,
        });
        assertEquals(Object.keys(errors), [`http_${status}`]);
        assertGreater(errors[`http_${status}`]!, 0);
      }
      assertEquals(open.errors, { [`http_${status}`]: 40 });
    },
  );
}

testEngines("one failing answer in ten is counted in each window, whatever the load", async (start) => {
  let total = 0;
  await using server = new FakeServer(({ write }) => write(++total % 10 === 0 ? answer("503 No") : HELLO));
  await using generator = await start(server.port);
  const { closed, open, churn } = await loads(generator, 20);
  for (const { requests, errors } of [closed, open, churn]) {
    assert(Math.abs(errors.http_503! / (requests + errors.http_503!) - 0.1) < 0.08);
  }
  assertEquals(open.requests + open.errors.http_503!, open.scheduled);
  const totals = await generator.totals();
  assertEquals(server.paths.length, totals.answered + totals.errors.http_503!);
});

testEngines("a connection that is closed or cut in the middle of a request is lost, by its kind", async (start) => {
  const cases: [string, string][] = [["closed", ""], ["cut_short", HELLO.slice(0, 30)]];
  for (const [kind, text] of cases) {
    await using server = new FakeServer(async (client) => {
      if (text !== "") await client.write(text);
      server.hangUp(client);
    });
    await using generator = await start(server.port);
    await generator.connect(3);
    const { lost, dropped, closed, errors } = await generator.ask();
    assertEquals({ lost, dropped, closed, errors }, { lost: 3, dropped: 0, closed: 0, errors: { [kind]: 3 } });
  }
});

const PROMISING: Record<string, Answering> = {
  "a body shorter than its Content-Length": ({ write }) => write("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHello"),
  "chunks without a last one": ({ write }) =>
    write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n"),
  "half a head": ({ write }) => write("HTTP/1.1 200 OK\r\nContent-Le"),
};
for (const [what, answering] of Object.entries(PROMISING)) {
  testEngines(`${what}, on a connection that stays open, is unfinished and unanswered`, async (start) => {
    await using server = new FakeServer(answering);
    await using generator = await start(server.port);
    await generator.connect(2);
    const { asked, answered, unanswered, lost, errors } = await generator.ask({ timeoutMs: 300 });
    assertEquals({ asked, answered, unanswered, lost, errors }, {
      asked: 2,
      answered: 0,
      unanswered: 2,
      lost: 0,
      errors: { unfinished: 2 },
    });
  });
}

const STRANGE: Record<string, Answering> = {
  "sends several interim answers": ({ write }) =>
    write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + HELLO),
  "sends trailers and extensions with its chunks": ({ write }) =>
    write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nHello\r\n0\r\nX: 1\r\n\r\n"),
  "keeps HTTP/1.0 alive": ({ write }) =>
    write(answer("200 OK", "Hello", "Connection: keep-alive").replace("1.1", "1.0")),
  "writes field names in lower case": ({ write }) =>
    write(answer("200 OK", "Hello").toLowerCase().replace("http", "HTTP")),
  "sends a thousand fields": ({ write }) =>
    write(answer("200 OK", "Hello", ...Array.from({ length: 1000 }, (_, i) => `X-${i}: y`))),
  "sends no reason phrase": ({ write }) => write(answer("200 ", "Hello")),
  "sends a length beside its chunks": ({ write }) =>
    write("HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n\r\n"),
  "never sends the same head twice": ({ write }) => write(answer("200 OK", "Hello", `X-Request-Id: ${Math.random()}`)),
};
for (const [how, answering] of Object.entries(STRANGE)) {
  testEngines(`a server that ${how} is measured`, async (start) => {
    await using server = new FakeServer(answering);
    await using generator = await start(server.port);
    await generator.connect(3);
    assertEquals((await generator.ask()).answered, 3);
    const window = await withAnswers(() => generator.closed({ seconds: 0.1, warmupSeconds: 0 }));
    assertEquals([cleanOf(window), window.reconnects], [CLEAN, 0]);
  });
}

const REFUSED: Record<string, Answering> = {
  no_http: ({ write }) => write("220 mail.example ESMTP\r\n"),
  bad_status_line: ({ write }) => write("HTTP/1.1 OK\r\n\r\n"),
  bad_field: ({ write }) => write("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
  bad_length: ({ write }) => write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nHello"),
  bad_chunk: ({ write }) => write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nHello"),
  coding: ({ write }) => write("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
  head_too_long: ({ write }) => write(answer("200 OK", "Hello", `X: ${"y".repeat(20_000)}`)),
  body_too_long: ({ write }) => write("HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\nHello"),
  surplus_bytes: ({ write }) => write(HELLO + "and more"),
};
for (const [kind, answering] of Object.entries(REFUSED)) {
  testEngines(`an answer that cannot be followed is dropped at once as ${kind}`, async (start) => {
    await using server = new FakeServer(answering);
    await using generator = await start(server.port);
    await generator.connect(2);
    const from = performance.now();
    const { dropped, lost, errors } = await generator.ask({ timeoutMs: 60_000 });
    assertEquals({ dropped, lost, errors }, { dropped: 2, lost: 0, errors: { [kind]: 2 } });
    assert(performance.now() - from < 30_000, "it is named long before the time for an answer is over");
  });
}

testEngines("bytes that nobody has asked for, and a switch of protocols, are dropped by name", async (start) => {
  await using early = new FakeServer(() => {});
  await using generator = await start(early.port);
  await generator.connect(2);
  await until(() => early.clients.length === 2, 5000, "both connections");
  for (const { connection } of early.clients) {
    await connection.write(new TextEncoder().encode("HTTP/1.1 408 Slow\r\n\r\n"));
  }
  await until(async () => (await generator.totals()).dropped === 2, 5000, "both to be dropped");
  const { asked, dropped, lost } = await generator.ask();
  assertEquals({ asked, dropped, lost }, { asked: 2, dropped: 2, lost: 0 });
  assertEquals((await generator.totals()).errors, { unasked_bytes: 2 });
  await using switching = new FakeServer(({ write }) => write("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"));
  await using other = await start(switching.port);
  await other.connect(1);
  assertEquals((await other.ask()).errors, { http_101: 1 });
});

testEngines("a server that speaks first is named, and does not keep a churn waiting", async (start) => {
  for (
    const [banner, kind] of [["SSH-2.0-Server\r\n", "no_http"], [
      "HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n",
      "http_503",
    ]]
  ) {
    await using server = new FakeServer(() => {}, "127.0.0.1", 0, (client) => client.write(banner!));
    await using generator = await start(server.port);
    const churn = () => generator.churn({ concurrency: 4, seconds: 0.3, warmupSeconds: 0 });
    const { requests, errors } = await withAnswers(churn);
    assertEquals(requests, 0);
    assertGreater(errors[kind!] ?? 0, 0, JSON.stringify(errors));
  }
});

testEngines("what a server refuses in the warm-up is counted with the window that follows", async (start) => {
  let cold = 0;
  await using server = new FakeServer(({ write }) => {
    if (cold === 0) return write(HELLO);
    cold--;
    return write(answer("503 Cold"));
  });
  await using generator = await start(server.port);
  await generator.connect(2);
  await generator.ask();
  const times = { seconds: 1, warmupSeconds: 0.3 };
  const loads = [
    () => generator.closed(times),
    () => generator.open({ ...times, rate: 100 }),
    () => generator.churn({ ...times, concurrency: 2 }),
  ];
  for (const load of loads) {
    cold = 3;
    const { errors, requests } = await load();
    assertGreater(requests, 0);
    assertEquals(errors, { http_503: 3 });
  }
});

testEngines("connections that are all lost in the warm-up end a closed loop, with their cause", async (start) => {
  await using server: FakeServer = new FakeServer(async (client, number) => {
    if (number < 10) return await client.write(HELLO);
    await client.write(HELLO.slice(0, 30));
    server.hangUp(client);
  });
  await using generator = await start(server.port);
  await generator.connect(3);
  await generator.ask();
  const { stopped_early, errors, requests } = await generator.closed({ seconds: 30, warmupSeconds: 1 });
  assertEquals([stopped_early, requests], ["All connections were lost.", 0]);
  assertEquals(errors, { cut_short: 3 });
});

testEngines("a server that goes away in mid-run ends the loop with a sentence", async (start) => {
  const server = new FakeServer(async (client, number) => {
    await client.write(HELLO);
    if (number === 3) server.hangUp(client);
  });
  await using generator = await start(server.port);
  await generator.connect(2);
  await generator.ask();
  await server[Symbol.asyncDispose]();
  const { stopped_early, errors } = await generator.closed({ seconds: 60, warmupSeconds: 0 });
  assertEquals(stopped_early, "The server closed all connections and accepts no new ones.");
  assertEquals(Object.keys(errors), ["ECONNREFUSED"]);
});

Deno.test(
  { name: "IPv6 and localhost are targets, whichever of its addresses is listened on", ignore: !LINUX },
  async () => {
    await using six = new FakeServer(({ write }) => write(HELLO), "::1");
    await using four = new FakeServer(({ write }) => write(HELLO));
    for (const engine of ["epoll", "portable"] as const) {
      for (const [host, { port }] of [["::1", six], ["[::1]", six], ["localhost", six], ["localhost", four]] as const) {
        await using generator = await LoadGenerator.start({ host, port }, { engine });
        assertEquals((await generator.connect(3)).errors, {});
        assertEquals((await generator.ask()).answered, 3);
        const window = await generator.open({ rate: 100, seconds: 0.1, warmupSeconds: 0 });
        assertEquals([window.requests, window.errors], [10, {}]);
      }
    }
    assertEquals(six.lastHead.split("\r\n")[1], `Host: localhost:${six.port}`);
  },
);

testEngines("a request has the head that was asked for", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  const bytesOf: Record<string, number> = {};
  for (const head of ["minimal", "client", "browser"] as const) {
    await using generator = await start(server.port, { head });
    await generator.connect(1);
    assertEquals((await generator.ask()).answered, 1);
    const lines = server.lastHead.split("\r\n");
    assertEquals(lines.slice(0, 2), ["GET / HTTP/1.1", `Host: 127.0.0.1:${server.port}`]);
    const names = lines.slice(2).map((line) => line.split(":")[0]);
    if (head === "minimal") assertEquals(names, []);
    if (head === "client") assertEquals(names, ["User-Agent", "Accept", "Accept-Encoding", "Connection"]);
    bytesOf[head] = server.lastHead.length;
  }
  assert(bytesOf.browser! > 400 && bytesOf.browser! < 700, `${bytesOf.browser} bytes`);
});

testEngines("an answer to HEAD ends with its head", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO.slice(0, -11)));
  await using generator = await start(server.port, { method: "HEAD" });
  await generator.connect(2);
  const { answered, errors } = await generator.ask();
  assertEquals([answered, errors, server.lastHead.split(" ")[0]], [2, {}, "HEAD"]);
});
