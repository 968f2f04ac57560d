import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Experiment, find } from "../../lib/catalogue/catalogue.ts";
import { serveLive } from "./server.ts";
import type { Events } from "./wire.ts";
import { processTree } from "../../lib/sampling/process.ts";
import { Client, within } from "../../lib/testing/client.ts";

const ignore = Deno.build.os !== "linux";
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore, fn });
const LONG_MS = 30_000; // only a broken server lets it pass: a busy host may take seconds for each round
const LIMITS = { connections: 50, rate_per_s: 1000 };
const ASSETS = { "/": { type: "text/html; charset=utf-8", body: "<!DOCTYPE html>" } };

/** A run with a page that nobody has opened yet. */
function live(...experiments: Experiment[]) {
  const stop = new AbortController();
  const wanted = { connections: 10, rate_per_s: null };
  const { port, ended: end } = serveLive({
    experiments: experiments.length > 0 ? experiments : [find("epoll")],
    wanted,
    port: 0,
    limits: LIMITS,
    assets: ASSETS,
    signal: stop.signal,
  });
  const url = `http://127.0.0.1:${port}`;
  const want = (body: string, headers: HeadersInit = { Origin: url }) =>
    fetch(`${url}/wanted`, { method: "POST", body, headers });
  const ended = () => within(end, LONG_MS, "the end of the run");
  return { port, url, ended, want, stop: () => stop.abort() };
}

