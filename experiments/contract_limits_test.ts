/** The contract of the experiments: deadlines, bounds, clocks, signals and what a server does when the system refuses. */
import { assert, assertEquals, assertGreater, assertLess, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { BrokenPromise, Client, head, listens, until, within } from "../lib/testing/client.ts";
import { type Check, hello, inItsSecond, type Lab, refused, testAll, WORKERS } from "../lib/testing/contract.ts";
import { isHeld, serverEnd, SmallClient } from "../lib/testing/sockets.ts";

const LATE_MS = 1600; // how long the late reader does not read: longer than any server lingers
const LATE_REQUESTS = 1000;
const HEAD_MS = 10_000, HEAD_LATE_MS = 8000; // the deadline of a head, and how much later a busy machine may notice
const TRICKLE_MS = 500; // between the bytes of a head that never ends
const WORKS = 30, WORK_US = 100_000; // pipelined: three seconds of CPU
const DEAF_WORKS = 3; // of them that may still be answered after two signals
const SHARES = 40, SHARE_US = 25_000;
const KEPT_BYTES = 4096, KEEPERS = 20; // the bound on kept bytes in a copy, and the clients that each need a quarter of it
const REFUSAL_MS = 1000; // how long accept4(2) has no memory in a copy
const BACKLOG_CLIENTS = 150; // more than any loop accepts in a row
const KEEPALIVE_S = 60;
const HELLO_BYTES = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World".length;

const DEADLY_US = 666; // of work: a thread of a copy dies of it

const BURN = /function burn\(us: number\): void \{/;
const ACCEPT_CALL = /libc\.(accept4?)\(/;

const field = (line: string) => head("/", "GET", line);

/** The deadline of one experiment: what the client was answered whose head never ends, and after how long. */
const deadlines = new Map<string, Promise<{ status: number; ms: number }>>();

/** Sends a head byte by byte until there is an answer. */
async function trickle(port: number): Promise<{ status: number; ms: number }> {
  using client = await Client.connect(port, HEAD_MS + HEAD_LATE_MS);
  const start = performance.now();
  let isOver = false;
  await client.send("GET / HTTP/1.1\r\nX: ");
  const answer = client.answer().finally(() => isOver = true);
  answer.catch(() => {}); // awaited below
  while (!isOver) {
    await delay(TRICKLE_MS);
    if (!isOver) await client.send("x");
  }
  const { status } = await answer;
  const ms = performance.now() - start;
  await client.ended();
  return { status, ms };
}

async function trickleTo(lab: Lab): Promise<{ status: number; ms: number }> {
  if (!lab.cannot("serve-others")) return await trickle(lab.shared.port);
  await using server = await lab.fresh();
  return await trickle(server.port);
}

/** Asks for so much that the answers do not fit into the sockets, and does not read them. */
function stuff(lab: Lab, port: number, last: string): SmallClient {
  const client = new SmallClient(port, lab.patienceMs);
  // As short as can be, so that one read takes all of them; some servers want a Host and a known method.
  const request = lab.cannot("exact-parser") ? head("/nowhere") : "A / HTTP/1.1\r\n\r\n";
  client.send(request.repeat(LATE_REQUESTS) + last);
  return client;
}

const TIME: Check[] = [{
  says: "answers a head with 408 that is not complete 10 s after its first byte, whatever comes meanwhile, and closes",
  id: "head-deadline",
  begins(lab) {
    const deadline = trickleTo(lab);
    deadline.catch(() => {}); // awaited by `holds`
    deadlines.set(lab.experiment.name, deadline);
  },
  async holds(lab) {
    const { status, ms } = await deadlines.get(lab.experiment.name)!;
    assertEquals(status, 408);
    assertGreater(ms, HEAD_MS - 100); // clocks have ticks
    assertLess(ms, HEAD_MS + HEAD_LATE_MS);
  },
}, {
  says: "cuts no answer off, however late the client reads",
  id: "late-reader",
  linux: true,
  async holds(lab) {
    using client = stuff(lab, lab.shared.port, "GET / HTTP/1.0\r\n\r\n");
    await delay(LATE_MS); // what must not happen meanwhile is the end of the connection
    const { text, end } = await client.readAll();
    assertEquals(text.split(/HTTP\/1\.[01] /).length - 1, LATE_REQUESTS + 1); // one of 1.0 may be answered so
    assert(end, "the connection ended by a reset");
    assert(text.endsWith("Hello World"), text.slice(-40));
  },
}, {
  says: "lives on a clock that does not step: it lingers, stops and ends while the wall clock runs backwards",
  copies: true,
  async holds(lab) {
    const backwards = "{ const real = Date.now, start = real(); Date.now = () => 2 * start - real(); }\n";
    await using copy = await lab.changed((source) => backwards + source);
    const { server } = copy;
    using first = await lab.connect(server.port);
    hello(await first.ask("/"));
    using second = await lab.connect(server.port);
    if (!lab.cannot("serve-others")) {
      await second.send(field("Connection: close"));
      hello(await second.answer());
      await second.ended(); // the server's half; it lingers, as this one does not close
      const isOver = () => Deno.build.os !== "linux" || !isHeld(server.port, second.port);
      await until(isOver, lab.patienceMs, "the end of a connection that lingers");
    }
    const { code, signal } = await server.stop();
    assertEquals([code, signal], [0, null]);
  },
}, {
  says: "lives on a clock that does not step: it ends nothing early while the wall clock leaps",
  copies: true,
  async holds(lab) {
    const leaping = "{ const real = Date.now, start = real(); Date.now = () => start + 1e6 * (real() - start); }\n";
    await using copy = await lab.changed((source) => leaping + source);
    const { port } = copy.server;
    using client = await lab.connect(port);
    await client.send(head("/").slice(0, 20));
    for (let i = 0; i < 3; i++) await lab.taken(client, port);
    await client.send(head("/").slice(20));
    hello(await client.answer());
    if (lab.cannot("linger")) return;
    await client.send("GET / HTTP/1.1 twice\r\n\r\n" + "x".repeat(256 * 1024));
    refused(await client.answer(), 400);
    await client.ended();
  },
}, {
  says: "has the kernel probe peers that are silent for 60 s",
  id: "keepalive",
  linux: true,
  concerns: (source) => !source.includes("AF_XDP"),
  async holds(lab) {
    using client = await lab.connect();
    hello(await client.ask("/"));
    const isProbed = () => {
      const { timer, timerS } = serverEnd(lab.shared.port, client.port)!;
      return timer === 2 && timerS <= KEEPALIVE_S;
    };
    await until(isProbed, lab.patienceMs, "the keepalive timer");
  },
}, {
  says: "has the kernel end a connection whose peer takes nothing",
  copies: true,
  linux: true,
  concerns: (source) => source.includes("const USER_TIMEOUT_MS = "),
  async holds(lab) {
    const edit = (source: string) => source.replace(/const USER_TIMEOUT_MS = [\d_]+;/, "const USER_TIMEOUT_MS = 1000;");
    await using copy = await lab.changed(edit);
    const { server } = copy;
    using client = stuff(lab, server.port, "");
    await until(() => isHeld(server.port, client.port), lab.patienceMs, "a connection");
    await until(() => !isHeld(server.port, client.port), lab.patienceMs, "the end of a connection that takes nothing");
    const { stopped, code } = await server.stop();
    const broken = Object.entries(stopped?.errors ?? {}).filter(([name]) => !/^\d+$/.test(name));
    // The server has seen it: as ETIMEDOUT, or by another name where the kernel tells of no error.
    assertEquals([code, broken.reduce((sum, [, times]) => sum + times, 0)], [0, 1]);
  },
}];

const LENGTHS = ["abc", "", "+0", "-1", "0x0", "1 1", "5, 5", "\xa00", "0\xa0", "1e1", "0\0"];

const FORMS: [says: string, request: string][] = [
  ["an absolute-form target", head("http://lab/")],
  ["an absolute-form target without a path", head("http://lab:80")],
  ["an absolute-form target in any case, with a query", head("HTTP://lab?a=/nowhere")],
  ["an empty line before the request line", "\r\n" + head("/")],
  ["a query", head("/?a=b?c/d")],
  ["HTTP/1.2", "GET / HTTP/1.2\r\nHost: lab\r\n\r\n"],
  ["HTTP/1.9", "GET / HTTP/1.9\r\nHost: lab\r\n\r\n"],
  ["a length of zero", field("Content-Length: 000")],
];

/** Requests after which the connection closes, and the status of the answer. */
const lasts = (lab: Lab): [request: string, status: number][] => [
  [field("Connection: close"), 200],
  [head("/nowhere", "GET", "Connection: close"), 404],
  ["GET / HTTP/1.0\r\n\r\n", 200],
  ...(lab.cannot("close-after-body") ? [] : [[field("Content-Length: 1") + "x", 200]] as [string, number][]),
];

const WORDS: Check[] = [{
  says: "answers a Content-Length that is not digits with 400 and closes",
  id: "bad-length",
  async holds(lab) {
    for (const length of LENGTHS) {
      using client = await lab.connect();
      await client.send(Uint8Array.from(field(`Content-Length: ${length}`) + head("/"), (c) => c.charCodeAt(0)));
      const answer = await client.answer();
      assertEquals([answer.status, answer.fields.get("connection")], [400, "close"], JSON.stringify(length));
      await client.ended();
    }
  },
}, {
  says: "serves every form of a request that a server must",
  id: "any-form",
  async holds(lab) {
    for (const [says, request] of FORMS) {
      using client = await lab.connect();
      await client.send(request + head("/nowhere")); // the connection stays, and what follows is a request
      const answers = [await client.answer(), await client.answer()];
      assertEquals(answers.map(({ status }) => status), [200, 404], says);
    }
  },
}, {
  says: "answers HTTP/2.0 with 505 and closes",
  id: "refuse-version",
  async holds(lab) {
    for (const request of ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/2.0\r\nHost: lab\r\n\r\n"]) {
      using client = await lab.connect();
      await client.send(request);
      refused(await client.answer(), 505);
      await client.ended();
    }
  },
}, {
  says: "says in the last answer of a connection that it closes",
  id: "last-says-close",
  async holds(lab) {
    for (const [request, status] of lasts(lab)) {
      using client = await lab.connect();
      await client.send(head("/") + request);
      const first = await client.answer(), last = await client.answer();
      assertEquals([first.status, last.status], [200, status], request);
      assert(first.fields.get("connection") !== "close", request);
      assertEquals(last.fields.get("connection"), "close", request);
      await client.ended();
    }
  },
}];

const BOUNDS: Check[] = [{
  says: "drops whoever needs more than it may keep for all, counts it, serves others, and forgets what it kept",
  copies: true,
  linux: true,
  concerns: (source) => source.includes("const MAX_KEPT_BYTES = "),
  async holds(lab) {
    const edit = (source: string) =>
      source.replace(/const MAX_KEPT_BYTES = [^;]+;/, `const MAX_KEPT_BYTES = ${KEPT_BYTES};`);
    await using copy = await lab.changed(edit);
    const { server } = copy;
    {
      using clients = new DisposableStack();
      const half = head("/").slice(0, -2) + "X: " + "x".repeat(900);
      for (let i = 0; i < KEEPERS; i++) await clients.use(await lab.connect(server.port)).send(half);
      clients.use(stuff(lab, server.port, ""));
      hello(await lab.ask("/", server.port));
    }
    const isForgotten = async () => {
      using client = await lab.connect(server.port);
      const text = head("/", "GET", `X: ${"x".repeat(3000)}`);
      try {
        await client.send(text.slice(0, -1));
        await lab.taken(client, server.port);
        await client.send(text.slice(-1));
        return (await client.answer()).status === 200;
      } catch (error) {
        if (error instanceof BrokenPromise) return false; // dropped: the end of the others is not seen yet
        throw error;
      }
    };
    await until(isForgotten, lab.patienceMs, "a head to be kept again");
    const { stopped, code } = await server.stop();
    assertEquals(code, 0);
    assertGreater(stopped?.errors.MAX_KEPT_BYTES ?? 0, KEEPERS / 2);
  },
}, {
  says: "pauses and counts while accept4(2) has no memory, and serves afterwards",
  copies: true,
  concerns: (source) => source.includes("const libc = openLibc();") && ACCEPT_CALL.test(source),
  async holds(lab) {
    const name = ACCEPT_CALL.exec(Deno.readTextFileSync(lab.experiment.path))![1];
    const refusing = `const realLibc = openLibc(), refusingUntil = performance.now() + ${REFUSAL_MS};
const libc = { ...realLibc, ${name}(fd, address, length, flags) {
  if (performance.now() > refusingUntil) return realLibc.${name}(fd, address, length, flags);
  errno[0] = 12; // ENOMEM
  return -1;
} };`;
    await using copy = await lab.changed((source) => source.replace("const libc = openLibc();", refusing));
    hello(await lab.ask("/", copy.server.port));
    const { stopped, code } = await copy.server.stop();
    assertEquals(code, 0);
    const { ENOMEM = 0 } = stopped!.errors;
    assertGreater(ENOMEM, 0);
    assertLess(ENOMEM, REFUSAL_MS / 5); // a spin makes a thousand in a millisecond
  },
}, {
  says: "goes on when one of its threads dies, and ends the connection that this one worked for",
  copies: true,
  concerns: (source) => source.includes(".onerror = ") && BURN.test(source),
  async holds(lab) {
    const die = `if (us === ${DEADLY_US}) throw new Error("injected");`;
    await using copy = await lab.changed((source) => source.replace(BURN, `$&\n  ${die}`));
    const { server } = copy;
    hello(await lab.ask("/work/1000", server.port));
    await assertRejects(() => lab.ask(`/work/${DEADLY_US}`, server.port), BrokenPromise);
    await until(() => server.stderrTail().includes(" died"), lab.patienceMs, "a word of the thread that died");
    for (let i = 0; i < 2 * WORKERS; i++) hello(await lab.ask("/work/1000", server.port));
    const { code } = await server.stop();
    assertEquals(code, 0);
  },
}, {
  says: "serves others between the requests for work that one client has pipelined",
  id: "share-work",
  async holds(lab) {
    if (lab.cannot("burn-cpu")) return hello(await lab.ask("/"));
    if (lab.cannot("serve-others")) return; // not even an idle client leaves it time for others
    using greedy = await lab.connect();
    let answers = 0;
    await greedy.send(head(`/work/${SHARE_US}`).repeat(SHARES));
    const all = (async () => {
      for (; answers < SHARES; answers++) hello(await greedy.answer());
    })();
    all.catch(() => {}); // awaited below
    await until(() => answers > 0, lab.patienceMs, "the first answer");
    hello(await lab.ask("/"));
    assertLess(answers, SHARES - 1);
    await all;
  },
}];

const SIGNALS: Check[] = [{
  says: "hears two signals while one client has pipelined work for seconds",
  id: "hear-signals",
  stops: true,
  async holds(lab) {
    if (lab.cannot("burn-cpu")) return;
    await using server = await lab.fresh();
    using client = await lab.connect(server.port);
    await client.send(head(`/work/${WORK_US}`).repeat(WORKS));
    hello(await client.answer());
    const { stopSignal = "SIGTERM" } = lab.command();
    Deno.kill(server.leaderPid, stopSignal);
    // Of another number, or later: so that the kernel does not make one of both.
    if (stopSignal === "SIGINT") {
      await until(async () => !await listens(server.port), lab.patienceMs, "the first signal to be heard");
    }
    Deno.kill(server.leaderPid, "SIGINT");
    let answers = 0;
    try {
      for (; answers < WORKS; answers++) hello(await client.answer());
    } catch (error) {
      if (!(error instanceof BrokenPromise)) throw error; // the end
    }
    assertLess(answers, DEAF_WORKS + 1, "requests for work that were answered after two signals");
    const { code, signal } = await within(server.exited, lab.patienceMs, "the end of the server");
    assertEquals([code, signal], [1, null]);
  },
}, {
  says: "accepts and answers on SIGTERM what has completed its handshake",
  id: "stop-backlog",
  linux: true,
  stops: true,
  byChance: true,
  holds: (lab) =>
    inItsSecond(lab, async (server, asks) => {
      hello(await lab.ask("/", server.port));
      using clients = new DisposableStack();
      const waiting: Client[] = [];
      let exit: ReturnType<typeof server.stop>;
      await lab.atOnce(async () => {
        for (let i = 0; i < BACKLOG_CLIENTS; i++) {
          const client = clients.use(await lab.connect(server.port));
          await client.send(head("/"));
          waiting.push(client);
        }
        if (lab.standsStill) { // on a busy machine the kernel may still have an acknowledgement on its way
          const hasCome = ({ port }: Client) => (serverEnd(server.port, port)?.unread ?? 0) > 0;
          await until(() => waiting.every(hasCome), lab.patienceMs, "all that was sent to have come");
        }
        asks();
        exit = server.stop();
      }, server);
      await Promise.all(waiting.map(async (client) => {
        hello(await client.answer());
        await client.finish(); // so that nobody lingers
      }));
      const { stopped, code } = await exit!;
      assertEquals([code, stopped?.served], [0, BACKLOG_CLIENTS + 1]);
    }),
}, {
  says: "shows its counts and the open connections on SIGUSR1",
  id: "show-stats",
  stops: true,
  async holds(lab) {
    await using server = await lab.fresh();
    using client = await lab.connect(server.port);
    hello(await client.ask("/"));
    const isShown = () => { // bytes are counted when send(2) has returned, which may be after the client has them
      Deno.kill(server.leaderPid, "SIGUSR1");
      const { event, bytes_out } = JSON.parse(server.lastLine());
      return event === "stats" && bytes_out > 0;
    };
    await until(isShown, lab.patienceMs, "a line of counts");
    const { event, open, accepted, served, bytes_in, bytes_out, errors } = JSON.parse(server.lastLine());
    assertEquals({ event, open, accepted, served, bytes_in, errors }, {
      event: "stats",
      open: 1,
      accepted: 1,
      served: 1,
      bytes_in: head("/").length,
      errors: {},
    });
    if (lab.experiment.peer) assertGreater(bytes_out, 0);
    else assertEquals(bytes_out, HELLO_BYTES);
    const { stopped } = await server.stop();
    assertEquals([stopped?.accepted, stopped?.served], [1, 1]);
  },
}];

await testAll([...TIME.slice(1), ...WORDS, ...BOUNDS, ...SIGNALS, TIME[0]!]); // the deadline last: it passes meanwhile
