/** The contract of the experiments: the minimal HTTP/1.1 that all of them speak, byte by byte. */
import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { cpuUs } from "../lib/sampling/process.ts";
import { type Client, head } from "../lib/testing/client.ts";
import { type Check, hello, type Lab, refused, run, testAll, WORKERS } from "../lib/testing/contract.ts";
import { seededRandom } from "../lib/timing/random.ts";

const MAX_HEAD = 8192;
const REFUSED = 10; // requests for work whose heads are malformed
const BUSY = "for (const until = Date.now() + 10_000; Date.now() < until;);"; // it ends even if nobody ends it

/** Requests of all kinds that keep the connection, and what is answered. */
type Kind = [request: string, status: number];
const kinds = (lab: Lab): Kind[] => [
  [head("/"), 200],
  [head("/nowhere"), 404],
  [head(lab.work(0)), 200],
  [head("/", "PUT", "Content-Length: 0"), 405],
  [head(lab.work(1), "GET", "Connection: keep-alive", `X-Long: ${"x".repeat(900)}`), 200],
];

function mixture(lab: Lab, count: number, random: () => number): Kind[] {
  const all = kinds(lab);
  return Array.from({ length: count }, () => all[Math.floor(random() * all.length)]!);
}

async function expectStatuses(client: Client, requests: Kind[]): Promise<void> {
  for (const [i, [_, status]] of requests.entries()) {
    assertEquals((await client.answer()).status, status, `request ${i} of ${requests.length}`);
  }
}

const MALFORMED = [
  "GET /\r\n\r\n",
  "GET / HTTP/1.1 twice\r\nHost: lab\r\n\r\n",
  "GET / HTTP/x.1\r\nHost: lab\r\n\r\n",
  "G(T / HTTP/1.1\r\nHost: lab\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: lab\r\nno colon\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: lab\r\n: no name\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: lab\r\nsp ace: before the colon\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: lab\r\nnul: a\0b\r\n\r\n",
];

/** A head of exactly so many bytes. */
const headOf = (length: number) => head("/", "GET", `X: ${"x".repeat(length - head("/", "GET", "X: ").length)}`);