/** Somebody who looks, as the page does. */
class Viewer {
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(body: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#reader = body.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Begins to look, and returns the greeting too. */
  static async open(url: string): Promise<[Viewer, Events["hello"]]> {
    const viewer = new Viewer((await fetch(`${url}/frames`)).body!);
    return [viewer, await viewer.next("hello")];
  }

  /** The next event of a name that passes. */
  next<N extends keyof Events>(name: N, passes: (data: Events[N]) => boolean = () => true): Promise<Events[N]> {
    return within(this.#next(name, passes), LONG_MS, `event ${name}`);
  }

  async #next<N extends keyof Events>(name: N, passes: (data: Events[N]) => boolean): Promise<Events[N]> {
    for (;;) {
      const [, said, data] = /^event: (.*)\ndata: (.*)$/m.exec(await this.#block())!;
      const event: Events[N] = JSON.parse(data!);
      if (said === name && passes(event)) return event;
    }
  }

  /** The next event as text. */
  async #block(): Promise<string> {
    for (;;) {
      const [block, ...rest] = this.#text.split("\n\n");
      if (rest.length > 0) {
        this.#text = rest.join("\n\n");
        return block!;
      }
      const { value, done } = await this.#reader.read();
      if (done) throw new Error("The stream has ended.");
      this.#text += value;
    }
  }

  async close(): Promise<void> {
    await this.#reader.cancel();
  }
}

/** All processes below this one. */
const below = (): number[] => processTree(Deno.pid)!.slice(1);

test("rounds arrive, what is wanted changes what runs; a second page goes on, and with it all is closed", async () => {
  const before = below();
  const { url, ended, want } = live();
  const [first, hello] = await Viewer.open(url);
  assertEquals([hello.servers[0]!.name, hello.wanted], ["epoll", { connections: 10, rate_per_s: null }]);
  assertEquals((await first.next("round"))[0]!.connections, 10);
  const running = below().filter((pid) => !before.includes(pid));
  assert(running.length >= 2, "a server and a load generator run");

  const wanted = { connections: 25, rate_per_s: 200 };
  assertEquals((await want(JSON.stringify(wanted))).status, 204);
  const [frame] = await first.next("round", ([frame]) => frame!.wanted.connections === 25);
  const { connections, requests_per_s } = frame!;
  assertEquals(connections, 25);
  // 200 are due in a second, which a busy machine can make longer but not shorter.
  assert(requests_per_s <= 200, `200/s are due: ${requests_per_s}`);

  const [second, { rounds, wanted: now }] = await Viewer.open(url);
  assertEquals(await first.next("replaced"), null);
  assert(rounds.length >= 2, "a page that comes later shows what was before");
  assertEquals(now, wanted);
  await second.next("round");
  await second.close();
  const [third] = await Viewer.open(url); // as one that is loaded again
  await third.next("round");
  await third.close();
  assertEquals(await ended(), { how: "closed", sentence: "The page was closed." });
  assertEquals(below(), before, "nothing is left running");
});

test("before somebody looks nothing runs; the run can be stopped then too", async () => {
  const before = below();
  const { url, ended, stop } = live();
  assertEquals(await (await fetch(url)).text(), "<!DOCTYPE html>");
  assertEquals(below(), before);
  stop();
  assertEquals(await ended(), { how: "stopped", sentence: "Stopped." });
});

test("what cannot be wanted is refused with a sentence, and nothing changes", async () => {
  const { want, ended, stop } = live();
  const bad: [body: string, status: number, sentence: string][] = [
    ['{"connections":51,"rate_per_s":null}', 400, "connections is not a whole number from 1 to 50"],
    ['{"connections":1,"rate_per_s":0}', 400, "rate_per_s is not a whole number from 1 to 1 000"],
    ['{"connections":1}', 400, "rate_per_s: missing"],
    ["connections=1", 400, "it is not JSON"],
    [" ".repeat(2000), 413, "1024 bytes at most"],
  ];
  for (const [body, status, sentence] of bad) {
    const response = await want(body);
    assertEquals(response.status, status, body);
    assertStringIncludes(await response.text(), sentence);
  }
  stop();
  await ended();
});

test("another page, or this one under another name, may neither steer nor look", async () => {
  const { url, port, want, ended, stop } = live();
  const wanted = '{"connections":2,"rate_per_s":null}';
  const statuses = async (answers: Promise<Response>[]) =>
    (await Promise.all(answers)).map((answer) => (answer.body?.cancel(), answer.status));
  const foreign = { Origin: "http://evil.example" };
  assertEquals(
    await statuses([
      want(wanted, foreign),
      want(wanted, {}), // a browser always says where a POST comes from
      want(wanted, { Origin: "null" }),
      fetch(`${url}/frames`, { headers: foreign }),
      fetch(`${url}/frames`, { headers: { "Sec-Fetch-Site": "cross-site" } }),
      fetch(url, { headers: foreign }),
    ]),
    [403, 403, 403, 403, 403, 403],
  );
  for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example", "localhost@evil.example"]) {
    using client = await Client.connect(port);
    await client.send(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assertEquals((await client.answer()).status, 403, host);
  }
  for (const host of ["127.0.0.1", "localhost:9000", "[::1]:9000"]) { // as behind a tunnel, which has a port of its own
    using client = await Client.connect(port);
    await client.send(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assertEquals((await client.answer()).status, 200, host);
  }
  stop();
  assertEquals((await ended()).how, "stopped");
});

test("the page may load nothing from elsewhere, and other paths and methods are none", async () => {
  const { url, ended, stop } = live();
  const page = await fetch(url);
  await page.body?.cancel();
  const policy = page.headers.get("content-security-policy")!;
  assert(policy.includes("default-src 'none'") && policy.includes("frame-ancestors 'none'"), policy);
  assert(!/unsafe|http|\*/.test(policy), policy);
  for (const [path, method, status] of [["/none", "GET", 404], ["/wanted", "GET", 405], ["/", "PUT", 405]] as const) {
    const response = await fetch(url + path, { method });
    assertEquals(response.status, status, path);
    await response.body?.cancel();
  }
  stop();
  await ended();
});

/** An experiment whose server is another program. */
async function fake(dir: string, source: string): Promise<Experiment> {
  const path = `${dir}/deno-serve.ts`;
  await Deno.writeTextFile(path, source);
  return { ...find("deno-serve"), path };
}

test("a server that dies is reported with its last words, one that cannot run or does not get ready with its reason", async () => {
  const dir = await Deno.makeTempDir();
  const before = below();
  const dies = `
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
      if (++served === 30) { console.error("the last words"); Deno.exit(3); }
      return new Response("Hello World");
    });
    let served = 0;
    const { port } = server.addr;
    console.log(JSON.stringify({ event: "ready", experiment: "fake", port, pid: Deno.pid }));`;
  const cannot = 'console.error("There is no such library."); Deno.exit(69);';
  try {
    for (
      const [source, how, words] of [
        [dies, "crashed", "ended during the run with exit code 3: the last words"],
        [cannot, "skipped", "There is no such library."],
        ["Deno.exit(4);", "crashed", "Ended with exit code 4 before it was ready"],
        ['console.log("Hello"); setInterval(() => {}, 1000);', "not_ready", "not the ready line: Hello"],
      ] as const
    ) {
      const { url, ended } = live(await fake(dir, source));
      const [viewer] = await Viewer.open(url);
      const told = await viewer.next("end");
      assertStringIncludes(told.sentence, words);
      assertEquals(told.how, how);
      assertEquals(await ended(), told);
      assertEquals(below(), before);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
