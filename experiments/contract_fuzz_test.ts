/**
 * The contract of the experiments: whatever is sent, in whatever pieces, is answered as a reference parser says.
 *
 * Arguments behind `--`: `--fuzz=100000` cases for each of the four kinds of streams, `--seed=N` to see the same again.
 */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { BrokenPromise, head, within } from "../lib/testing/client.ts";
import { type Check, type Lab, testAll } from "../lib/testing/contract.ts";
import { type Expected, expectedAnswers } from "../lib/testing/reference.ts";

const CASES = 50; // of each kind, where nothing else is asked for
const MAX_CUTS = 4; // pieces but one
const MAX_HEAD = 8192;
const READ_BYTES = 64 * 1024;

/** The number behind an argument such as `--fuzz=1000`. */
function numberOf(name: string, otherwise: number): number {
  const text = Deno.args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  if (text === undefined) return otherwise;
  if (!/^-?\d+$/.test(text)) throw new TypeError(`--${name}=${text} is not a number.`);
  return Number(text);
}

const cases = numberOf("fuzz", CASES), seed = numberOf("seed", crypto.getRandomValues(new Int32Array(1))[0]!);
console.log(`Fuzz: ${cases} cases of each kind, --seed=${seed}`);

// ---- Streams: a character is a byte ----------------------------------------------------------------------------------

const oneOf = (...values: string[]) => fc.constantFrom(...values);
const methods = oneOf("GET", "GET", "GET", "GET", "POST", "HEAD", "get", "G!T", "OPTIONS");
const targets = oneOf(
  ...["/", "/", "/", "/?a", "/work/0", "/work/9", "/work/000009", "/work/0000009", "/work/9?x=/", "/work/", "/x", "//"],
  ...[
    "http://x/",
    "http://x",
    "HTTP://x:1?q",
    "http:///",
    "http://x/work/5",
    "https://x/",
    "*",
    "x:1",
    "?",
    "/#",
    "/~",
  ],
);
const versions = oneOf("1.1", "1.1", "1.1", "1.1", "1.0", "1.2", "1.9", "2.0", "0.9", "3.1");
const values = oneOf(
  ...["", " ", "0", " 0\t", "00", "5", "+0", "0x0", "a", "close", " Close ", "x, close", "close,x", ",close", "closed"],
  ...["keep-alive", "keep-alive, close", "chunked", "\xa00", "\xff", "a\tb", "c;l", "close close", ",", "no,cLOSE\t,"],
);
const names = oneOf(
  ...["Host", "Connection", "connection", "CONNECTION", "Content-Length", "content-LENGTH", "Transfer-Encoding"],
  ...["User-Agent", "Cache-Control", "Cookie", "Te", "Content-Lengtk", "Connectiom", "X", "~", "A".repeat(17)],
);
const fields = fc.tuple(names, values).map(([name, value]) => `${name}:${value}\r\n`);
const heads = fc.tuple(oneOf("", "", "", "\r\n"), methods, targets, versions, fc.array(fields, { maxLength: 6 })).map((
  [before, method, target, version, lines],
) => `${before}${method} ${target} HTTP/${version}\r\n${lines.join("")}\r\n`);
const pipelines = fc.array(heads, { minLength: 1, maxLength: 12 }).map((all) => all.join(""));

/** A stream with some bytes replaced, taken out or put in. */
const oddBytes = oneOf(..."\r\n :\0\t\x7f\x80\xa0,;/G0\x1f", "\r\n", "\r\n\r\n", "\n\n");
const change = fc.record({ at: fc.nat(), cut: fc.nat({ max: 2 }), put: fc.oneof(oddBytes, fc.constant("")) });
const changed = fc.tuple(pipelines, fc.array(change, { minLength: 1, maxLength: 3 })).map(([text, changes]) =>
  changes.reduce((text, { at, cut, put }) => {
    const from = at % (text.length + 1);
    return text.slice(0, from) + put + text.slice(from + cut);
  }, text)
);