const PROTOCOL: Check[] = [{
  says: "serves curl, again and again on one connection",
  needs: "curl",
  async holds(lab) {
    const urls = ["/", lab.work(100), "/nowhere"].map((path) => `http://127.0.0.1:${lab.shared.port}${path}`);
    const { code, stdout } = await run("curl", [
      "-sS",
      "--noproxy",
      "*",
      "-w",
      " %{http_code} %{num_connects}\n",
      ...urls,
    ]);
    assertEquals([code, stdout], [0, "Hello World 200 1\nHello World 200 0\n 404 0\n"]);
  },
}, {
  says: "serves wrk without an error",
  needs: "wrk",
  async holds(lab) {
    const { port } = lab.shared;
    const connections = lab.cannot("serve-others") ? 1 : WORKERS;
    const { code, stdout } = await run("wrk", ["-t1", `-c${connections}`, "-d1s", `http://127.0.0.1:${port}/`]);
    assertEquals(code, 0);
    assertEquals(/errors|Non-2xx/.test(stdout), false, stdout);
    assertGreater(Number(/(\d+) requests in/.exec(stdout)?.[1]), 0);
  },
}, {
  says: "answers a request that arrives byte by byte",
  async holds(lab) {
    using client = await lab.connect();
    for (const byte of head(lab.work(0), "GET", "A: b")) {
      await client.send(byte);
      await lab.turn();
    }
    hello(await client.answer());
  },
}, {
  says: "answers 100 pipelined requests in order",
  async holds(lab) {
    const requests = mixture(lab, 100, seededRandom(100));
    using client = await lab.connect();
    await Promise.all([client.send(requests.map(([text]) => text).join("")), expectStatuses(client, requests)]);
  },
}, {
  says: "answers requests that are split at random points",
  async holds(lab) {
    const random = seededRandom(4711);
    for (let round = 0; round < 5; round++) {
      const requests = mixture(lab, 100, random);
      const text = requests.map(([text]) => text).join("");
      using client = await lab.connect();
      const sendPieces = async () => {
        for (let at = 0; at < text.length;) {
          const piece = text.slice(at, at += 1 + Math.floor(random() ** 3 * 6000));
          await client.send(piece);
          if (random() < 0.2) await lab.turn();
        }
      };
      await Promise.all([sendPieces(), expectStatuses(client, requests)]);
    }
  },
}, {
  says: "answers what was asked before the client closed its half, then closes",
  id: "half-close",
  async holds(lab) {
    for (const count of [1, 3]) {
      using client = await lab.connect();
      await lab.atOnce(async () => { // the server finds the requests and the end together
        await client.send(head(lab.work(1000)).repeat(count));
        await client.finish();
      });
      for (let i = 0; i < count; i++) hello(await client.answer());
      await client.ended();
    }
  },
}, {
  says: "answers a malformed head with 400 and closes",
  id: "malformed-400",
  async holds(lab) {
    for (const text of MALFORMED) {
      using client = await lab.connect();
      await client.send(head("/") + text + head("/")); // what stands before is served, what stands behind is not
      hello(await client.answer());
      const answer = await client.answer();
      assertEquals([answer.status, answer.body], [400, ""], JSON.stringify(text));
      assertEquals(answer.fields.get("connection"), "close", JSON.stringify(text));
      await client.ended();
    }
  },
}, {
  says: `serves a head of ${MAX_HEAD} bytes and answers one of ${MAX_HEAD + 1} with 431`,
  id: "bound-head",
  async holds(lab) {
    using client = await lab.connect();
    await client.send(headOf(MAX_HEAD));
    hello(await client.answer());
    await client.send(headOf(MAX_HEAD + 1));
    refused(await client.answer(), 431);
    await client.ended();
  },
}, {
  says: "answers a head without an end with 431",
  id: "bound-head",
  async holds(lab) {
    for (const bytes of [MAX_HEAD + 1, 32 * 1024]) {
      using client = await lab.connect();
      await client.send(head("/").slice(0, -2) + "X: " + "x".repeat(bytes));
      const answer = await client.answer();
      assertEquals([answer.status, answer.fields.get("connection")], [431, "close"]);
      await client.ended();
    }
  },
}, {
  says: "refuses in such a way that its answer survives what the client still sends",
  id: "linger",
  async holds(lab) {
    using client = await lab.connect();
    await client.send(MALFORMED[1] + "x".repeat(256 * 1024)); // unread at close(2), this would be answered with RST
    refused(await client.answer(), 400);
    await client.ended();
  },
}, {
  says: "answers other paths with 404, and work only up to 100000 µs",
  async holds(lab) {
    using client = await lab.connect();
    for (const target of ["/x", "/work", "/work/", "/work/100001", "/work/-1", "/work/1x", "/work/9999999"]) {
      refused(await client.ask(target), 404);
    }
    hello(await client.ask(lab.work(100_000)));
  },
}, {
  says: "tells // from /",
  id: "exact-path",
  async holds(lab) {
    refused(await lab.ask("//"), 404);
  },
}, {
  says: "burns no CPU for a request that it refuses",
  linux: true,
  async holds(lab) {
    if (lab.cannot("malformed-400") || lab.cannot("burn-cpu")) return; // then there is nothing to be refused, or to burn
    const before = cpuUs(lab.shared.pid)!;
    for (let i = 0; i < REFUSED; i++) {
      using client = await lab.connect();
      await client.send(head("/work/100000").slice(0, -2) + "no field\r\n\r\n");
      refused(await client.answer(), 400);
      await client.ended();
    }
    assertLess(cpuUs(lab.shared.pid)! - before, REFUSED * 100_000 / 2);
  },
}, {
  says: "answers other methods with 405 and keeps the connection",
  id: "refuse-methods",
  async holds(lab) {
    using client = await lab.connect();
    for (const method of ["POST", "HEAD", "PUT", "DELETE"]) {
      const answer = await client.ask("/", method);
      refused(answer, 405);
      assertEquals(answer.fields.get("allow"), "GET", method);
    }
    hello(await client.ask("/"));
  },
}, {
  says: "answers a method that no standard knows with 405 and keeps the connection",
  id: "any-method",
  async holds(lab) {
    using client = await lab.connect();
    refused(await client.ask("/", "BREW"), 405);
    hello(await client.ask("/"));
  },
}, {
  says: "closes after the answer to HTTP/1.0",
  async holds(lab) {
    using client = await lab.connect();
    await client.send("GET / HTTP/1.0\r\n\r\n");
    hello(await client.answer());
    await client.ended();
  },
}, {
  says: "honours Connection: close in any case and in a list",
  async holds(lab) {
    for (
      const field of ["Connection: close", "CONNECTION:Close", "connection: foo, cLOSE", "Connection: close , foo"]
    ) {
      using client = await lab.connect();
      await client.send(head("/") + head("/", "GET", "Connection: closed", field) + head("/"));
      for (let i = 0; i < 2; i++) hello(await client.answer());
      await client.ended(); // the third request stands behind the end
    }
  },
}, {
  says: "answers a request with a body, then closes",
  id: "close-after-body",
  async holds(lab) {
    const bodies = [["Content-Length: 5", "GET /"], ["Transfer-Encoding: chunked", "5\r\nGET /\r\n0\r\n\r\n"]] as const;
    for (const [field, body] of bodies) {
      using client = await lab.connect();
      await client.send(head("/", "GET", field) + body);
      hello(await client.answer());
      await client.ended();
    }
  },
}, {
  says: "burns for /work/N about N µs of CPU, also where another process wants its core",
  id: "burn-cpu",
  needs: "taskset",
  linux: true,
  async holds(lab) {
    await using server = await lab.fresh({ cpu: 0 });
    await using _rival = new Deno.Command("taskset", { args: ["-c", "0", Deno.execPath(), "eval", BUSY] }).spawn();
    using client = await lab.connect(server.port);
    const burnt = async (target: string) => {
      const before = cpuUs(server.pid)!;
      for (let i = 0; i < 10; i++) hello(await client.ask(target));
      return cpuUs(server.pid)! - before;
    };
    const baseUs = await burnt("/work/0");
    const workUs = await burnt("/work/50000") - baseUs;
    assertGreater(workUs, 0.75 * 500_000); // half of it, if time went on while the rival ran
    assertLess(workUs, 2 * 500_000);
  },
}];

await testAll(PROTOCOL);
