/** The contract of the experiments: clients that do not read, sit idle, reset, or are more than there are descriptors. */
import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { delay } from "@std/async";
import { cpuUs } from "../lib/sampling/process.ts";
import { sample } from "../lib/sampling/sampler.ts";
import { type Server, startServer } from "../lib/server/server.ts";
import { BrokenPromise, type Client, head, reset, until } from "../lib/testing/client.ts";
import { type Check, hello, type Lab, testAll } from "../lib/testing/contract.ts";

const STALL_MS = 300; // a server that took nothing for so long will take nothing more until it is read
const PIPELINED = 100_000; // requests sent at least by the client that does not read
const MAX_PIPELINED = 3_000_000; // 90 MB of requests and 140 MB of answers: what a server without a bound would keep
const MEMORY_BOUND = 64 * 2 ** 20; // bytes by which the server may grow meanwhile: garbage, compiled code, one outbox
const RESETS = 2000, RESETS_AT_ONCE = 20, RESETS_MS = 6000;
const SPARE_DESCRIPTORS = 48; // how many more than at rest it may open where they run out; a thread takes several
const QUIET_SHARE = 0.1; // of a core, while nothing can be done: a loop that spins takes all that a busy machine gives it

const UNIT = 1000; // requests written at once; every seventh asks for what is not there, so that the order is seen
const statusOf = (request: number) => request % UNIT % 7 === 3 ? 404 : 200;
const UNIT_BYTES = new TextEncoder().encode(
  Array.from({ length: UNIT }, (_, i) => head(statusOf(i) === 200 ? "/" : "/nowhere")).join(""),
);

/**
 * Pipelines requests and reads nothing, until the server takes no more or has taken far too much. Returns what reads all
 * the answers while the rest is sent.
 */
async function stuff(client: Client): Promise<() => Promise<void>> {
  let requests = 0, enough = false;
  const sent = (async () => {
    while (requests < PIPELINED || (!enough && requests < MAX_PIPELINED)) {
      requests += UNIT; // those that are on their way count
      await client.send(UNIT_BYTES);
    }
  })();
  sent.catch(() => {}); // reported by the answers that are missing, or of no concern if another check has failed before
  for (let before = -1; before !== requests && requests < MAX_PIPELINED;) {
    before = requests;
    await delay(STALL_MS);
  }
  enough = true;
  const total = Math.max(requests, PIPELINED);
  return async () => {
    for (let i = 0; i < total; i++) {
      const { status } = await client.answer();
      if (status !== statusOf(i)) throw new BrokenPromise(`Answer ${i} of ${total} has status ${status}.`);
    }
    await sent;
  };
}

/** Starts a server that may open but a few descriptors. */
async function scarce(lab: Lab): Promise<{ server: Server; limit: number }> {
  const limit = sample(lab.shared.pid)!.descriptors + SPARE_DESCRIPTORS;
  // Each worker process has a table of descriptors of its own: with one of them all clients share one table.
  const one = lab.experiment.workers?.startsWith("processes with") ? ["--workers", "1"] : [];
  return { server: await startServer(lab.command(one), { prlimit: [`--nofile=${limit}`] }), limit };
}

/** Many clients that come at once, ask once, and stay until `leave`. */
class Crowd implements Disposable {
  readonly answered: Client[] = [];
  readonly #lab: Lab;
  readonly #visits: Promise<void>[];
  readonly #leaving = Promise.withResolvers<void>();

  constructor(lab: Lab, port: number, size: number) {
    this.#lab = lab;
    this.#visits = Array.from({ length: size }, () => this.#visit(port));
    for (const visit of this.#visits) visit.catch(() => {}); // reported by `leave`
  }

  async #visit(port: number): Promise<void> {
    using client = await this.#lab.connect(port);
    await client.send(head("/"));
    hello(await client.answer());
    this.answered.push(client);
    await this.#leaving.promise;
  }