/** Words of the protocol in any order. */
const words = oneOf(
  ...["GET / HTTP/1.1\r\n", "GET ", "/", " HTTP/1.1", "\r\n", "\r\n", "\r\n\r\n", "\r", "\n", ":", " ", "\t", "\0"],
  ...[
    "Connection",
    "Content-Length",
    "Transfer-Encoding",
    "close",
    "keep-alive",
    "0",
    "5",
    ",",
    "x",
    "\xe9",
    "HTTP/2.0",
  ],
);
const soup = fc.array(words, { maxLength: 40 }).map((all) => all.join(""));

/** Heads around the greatest length, with or without an end, behind others. */
const longHeads = fc.record({
  before: fc.array(oneOf(head("/"), head("/x"), "\r\n"), { maxLength: 3 }),
  start: oneOf("GET / HTTP/1.1\r\nX: ", "\r\nGET / HTTP/1.1\r\nX: ", "GET /", "GET", "POST /work/1 HTTP/1.1\r\n"),
  length: fc.integer({ min: MAX_HEAD - 4, max: MAX_HEAD + 4 }),
  end: oneOf("\r\n\r\n", " HTTP/1.1\r\n\r\n", "\r\nConnection: close\r\n\r\n", "\r\n", "", "\r\n\r\r\n\r\n"),
  after: oneOf("", head("/"), "x".repeat(9000)),
}).map(({ before, start, length, end, after }) =>
  before.join("") + start + "x".repeat(length - start.length - end.length) + end + after
);

// ---- Answers ---------------------------------------------------------------------------------------------------------

/** Sends a stream in pieces and the end of this half, and returns all that comes until the end of the other one. */
async function exchange(lab: Lab, stream: string, cuts: number[]): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: lab.shared.port });
  try {
    connection.setNoDelay();
    const bytes = Uint8Array.from(stream, (character) => character.charCodeAt(0));
    const received = receive(connection);
    received.catch(() => {}); // awaited below
    let at = 0;
    for (const cut of [...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
      while (at < cut) at += await connection.write(bytes.subarray(at, cut));
      if (cut < bytes.length) await lab.turn();
    }
    await connection.closeWrite();
    return await within(received, lab.patienceMs, "the end of the answers");
  } catch (error) {
    if (error instanceof BrokenPromise) throw error;
    throw new BrokenPromise(`The connection broke: ${error}`);
  } finally {
    connection.close();
  }
}

async function receive(connection: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(READ_BYTES), decoder = new TextDecoder("latin1");
  let text = "";
  for (;;) {
    const got = await connection.read(buffer);
    if (got === null) return text;
    text += decoder.decode(buffer.subarray(0, got));
  }
}

/** The statuses of answers, and whether each says that it is the last. */
function summarize(text: string): Expected[] {
  return text.split(/^(?=HTTP\/1\.1 )|(?<=\r\n\r\n|Hello World)(?=HTTP\/1\.1 )/).filter((answer) => answer !== "").map((
    answer,
  ) => ({
    status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]),
    isLast: /\r\nconnection: *close\r\n/i.test(answer),
  }));
}

const KINDS: [says: string, streams: fc.Arbitrary<string>][] = [
  ["pipelines of all kinds of requests", pipelines],
  ["requests with some bytes changed", changed],
  ["the words of the protocol in any order", soup],
  ["heads around the greatest length", longHeads],
];

await testAll(KINDS.map(([says, streams]): Check => ({
  says: `answers as the reference parser does: ${says}`,
  id: "exact-parser",
  async holds(lab) {
    const parts = fc.tuple(streams, fc.array(fc.nat(), { maxLength: MAX_CUTS }));
    const property = fc.asyncProperty(parts, async ([stream, cuts]) => {
      assertEquals(summarize(await exchange(lab, stream, cuts)), expectedAnswers(stream));
    });
    const endOnFailure = lab.cannot("exact-parser"); // else the smallest difference is looked for
    const { failed, counterexample, errorInstance } = await fc.check(property, { numRuns: cases, seed, endOnFailure });
    if (!failed) return;
    const shown = JSON.stringify(counterexample).replace(/x{20,}/g, (run) => `…${run.length} x…`);
    throw new BrokenPromise(`With --seed=${seed}, ${shown}: ${errorInstance}`);
  },
})));