  /** Resolves when some were answered and no more of them are. */
  async settled(): Promise<void> {
    await until(() => this.answered.length > 0, this.#lab.patienceMs, "an answer to one of many");
    for (let before = -1; before !== this.answered.length;) {
      before = this.answered.length;
      await delay(STALL_MS);
    }
  }

  /** Lets all leave, those that still wait as soon as they are answered. Tells who was. */
  leave(): Promise<PromiseSettledResult<void>[]> {
    this.#leaving.resolve();
    return Promise.allSettled(this.#visits);
  }

  [Symbol.dispose](): void {
    this.#leaving.resolve();
  }
}

/** Whether a server takes next to no CPU time for a while. */
async function rests(pid: number): Promise<boolean> {
  const before = cpuUs(pid)!;
  await delay(STALL_MS); // the length of the measurement
  return cpuUs(pid)! - before < QUIET_SHARE * STALL_MS * 1000;
}

const STRESS: Check[] = [{
  says:
    "keeps its memory and does not spin while a client asks and never reads; answers all in order once it does, and rests then",
  id: "drain",
  linux: true,
  async holds(lab) {
    const rss = () => sample(lab.shared.pid)!.rss_bytes;
    using client = await lab.connect();
    hello(await client.ask("/"));
    const before = rss();
    const drain = await stuff(client);
    assertLess(rss() - before, MEMORY_BOUND);
    const isQuiet = () => rests(lab.shared.pid);
    await until(isQuiet, lab.patienceMs, "the server to rest"); // what the kernel has taken it may still work off
    await drain();
    await until(isQuiet, lab.patienceMs, "the server to rest once all is read"); // it waits for room to write no longer
  },
}, {
  says: "serves others while clients do not read, sit idle or send half a head",
  id: "serve-others",
  async holds(lab) {
    using silent = await lab.connect();
    using slow = await lab.connect();
    using greedy = await lab.connect();
    await slow.send("GET / HT");
    const drain = await stuff(greedy);
    hello(await lab.ask("/"));
    await slow.send("TP/1.1\r\nHost: lab\r\n\r\n");
    hello(await slow.answer());
    hello(await silent.ask("/"));
    if (!lab.cannot("drain")) await drain();
  },
}, {
  says: "runs out of descriptors, serves on without a spin, and recovers",
  id: "recover-emfile",
  needs: "prlimit",
  linux: true,
  async holds(lab) {
    const { server, limit } = await scarce(lab);
    await using _ = server;
    using crowd = new Crowd(lab, server.port, limit);
    await crowd.settled();
    await until(() => rests(server.pid), lab.patienceMs, "the server to rest");
    for (const client of crowd.answered) hello(await client.ask("/"));
    await crowd.leave();
    // Where a connection takes more than one descriptor, or the listener was given up, a new one may be refused at first.
    const isServed = () => lab.ask("/", server.port).then(({ status }) => status === 200, () => false);
    await until(isServed, lab.patienceMs, "a new client to be served");
    const { stopped, code } = await server.stop();
    assertEquals(code, 0, server.stderrTail());
    // One connection, or one for each worker, is never too much.
    if (!lab.cannot("serve-others") && lab.args.length === 0) assertGreater(stopped!.errors.EMFILE!, 0);
  },
}, {
  says: "lets new clients wait when descriptors have run out, and serves them when others have left",
  id: "wait-at-emfile",
  needs: "prlimit",
  linux: true,
  async holds(lab) {
    const { server, limit } = await scarce(lab);
    await using _ = server;
    using crowd = new Crowd(lab, server.port, limit);
    await crowd.settled();
    assertLess(crowd.answered.length, limit);
    const lost = (await crowd.leave()).filter(({ status }) => status === "rejected");
    assertEquals(lost.length, 0, `lost of ${limit}`);
  },
}, {
  says: `survives up to ${RESETS} resets`,
  id: "survive-resets",
  holds: (lab) => survive(lab, lab.shared.port),
}, {
  says: "keeps no descriptor of what was reset",
  id: "return-descriptors",
  async holds(lab) {
    await using server = await lab.fresh();
    const descriptors = () => sample(server.pid)?.descriptors ?? 0;
    hello(await lab.ask("/", server.port));
    const before = descriptors();
    await survive(lab, server.port);
    await until(() => descriptors() <= before + 2, lab.patienceMs, `${before} descriptors as before`);
  },
}];

/** Resets many connections, at whatever moment of a request. */
async function survive(lab: Lab, port: number): Promise<void> {
  const pieces = ["", "GET / HT", head("/"), head("/work/10").repeat(20)];
  const deadline = performance.now() + RESETS_MS; // a thread for each connection takes its time
  for (let done = 0; done < RESETS && performance.now() < deadline; done += RESETS_AT_ONCE) {
    await Promise.all(
      Array.from({ length: RESETS_AT_ONCE }, (_, i) => reset(port, pieces[i % pieces.length]!)),
    );
    hello(await lab.ask("/", port));
  }
}

await testAll(STRESS);
