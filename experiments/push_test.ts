/**
 * The contract of the family `push`: the handshake, frames right and wrong, a message to all in one order, a listener that
 * does not read, deadlines and the end.
 *
 * Arguments behind `--`: `--fuzz=100000` frames, `--seed=N` to see the same again.
 */
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { delay } from "@std/async";
import fc from "fast-check";
import { WebSocket as Client } from "ws";
import { cpuUs } from "../lib/sampling/process.ts";
import { sample } from "../lib/sampling/sampler.ts";
import type { Server } from "../lib/server/server.ts";
import { BrokenPromise, listens, PATIENCE_MS, until, within } from "../lib/testing/client.ts";
import { type Check, inItsSecond, type Lab, testAll } from "../lib/testing/contract.ts";
import { isHeld, serverEnd, SmallClient } from "../lib/testing/sockets.ts";
import {
  BINARY,
  CLOSE,
  closing,
  CONTINUATION,
  expectedFrames,
  type Fuzzed,
  handshake,
  KEY,
  maskedFrame,
  PING,
  PONG,
  TEXT,
  WebSocketClient,
} from "../lib/testing/websocket.ts";

const MAX_MESSAGE = 65_535;
const FRAMES = 1000, FRAMES_IN_CASE = 10; // of a fuzz, where nothing else is asked for
const LISTENERS = 50, MESSAGES = 100, PUBLISHERS = 5;
const DEAF = 10; // of the listeners: they do not read
const MEMORY_BOUND = 64 * 2 ** 20; // bytes by which a server may grow for those: queues with a bound, and garbage
const OVERFLOWING = 40; // listeners that are full at once
const SMALL_QUEUE = 8; // entries of a ring that is less than the listeners
const BIG = 60_000, MAX_BIG = 300; // bytes of a message for a listener that does not read, and how many of them at most
const LATE_MESSAGES = 150, LATE_BYTES = 1000; // more than sockets hold, and less than any server allows to be unsent
const PINGS = 300; // between the fragments of a message
const FLOOD = 20_000; // pings of one client at a time
const DEADLINE_MS = 10_000, LATE_MS = 8000; // of a handshake or a message, and how much later a busy machine may notice
const SPARE_DESCRIPTORS = 48; // how many more than at rest it may open where they run out; a thread takes several
const STALL_MS = 300; // a server that let nobody in for so long will let nobody in until somebody leaves
const QUIET_SHARE = 0.1; // of a core, while nothing can be done: a loop that spins takes all that a busy machine gives it
const PATIENCE = /const PATIENCE_MS = 10_000;/, SHORT_PATIENCE = "const PATIENCE_MS = 300;";
const KEEPALIVE_S = 60;

/** The number behind an argument such as `--fuzz=1000`. */
function numberOf(name: string, otherwise: number): number {
  const text = Deno.args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  if (text === undefined) return otherwise;
  if (!/^-?\d+$/.test(text)) throw new TypeError(`--${name}=${text} is not a number.`);
  return Number(text);
}

const frames = numberOf("fuzz", FRAMES), seed = numberOf("seed", crypto.getRandomValues(new Int32Array(1))[0]!);
console.log(`Fuzz: about ${frames} frames, --seed=${seed}`);

const open = (lab: Lab, port = lab.shared.port) => WebSocketClient.open(port, lab.patienceMs);
const push = (check: Omit<Check, "speaks">): Check => ({ ...check, speaks: "websocket" });

/** Opens many, one after the other. */
async function openMany(lab: Lab, count: number, port: number, stack: DisposableStack): Promise<WebSocketClient[]> {
  const clients: WebSocketClient[] = [];
  for (let i = 0; i < count; i++) clients.push(stack.use(await open(lab, port)));
  return clients;
}

/** Waits until the server has taken what a client has sent. It mostly has at once, so it is looked at often. */
async function isTaken(lab: Lab, client: WebSocketClient): Promise<void> {
  const deadline = performance.now() + lab.patienceMs;
  while ((serverEnd(lab.shared.port, client.port)?.unread ?? 0) > 0) {
    if (performance.now() > deadline) throw new BrokenPromise("The server does not take what was sent.");
    await delay(0);
  }
}

// ---- The handshake -------------------------------------------------------------------------------------------------------

const long = handshake({ "X-Long": "x".repeat(8192) });
const REFUSED: [says: string, head: string, status: number][] = [
  ["no upgrade", "GET / HTTP/1.1\r\nHost: lab\r\n\r\n", 426],
  ["an upgrade to something else", handshake({ Upgrade: "h2c" }), 426],
  ["a Connection without upgrade", handshake({ Connection: "keep-alive" }), 426],
  ["version 8", handshake({ "Sec-WebSocket-Version": "8" }), 426],
  ["no version", handshake({ "Sec-WebSocket-Version": "" }), 426],
  ["HTTP/1.0", handshake({}, "GET / HTTP/1.0"), 426],
  ["no key", handshake({ "Sec-WebSocket-Key": "" }), 400],
  ["a key of 15 bytes", handshake({ "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAA" }), 400],
  ["a key that is no base64", handshake({ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZ!==" }), 400],
  ["two keys", handshake({ "sec-websocket-key": KEY }), 400],
  ["a body", handshake({ "Content-Length": "5" }), 400],
  ["a field without a name", handshake({ "": "x" }).replace(": x", ":x"), 400],
  ["another path", handshake({}, "GET /chat HTTP/1.1"), 404],
  ["another method", handshake({}, "POST / HTTP/1.1"), 405],
  ["HTTP/2.0", handshake({}, "GET / HTTP/2.0"), 505],
  ["a head over 8 KiB", long, 431],
  ["no request line", "\r\n\r\n\r\n\r\n", 400],
];

const TAKEN: [says: string, head: string][] = [
  ["fields in any case, lists and spaces", handshake({ Connection: "keep-alive , uPgrade", Upgrade: "a,WebSocket" })],
  ["an empty line before it", "\r\n" + handshake()],
  ["a query", handshake({}, "GET /?room=1 HTTP/1.1")],
  ["an absolute-form target", handshake({}, "GET http://lab/ HTTP/1.1")],
  ["extensions, which it does not take", handshake({ "Sec-WebSocket-Extensions": "permessage-deflate" })],
];

const HANDSHAKE: Check[] = [{
  says: "takes a handshake in any form, with the digest of its key",
  id: "any-form" as const,
  async holds(lab: Lab) {
    for (const [says, head] of TAKEN) {
      using client = await WebSocketClient.connect(lab.shared.port, lab.patienceMs);
      await client.send(head);
      const { status, fields } = await client.answer();
      assertEquals([status, fields.get("sec-websocket-accept")], [101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], says);
      assertEquals(fields.get("sec-websocket-extensions"), undefined, says);
    }
  },
}, {
  says: "takes a handshake that is cut at any byte",
  linux: true as const,
  async holds(lab: Lab) {
    const head = handshake();
    for (let cut = 1; cut < head.length; cut++) {
      using client = await WebSocketClient.connect(lab.shared.port, lab.patienceMs);
      await client.send(head.slice(0, cut));
      await isTaken(lab, client);
      await client.send(head.slice(cut));
      await client.switched();
    }
  },
}, {
  says: "takes frames that come with the handshake",
  id: "early-frames" as const,
  async holds(lab: Lab) {
    using client = await WebSocketClient.connect(lab.shared.port, lab.patienceMs);
    await client.send(handshake(), maskedFrame(TEXT, "early"), maskedFrame(PING, "too"));
    await client.switched();
    assertEquals(await client.text(), "early");
    assertEquals((await client.frame()).text, "too");
  },
}, {
  says: "refuses what is no handshake, says why, and closes",
  id: "exact-handshake" as const,
  async holds(lab: Lab) {
    for (const [says, head, expected] of REFUSED) {
      using client = await WebSocketClient.connect(lab.shared.port, lab.patienceMs);
      await client.send(head);
      const { status, fields } = await client.answer();
      assertEquals(status, expected, says);
      if (status === 426) assertEquals(fields.get("sec-websocket-version"), "13", says);
      assertEquals(await client.rest(), { frames: [], end: "end" }, says);
    }
  },
}, {
  says: "answers a handshake that is not complete in time with 408",
  id: "handshake-deadline" as const,
  copies: true as const,
  concerns: (source: string) => PATIENCE.test(source),
  async holds(lab: Lab) {
    await using copy = await lab.changed((source) => source.replace(PATIENCE, SHORT_PATIENCE));
    for (const head of [handshake().slice(0, 20), ""]) {
      using client = await WebSocketClient.connect(copy.server.port, lab.patienceMs);
      await client.send(head);
      assertEquals((await client.answer()).status, 408);
    }
  },
}].map(push);

// ---- Deadlines, in their full length: so peers are tried too --------------------------------------------------------------

const begun: Record<"handshake" | "message", Map<string, Promise<number[][]>>> = {
  handshake: new Map(),
  message: new Map(),
};

/** Starts what takes long, for `holds` to await. */
const begin = (what: keyof typeof begun, wait: (lab: Lab) => Promise<number[]>[]) => (lab: Lab) => {
  const waiting = Promise.all(wait(lab));
  waiting.catch(() => {}); // awaited by `holds`
  begun[what].set(lab.experiment.name, waiting);
};

/** Sends a beginning of a handshake, and waits for the refusal. Returns its status and the time. */
async function refusedLate(lab: Lab, head: string): Promise<number[]> {
  const startMs = performance.now();
  using client = await WebSocketClient.connect(lab.shared.port, DEADLINE_MS + LATE_MS);
  await client.send(head);
  const { status } = await client.answer();
  return [status, performance.now() - startMs];
}

/** Sends a beginning of a message behind a whole one, and waits for the Close. Returns its code and the time. */
async function endedLate(lab: Lab, ...beginning: Uint8Array[]): Promise<number[]> {
  using client = await WebSocketClient.open(lab.shared.port, DEADLINE_MS + LATE_MS);
  const startMs = performance.now();
  await client.send(...beginning);
  for (;;) {
    const { opcode, code } = await client.frame();
    if (opcode === CLOSE) return [code, performance.now() - startMs];
  }
}

function areInTime(ends: number[][], code: number): void {
  for (const [ended, ms] of ends) {
    assertEquals(ended, code);
    assertGreater(ms, DEADLINE_MS - 100); // clocks have ticks
    assertLess(ms, DEADLINE_MS + LATE_MS);
  }
}

const DEADLINES: Check[] = [{
  says: "answers a handshake that is not complete after 10 s with 408, whether it has begun or not",
  id: "handshake-deadline" as const,
  begins: begin("handshake", (lab) => [refusedLate(lab, ""), refusedLate(lab, handshake().slice(0, -2))]),
  async holds(lab: Lab) {
    areInTime(await begun.handshake.get(lab.experiment.name)!, 408);
  },
}, {
  says: "ends a message or a frame that is not whole after 10 s with 1008, and nobody else",
  id: "message-deadline" as const,
  begins: begin("message", (lab) => [
    endedLate(lab, maskedFrame(TEXT, "begun", { isFinal: false })),
    endedLate(lab, maskedFrame(TEXT, "begun").subarray(0, 8)),
    endedLate(lab, maskedFrame(TEXT, "begun", { isFinal: false }), maskedFrame(PING), maskedFrame(PONG)),
  ]),
  async holds(lab: Lab) {
    using listening = await open(lab);
    areInTime(await begun.message.get(lab.experiment.name)!, 1008);
    await listening.send(maskedFrame(PING, "still here?"));
    assertEquals(await pongOf(listening), "still here?");
  },
}, {
  says: "closes a connection whose peer has its last frame, and does not close",
  id: "close-deadline" as const,
  linux: true as const,
  async holds(lab: Lab) {
    const { port } = lab.shared;
    using polite = await open(lab);
    using rude = await open(lab);
    using refused = await WebSocketClient.connect(port, lab.patienceMs);
    await polite.send(maskedFrame(CLOSE, closing(1000)));
    assertEquals((await polite.frame()).code, 1000);
    await rude.send(maskedFrame(BINARY, "x"));
    assertEquals((await rude.frame()).code, 1003);
    await refused.send(handshake({}, "GET /nowhere HTTP/1.1"));
    assertEquals((await refused.answer()).status, 404);
    for (const client of [polite, rude, refused]) {
      await until(() => !isHeld(port, client.port), lab.patienceMs, "the server to close");
    }
  },
}].map(push);

/** Waits for a pong: messages may come before. */
async function pongOf(client: WebSocketClient): Promise<string> {
  for (;;) {
    const { opcode, text } = await client.frame();
    if (opcode === PONG) return text;
  }
}

// ---- Frames --------------------------------------------------------------------------------------------------------------

const part = { isFinal: false };
const LONE = [0x80], OVERLONG = [0xc0, 0xaf], SURROGATE = [0xed, 0xa0, 0x80], BEYOND = [0xf4, 0x90, 0x80, 0x80];
const BROKEN_TEXTS = [
  LONE,
  OVERLONG,
  SURROGATE,
  BEYOND,
  ...[[0xbf], [0xfe], [0xff], [0xc3, 0x28]],
  ...[[0xc3], [0xe2, 0x82], [0xf0, 0x90, 0x80]], // characters without their last byte
  ...[[0xc1, 0xbf], [0xe0, 0x80, 0x80], [0xe0, 0x9f, 0xbf], [0xf0, 0x80, 0x80, 0x80], [0xf0, 0x8f, 0xbf, 0xbf]], // overlong
  ...[[0xed, 0xaf, 0xbf], [0xed, 0xb0, 0x80], [0xed, 0xbf, 0xbf], [...SURROGATE, 0xed, 0xb0, 0x80]], // surrogates
  ...[[0xf8, 0x88, 0x80, 0x80, 0x80], [0xfc, 0x84, 0x80, 0x80, 0x80, 0x80], [0xf7, 0xbf, 0xbf, 0xbf]], // beyond U+10FFFF
  [...new TextEncoder().encode("κόσμε"), ...SURROGATE, 0x65],
];
/** The first and the last characters of each length, those beside the surrogates, and some that stand for nothing. */
const BORDERS = [
  0x00,
  0x7f,
  0x80,
  0x7ff,
  0x800,
  0xd7ff,
  0xe000,
  0xfdd0,
  0xfffd,
  0xfffe,
  0xffff,
  0x10000,
  0x1fffe,
  0x10ffff,
];

const wrong = (says: string, code: number, ...stream: Uint8Array[]): [string, number, ...Uint8Array[]] => [
  says,
  code,
  ...stream,
];

const WRONG: [says: string, code: number, ...stream: Uint8Array[]][] = [
  ["a frame that is not masked", 1002, maskedFrame(TEXT, "x", { mask: null })],
  ...[1, 2, 3, 4, 5, 6, 7].map((reserved, i) => {
    const opcode = [TEXT, TEXT, PING, PONG, CLOSE, CONTINUATION, BINARY][i]!;
    return wrong(`reserved bits ${reserved} with opcode ${opcode}`, 1002, maskedFrame(opcode, "", { reserved }));
  }),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap((opcode) => [
    wrong(`opcode ${opcode}`, 1002, maskedFrame(opcode)),
    wrong(`opcode ${opcode} with a payload`, 1002, maskedFrame(opcode, "x")),
    wrong(`opcode ${opcode} amid a message`, 1002, maskedFrame(TEXT, "x", part), maskedFrame(opcode, "x")),
  ]),
  ["a fragmented ping", 1002, maskedFrame(PING, "", part)],
  ["a fragmented pong", 1002, maskedFrame(PONG, "", part)],
  ["a fragmented Close", 1002, maskedFrame(CLOSE, closing(1000), part)],
  ["a ping of 126 bytes", 1002, maskedFrame(PING, "x".repeat(126))],
  ["a Close of 126 bytes", 1002, maskedFrame(CLOSE, closing(1000, "x".repeat(124)))],
  ["a continuation of nothing", 1002, maskedFrame(CONTINUATION, "x")],
  ["a first fragment that continues nothing", 1002, maskedFrame(CONTINUATION, "x", part)],
  ["an empty continuation of nothing", 1002, maskedFrame(CONTINUATION)],
  ["a message within a message", 1002, maskedFrame(TEXT, "x", part), maskedFrame(TEXT, "y")],
  ["a length of 16 bits for 5", 1002, maskedFrame(TEXT, "hello", { lengthBytes: 2 })],
  ["a length of 64 bits for 5", 1002, maskedFrame(TEXT, "hello", { lengthBytes: 8 })],
  ["a length with its first bit set", 1002, maskedFrame(TEXT, "x", { lengthBytes: 8, length: 2n ** 63n })],
  ...BROKEN_TEXTS.map((bytes) => wrong(`the text ${bytes}`, 1007, maskedFrame(TEXT, bytes))),
  ["a text that is broken between fragments", 1007, maskedFrame(TEXT, [0xc3], part), maskedFrame(CONTINUATION, "x")],
  ["a broken text before its end", 1007, maskedFrame(TEXT, [0xc3, 0x28], part)],
];

const BIGS: [says: string, ...stream: Uint8Array[]][] = [
  ["a frame of 65 536 bytes", maskedFrame(TEXT, "x".repeat(MAX_MESSAGE + 1))],
  ["a frame of 2^62 bytes", maskedFrame(TEXT, "x", { lengthBytes: 8, length: 2n ** 62n })],
  ["fragments of 65 536 bytes", maskedFrame(TEXT, "x".repeat(MAX_MESSAGE), part), maskedFrame(CONTINUATION, "x")],
];

const ECHOED = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
const IMPOSSIBLE = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];

/** Sends a stream of frames and returns the code that ends the connection. */
async function codeOf(lab: Lab, ...stream: (string | Uint8Array)[]): Promise<number> {
  using client = await open(lab);
  await client.send(...stream);
  return await client.closed();
}

/** Frames of which every byte is a place to cut at: fragments, a ping between them, and a character across them. */
const PIECES = [
  maskedFrame(TEXT, [...new TextEncoder().encode("a€")].slice(0, 3), part),
  maskedFrame(PING, "between"),
  maskedFrame(CONTINUATION, [...new TextEncoder().encode("a€")].slice(3), part),
  maskedFrame(CONTINUATION, "", part),
  maskedFrame(CONTINUATION, "z".repeat(130)),
  maskedFrame(TEXT, "b"),
];
const PIECES_TEXT = "a€" + "z".repeat(130);
const STREAM = Uint8Array.from(PIECES.flatMap((frame) => [...frame]));
/** Every place to cut at, but for those amid the long payload. */
const LONG_FROM = STREAM.length - PIECES[5]!.length - 120, LONG_TO = LONG_FROM + 110;
const CUTS = Array.from({ length: STREAM.length }, (_, at) => at).filter((at) =>
  at > 0 && (at < LONG_FROM || at > LONG_TO)
);

async function seesPieces(client: WebSocketClient, says: string): Promise<void> {
  const pong = await client.frame();
  assertEquals([pong.opcode, pong.text], [PONG, "between"], says);
  assertEquals([await client.text(), await client.text()], [PIECES_TEXT, "b"], says);
}

// ---- Streams that are right, by the groups that test suites of the protocol have ------------------------------------------

const text = (payload: Fuzzed["payload"] | string, isFinal = true, opcode = TEXT): Fuzzed => ({
  opcode,
  payload: typeof payload === "string" ? new TextEncoder().encode(payload) : payload,
  isFinal,
});
const more = (payload: Fuzzed["payload"] | string, isFinal = false) => text(payload, isFinal, CONTINUATION);
const ping = (payload: Fuzzed["payload"] | string = "") => text(payload, true, PING);
const pong = (payload: Fuzzed["payload"] | string = "") => text(payload, true, PONG);
const closeFrame = (code: number, reason = "") => text(Uint8Array.from(closing(code, reason)), true, CLOSE);
/** A text in fragments of so many bytes. */
function fragments(whole: string, bytes: number): Fuzzed[] {
  const all = new TextEncoder().encode(whole), count = Math.max(1, Math.ceil(all.length / bytes));
  return Array.from({ length: count }, (_, i) => {
    const payload = all.subarray(i * bytes, (i + 1) * bytes);
    return text(payload, i === count - 1, i === 0 ? TEXT : CONTINUATION);
  });
}
const repeat = (count: number, make: (i: number) => Fuzzed) => Array.from({ length: count }, (_, i) => make(i));

const ALL_BYTES = Uint8Array.from({ length: 125 }, (_, i) => 255 - i); // no UTF-8
const KOSME = "κόσμε 🦕 ሀ";

/** Streams in which all is right: what must come back is what {@linkcode expectedFrames} says. */
const RIGHT: Record<string, [says: string, ...frames: Fuzzed[]][]> = {
  framing: [
    ...[0, 1, 125, 126, 127, 128, 255, 256, 4095, 4096, 16_384, 65_534, 65_535].map((length) =>
      [`a text of ${length} bytes`, text("x".repeat(length))] as [string, Fuzzed]
    ),
  ],
  "pings and pongs": [
    ["an empty ping", ping()],
    ["a ping of text", ping("Hello, world!")],
    ["a ping of bytes that are no UTF-8", ping(ALL_BYTES)],
    ["an empty pong that nobody asked for", pong()],
    ["a pong that nobody asked for, then a ping", pong("unasked"), ping("asked")],
    ["ten pings", ...repeat(10, (i) => ping(`ping ${i}`))],
  ],
  fragmentation: [
    ["a text in two fragments", text("one ", false), more("two", true)],
    ["three empty fragments", text("", false), more(""), more("", true)],
    ["empty fragments around a full one", text("", false), more("full"), more("", true)],
    [
      "pings and pongs between fragments",
      text("a", false),
      ping("1"),
      more("b"),
      pong("2"),
      ping("3"),
      more("c", true),
    ],
    ["two texts in fragments", ...fragments("first", 2), ...fragments("second", 1)],
  ],
  "UTF-8": [
    ["a text cut between characters", text("κό", false), more("σμ"), more("ε 🦕"), more(" ሀ", true)],
    ["a text cut into its bytes", ...fragments(KOSME, 1)],
    ...BORDERS.map((code) => [`U+${code.toString(16)}`, text(String.fromCodePoint(code))] as [string, Fuzzed]),
    ...BORDERS.map((code) =>
      [`U+${code.toString(16)} byte by byte`, ...fragments(String.fromCodePoint(code), 1)] as [string, ...Fuzzed[]]
    ),
    ["a byte order mark, which stays", text("\ufeffx")],
  ],
  closing: [
    ["a text before a Close", text("last words")],
    ["a Close, and one more", closeFrame(1000), closeFrame(1001)],
    ["a ping behind a Close", closeFrame(1000), ping("late")],
    ["a text behind a Close", closeFrame(1000), text("late")],
    ["a Close amid a message, and its end", text("begun", false), closeFrame(1000), more("ended", true)],
    ["a Close with a reason of 123 bytes", closeFrame(1000, "r".repeat(123))],
    ["a long text, a Close and a ping", text("x".repeat(MAX_MESSAGE)), closeFrame(3000), ping()],
  ],
  limits: [
    ...[64, 256, 1300, 4096, 16_384].map((bytes) =>
      [`65 535 bytes in fragments of ${bytes}`, ...fragments("é".repeat(MAX_MESSAGE >> 1) + "x", bytes)] as [
        string,
        ...Fuzzed[],
      ]
    ),
    ["300 texts at once", ...repeat(300, (i) => text(`text ${i}`))],
    ["20 fragments with a ping behind each", ...fragments("y".repeat(20), 1).flatMap((one) => [one, ping("?")])],
  ],
};

/** What the protocol fixes: the order of messages, that of pongs, and the code of the Close. A pong may pass a message. */
const fixed = (frames: readonly { opcode: number; payload: Uint8Array }[]) => ({
  messages: frames.filter(({ opcode }) => opcode < CLOSE).map(({ opcode, payload }) => ({ opcode, payload })),
  pongs: frames.filter(({ opcode }) => opcode === PONG).map(({ payload }) => payload),
  closes: frames.filter(({ opcode }) => opcode === CLOSE).map(({ payload }) => payload.subarray(0, 2)),
  isClosedLast: frames.at(-1)?.opcode === CLOSE,
});

/** Sends a stream, with a Close at its end, in pieces of so many bytes. What comes back must be what a second parser says. */
async function isAnswered(lab: Lab, says: string, frames: Fuzzed[], pieceBytes: number): Promise<void> {
  const all = [...frames, closeFrame(1000)];
  const stream = Uint8Array.from(all.flatMap(({ opcode, payload, ...how }) => [...maskedFrame(opcode, payload, how)]));
  using client = await open(lab);
  const answered = client.rest();
  answered.catch(() => {}); // it is awaited below
  try {
    for (let at = 0; at < stream.length; at += pieceBytes) await client.send(stream.subarray(at, at + pieceBytes));
  } catch (error) {
    if (!(error instanceof BrokenPromise)) throw error; // it has closed: what came back says whether it was right to
  }
  const { frames: seen } = await answered; // what is sent behind a Close may have the connection reset
  assertEquals(fixed(seen), fixed(expectedFrames(all, MAX_MESSAGE)), says);
}

const GROUPS: Check[] = Object.entries(RIGHT).map(([group, streams]) => ({
  says: `answers the streams of the group "${group}" as a second parser does`,
  async holds(lab: Lab) {
    for (const [says, ...frames] of streams) {
      const bytes = frames.reduce((sum, { payload }) => sum + payload.length + 14, 0);
      for (const pieceBytes of bytes < 1000 ? [Infinity, 1, 7] : [Infinity, 997]) {
        await isAnswered(lab, `${says}, in pieces of ${pieceBytes}`, frames, pieceBytes);
      }
    }
  },
}));

const FRAME_CHECKS: Check[] = [...GROUPS, {
  says: "answers fragments with a ping behind each, and a Close, that come at once",
  id: "pings-before-close" as const,
  async holds(lab: Lab) {
    const frames = fragments("y".repeat(PINGS), 1).flatMap((one) => [one, ping("?")]);
    await isAnswered(lab, `${PINGS} pings`, frames, Infinity);
  },
}, {
  says: "sends a usual client what it has sent, of every length of a length",
  async holds(lab: Lab) {
    const socket = new Client(`ws://127.0.0.1:${lab.shared.port}/`);
    const texts: string[] = [];
    socket.on("message", (data: unknown, isBinary: boolean) => texts.push(isBinary ? "binary" : String(data)));
    const opened = new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
    const closed = new Promise<number>((resolve) => socket.on("close", resolve));
    await within(opened, lab.patienceMs, "a connection");
    const sent = [0, 1, 125, 126, 127, 16_383, 65_535].map((length) =>
      "é".repeat(length >> 1) + "x".repeat(length & 1)
    );
    for (const text of sent) socket.send(text);
    await until(() => texts.length === sent.length, lab.patienceMs, "all messages");
    assertEquals(texts, sent);
    socket.close(3001, "done");
    assertEquals(await within(closed, lab.patienceMs, "a Close"), 3001);
  },
}, {
  says: "takes fragments that are cut at any byte",
  linux: true as const,
  async holds(lab: Lab) {
    using client = await open(lab);
    for (const cut of CUTS) {
      await client.send(STREAM.subarray(0, cut));
      await isTaken(lab, client);
      await client.send(STREAM.subarray(cut));
      await seesPieces(client, `cut at ${cut}`);
    }
  },
}, {
  says: "takes fragments that come byte by byte",
  linux: true as const,
  async holds(lab: Lab) {
    using client = await open(lab);
    const cuts = CUTS.filter((cut) => cut < LONG_FROM); // what remains comes as one: 10 s is all the time there is
    for (const [i, cut] of [...cuts, STREAM.length].entries()) {
      await client.send(STREAM.subarray(cuts[i - 1] ?? 0, cut));
      await isTaken(lab, client);
    }
    await seesPieces(client, "byte by byte");
  },
}, {
  says: "answers a ping between fragments before the message is whole, with the same payload",
  id: "ping-in-message" as const,
  async holds(lab: Lab) {
    using client = await open(lab);
    await client.send(maskedFrame(TEXT, "first, ", part));
    for (const length of [0, 1, 124, 125]) {
      await client.send(maskedFrame(PING, "p".repeat(length)), maskedFrame(PONG, "not asked for"));
      const { opcode, text } = await client.frame();
      assertEquals([opcode, text], [PONG, "p".repeat(length)]);
    }
    await client.send(maskedFrame(CONTINUATION, "last"));
    assertEquals(await client.text(), "first, last");
  },
}, {
  says: "answers each violation with a Close of the right code, and closes",
  id: "exact-frames" as const,
  async holds(lab: Lab) {
    for (const [says, code, ...stream] of WRONG) assertEquals(await codeOf(lab, ...stream), code, says);
  },
}, {
  says: "refuses binary messages with 1003",
  id: "texts-only" as const,
  async holds(lab: Lab) {
    assertEquals(await codeOf(lab, maskedFrame(BINARY, "x")), 1003);
  },
}, {
  says: "refuses a message over 65 535 bytes with 1009, and takes one of so many",
  id: "bound-message" as const,
  async holds(lab: Lab) {
    for (const [says, ...stream] of BIGS) assertEquals(await codeOf(lab, ...stream), 1009, says);
    using client = await open(lab);
    const half = "x".repeat(MAX_MESSAGE >> 1);
    await client.send(maskedFrame(TEXT, half, part), maskedFrame(CONTINUATION, half + "y"));
    assertEquals(await client.text(), half + half + "y");
  },
}, {
  says: "answers a Close with its code, one without a code with none, and an impossible one with 1002",
  id: "exact-close" as const,
  async holds(lab: Lab) {
    for (const code of ECHOED) assertEquals(await codeOf(lab, maskedFrame(CLOSE, closing(code, "é"))), code);
    for (const code of IMPOSSIBLE) assertEquals(await codeOf(lab, maskedFrame(CLOSE, closing(code))), 1002, `${code}`);
    assertEquals(await codeOf(lab, maskedFrame(CLOSE), maskedFrame(TEXT, "ignored")), 0);
    assertEquals(await codeOf(lab, maskedFrame(CLOSE, [3])), 1002);
    assertEquals(await codeOf(lab, maskedFrame(CLOSE, [...closing(1000), ...SURROGATE])), 1007);
  },
}, {
  says: "ends a message that is not whole in time with 1008",
  copies: true as const,
  concerns: (source: string) => PATIENCE.test(source),
  async holds(lab: Lab) {
    await using copy = await lab.changed((source) => source.replace(PATIENCE, SHORT_PATIENCE));
    for (const begun of [maskedFrame(TEXT, "x", part), maskedFrame(TEXT, "xyz").subarray(0, 8), Uint8Array.of(0x81)]) {
      using client = await open(lab, copy.server.port);
      await client.send(maskedFrame(TEXT, "whole"), begun);
      assertEquals(await client.text(), "whole");
      assertEquals(await client.closed(), 1008);
    }
  },
}].map(push);

// ---- Fuzz ----------------------------------------------------------------------------------------------------------------

const opcodes = fc.constantFrom(TEXT, TEXT, TEXT, CONTINUATION, CONTINUATION, PING, PING, PONG, CLOSE, BINARY, 3, 12);
const utf8Bytes = fc.string({ unit: "grapheme", maxLength: 40 }).map((text) => new TextEncoder().encode(text));
const longBytes = fc.integer({ min: 120, max: 300 }).map((length) => new Uint8Array(length).fill(0x61));
const payloads = fc.oneof(
  { weight: 6, arbitrary: utf8Bytes },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 8 }) },
  { weight: 1, arbitrary: longBytes },
);
/** Mostly right: else the first frame would end most streams. */
const rarely = <T>(usual: T, other: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 60, arbitrary: fc.constant(usual) }, {
    weight: 1,
    arbitrary: other,
  });
const mask = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));
const usualOrNoMask = fc.oneof({ weight: 60, arbitrary: mask }, { weight: 1, arbitrary: fc.constant(null) });
const anyFrame: fc.Arbitrary<Fuzzed> = fc.record({
  opcode: opcodes,
  payload: payloads,
  isFinal: fc.boolean(),
  reserved: rarely(0, fc.nat(7)),
  mask: usualOrNoMask,
});
/** Turns a frame so that it goes on with what the one before has begun, for most of them. */
function plausible(frames: Fuzzed[], luck: boolean[]): Fuzzed[] {
  let isInMessage = false;
  return frames.map((frame, i) => {
    const { opcode } = frame;
    if (opcode >= CLOSE) return luck[i] ? { ...frame, isFinal: true, payload: frame.payload.subarray(0, 125) } : frame;
    const right = luck[i] ? { ...frame, opcode: isInMessage ? CONTINUATION : TEXT } : frame;
    isInMessage = !right.isFinal;
    return right;
  });
}
const streams = fc.record({
  frames: fc.array(anyFrame, { minLength: 1, maxLength: 2 * FRAMES_IN_CASE }),
  luck: fc.array(rarely(true, fc.constant(false)), { minLength: 2 * FRAMES_IN_CASE, maxLength: 2 * FRAMES_IN_CASE }),
  cuts: fc.array(fc.nat(), { maxLength: 6 }),
}).map(({ frames, luck, cuts }) => {
  const last: Fuzzed = { opcode: CLOSE, payload: Uint8Array.from(closing(1000)), isFinal: true };
  return { frames: [...plausible(frames, luck), last], cuts };
});

const FUZZ: Check[] = [{
  says: "answers any frames in any pieces as a second parser does",
  id: "any-frames" as const,
  async holds(lab: Lab) {
    const property = fc.asyncProperty(streams, async ({ frames, cuts }) => {
      const stream = Uint8Array.from(frames.flatMap(({ opcode, payload, ...how }) => [
        ...maskedFrame(opcode, payload, how),
      ]));
      using client = await open(lab);
      let at = 0;
      for (const cut of [...cuts.map((cut) => cut % stream.length).sort((a, b) => a - b), stream.length]) {
        await client.send(stream.subarray(at, cut));
        if (cut < stream.length && Deno.build.os === "linux") await isTaken(lab, client);
        at = cut;
      }
      const { frames: seen, end } = await client.rest();
      const shown = seen.map(({ opcode, payload }) => ({ opcode, payload }));
      assertEquals([shown, end], [expectedFrames(frames, MAX_MESSAGE), "end"]);
    });
    const numRuns = Math.ceil(frames / FRAMES_IN_CASE);
    const isExpected = lab.cannot("any-frames"); // then always the same frames, and no search for the fewest
    const plan = { numRuns, seed: isExpected ? 1 : seed, endOnFailure: isExpected };
    const { failed, counterexample, errorInstance } = await fc.check(property, plan);
    if (failed) throw new BrokenPromise(`With --seed=${seed}, ${JSON.stringify(counterexample)}: ${errorInstance}`);
  },
}].map(push);

// ---- One message to all --------------------------------------------------------------------------------------------------

/** Every listener takes as many messages. */
const takeAll = (clients: readonly WebSocketClient[], count: number) =>
  Promise.all(clients.map(async (client) => {
    const texts: string[] = [];
    while (texts.length < count) texts.push(await client.text());
    return texts;
  }));

/** Sends messages until listeners that do not read are dropped: all others have each one before the next leaves. */
async function sendUntilDropped(
  lab: Lab,
  port: number,
  readers: readonly WebSocketClient[],
  deaf: readonly SmallClient[],
) {
  let held = [...deaf], sent = 0;
  const areDropped = () => (held = held.filter((one) => serverEnd(port, one.port) !== null)).length === 0;
  while (!areDropped() && sent < MAX_BIG) {
    await readers[0]!.send(maskedFrame(TEXT, `${sent}:`.padEnd(BIG, "x")));
    const texts = await within(takeAll(readers, 1), lab.patienceMs, "all that read to have a message");
    assert(texts.every(([text]) => text!.startsWith(`${sent}:`)));
    sent++;
  }
  return { held: held.length, sent };
}

/** Listeners that read late or never: their sockets take little. */
async function openDeaf(lab: Lab, count: number, port: number, stack: DisposableStack): Promise<SmallClient[]> {
  const deaf = Array.from({ length: count }, () => stack.use(new SmallClient(port, PATIENCE_MS)));
  for (const one of deaf) {
    one.send(handshake());
    await until(() => (serverEnd(port, one.port)?.unread ?? 1) === 0, lab.patienceMs, "a handshake");
  }
  return deaf;
}

const LATE_TEXTS = Array.from({ length: LATE_MESSAGES }, (_, i) => `${i}:`.padEnd(LATE_BYTES, "x"));
/** What a listener gets that closes behind those. */
const LATE_STREAM = new TextDecoder("latin1").decode(Uint8Array.from([
  ...LATE_TEXTS.flatMap((text) => [0x81, 126, LATE_BYTES >> 8, LATE_BYTES & 255, ...new TextEncoder().encode(text)]),
  ...[0x88, 2, ...closing(1000)],
]));

/** Sends messages while some do not read; then these close, and must have got all of it. */
async function sendToLate(client: WebSocketClient, late: readonly SmallClient[]): Promise<void> {
  for (const text of LATE_TEXTS) {
    await client.send(maskedFrame(TEXT, text));
    assertEquals(await client.text(), text);
  }
  for (const one of late) {
    one.send(maskedFrame(CLOSE, closing(1000)));
    const { text, end } = await one.readAll();
    const stream = text.slice(text.indexOf("\r\n\r\n") + 4);
    assert(stream === LATE_STREAM, `of ${LATE_STREAM.length} bytes ${stream.length} came, or others`);
    assert(end, "the connection ended by a reset");
  }
}

/** Some publish at once: all get every message once, and in the same order. */
async function haveOneOrder(lab: Lab, clients: readonly WebSocketClient[]): Promise<void> {
  const taking = takeAll(clients, PUBLISHERS * MESSAGES);
  await Promise.all(
    clients.slice(0, PUBLISHERS).map(async (client, publisher) => {
      for (let i = 0; i < MESSAGES; i++) await client.send(maskedFrame(TEXT, `${publisher} ${i}`));
    }),
  );
  const [first, ...others] = await within(taking, 3 * lab.patienceMs, "all messages");
  for (const texts of others) assertEquals(texts, first);
  for (let publisher = 0; publisher < PUBLISHERS; publisher++) {
    const own = first!.filter((text) => text.startsWith(`${publisher} `));
    assertEquals(own, Array.from({ length: MESSAGES }, (_, i) => `${publisher} ${i}`));
  }
}

// Of a server whose ring may be made smaller than it is.
const SUBMISSIONS = /const SUBMISSIONS = \d+;/, COMPLETIONS = /const COMPLETIONS = \d+;/;
const HOLDING = /const isHolding = \(\) => ([^;]+);/;

/** A copy with queues of a few entries, which counts how often completions did not fit. */
const withSmallRing = (source: string) =>
  source.replace(SUBMISSIONS, `const SUBMISSIONS = ${SMALL_QUEUE};`)
    .replace(COMPLETIONS, `const COMPLETIONS = ${2 * SMALL_QUEUE};`)
    .replace(HOLDING, 'const isHolding = () => ($1) && countError("OVERFLOW") > 0;');

/** Listeners that come at once to a server that has descriptors for some of them only. */
class Crowd implements AsyncDisposable {
  /** Those that are served. */
  readonly inside: WebSocketClient[] = [];
  /** Those that wait for an answer to their handshake. */
  readonly outside = new Set<WebSocketClient>();
  /** How many were turned away. */
  lost = 0;
  readonly #all = new DisposableStack();

  private constructor(readonly server: Server) {}

  /** Resolves when no more of them are let in. */
  static async gather(lab: Lab): Promise<Crowd> {
    const limit = sample(lab.shared.pid)!.descriptors + SPARE_DESCRIPTORS;
    const crowd = new Crowd(await lab.fresh({ prlimit: [`--nofile=${limit}`] }));
    for (let i = 0; i < limit; i++) await crowd.#add();
    await until(() => crowd.inside.length > 0, lab.patienceMs, "one of many to be let in");
    for (let before = -1; before !== crowd.inside.length;) {
      before = crowd.inside.length;
      await delay(STALL_MS);
    }
    return crowd;
  }

  /** Has one more come. It waits as long as it has to. */
  async #add(): Promise<void> {
    const client = await this.#connect();
    if (client === null) return;
    this.outside.add(client);
    this.#enter(client);
  }

  async #connect(): Promise<WebSocketClient | null> {
    try {
      return this.#all.use(await WebSocketClient.connect(this.server.port, 3 * PATIENCE_MS));
    } catch (error) {
      if (!(error instanceof BrokenPromise)) throw error;
      this.lost++;
      return null;
    }
  }

  async #enter(client: WebSocketClient): Promise<void> {
    try {
      await client.send(handshake());
      await client.switched();
      this.inside.push(client);
    } catch (error) {
      if (!(error instanceof BrokenPromise)) throw error;
      this.lost++;
    } finally {
      this.outside.delete(client);
    }
  }

  /** Has those inside leave, then those who are let in for them, until nobody is left. */
  async leave(lab: Lab): Promise<void> {
    while (this.outside.size > 0 || this.inside.length > 0) {
      const before = this.outside.size;
      for (const client of this.inside.splice(0)) client[Symbol.dispose]();
      await until(() => this.outside.size < before || before === 0, lab.patienceMs, "others to be let in");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#all.dispose();
    await until(() => this.outside.size === 0, PATIENCE_MS, "all to have left");
    await this.server[Symbol.asyncDispose]();
  }
}

const BROADCAST: Check[] = [{
  says: `sends the messages of ${PUBLISHERS} clients to ${LISTENERS} in one order`,
  id: "one-order" as const,
  async holds(lab: Lab) {
    using stack = new DisposableStack();
    const clients = await openMany(lab, LISTENERS, lab.shared.port, stack);
    await haveOneOrder(lab, clients);
  },
}, {
  says: "sends a message to all listeners, and to no client that has left or has not shaken hands",
  async holds(lab: Lab) {
    using silent = await WebSocketClient.connect(lab.shared.port, lab.patienceMs);
    using leaving = await open(lab);
    using staying = await open(lab);
    await leaving.send(maskedFrame(CLOSE, closing(1000)));
    assertEquals(await leaving.closed(), 1000);
    await staying.send(maskedFrame(TEXT, "who is there?"));
    assertEquals(await staying.text(), "who is there?");
    await silent.send(handshake());
    await silent.switched();
  },
}, {
  says:
    `drops ${DEAF} of ${LISTENERS} listeners that do not read, within a bound of memory, and the others lose nothing`,
  id: "drop-non-reader" as const,
  linux: true as const,
  async holds(lab: Lab) {
    await using server = await lab.fresh();
    using stack = new DisposableStack();
    const readers = await openMany(lab, LISTENERS - DEAF, server.port, stack);
    const deaf = await openDeaf(lab, DEAF, server.port, stack);
    const before = sample(server.pid)!.rss_bytes;
    const { held, sent } = await sendUntilDropped(lab, server.port, readers, deaf);
    assertEquals(held, 0, `still held after ${sent} messages of ${BIG} bytes`);
    assertLess(sample(server.pid)!.rss_bytes - before, MEMORY_BOUND);
    await readers[0]!.send(maskedFrame(TEXT, "and on"));
    assertEquals((await takeAll(readers, 1)).flat(), readers.map(() => "and on"));
    const { stopped, code } = await server.stop();
    const counted = lab.cannot("count-errors") ? {} : { MAX_UNSENT: DEAF };
    assertEquals([code, stopped?.errors], [0, counted]);
  },
}, {
  says: "sends a listener that reads late all messages, whole and in order",
  linux: true as const,
  async holds(lab: Lab) {
    using stack = new DisposableStack();
    const late = await openDeaf(lab, 1, lab.shared.port, stack);
    using client = await open(lab);
    await sendToLate(client, late);
  },
}, {
  says: `sends to ${LISTENERS} by a ring of ${SMALL_QUEUE} entries: every message once, and in one order`,
  copies: true as const,
  concerns: (source: string) => SUBMISSIONS.test(source),
  async holds(lab: Lab) {
    await using copy = await lab.changed((source) =>
      source.replace(SUBMISSIONS, `const SUBMISSIONS = ${SMALL_QUEUE};`)
    );
    using stack = new DisposableStack();
    await haveOneOrder(lab, await openMany(lab, LISTENERS, copy.server.port, stack));
  },
}, {
  says: `loses nothing while completions overflow: ${OVERFLOWING} that read late get every message, whole and in order`,
  copies: true as const,
  concerns: (source: string) => SUBMISSIONS.test(source),
  async holds(lab: Lab) {
    await using copy = await lab.changed(withSmallRing);
    {
      using stack = new DisposableStack();
      const late = await openDeaf(lab, OVERFLOWING, copy.server.port, stack);
      using client = await open(lab, copy.server.port);
      await sendToLate(client, late);
    }
    const { stopped, code } = await copy.server.stop();
    assertEquals(code, 0);
    assertGreater(stopped?.errors.OVERFLOW ?? 0, 0); // else this was no test
  },
}, {
  says: `takes leave of ${2 * OVERFLOWING} that are full, while completions overflow, behind what each has to get`,
  copies: true as const,
  concerns: (source: string) => SUBMISSIONS.test(source),
  async holds(lab: Lab) {
    // Sockets take little, so that all are full at once; and it stops as if SIGTERM had come during the broadcast. It waits
    // long for those that read: on a busy machine 80 of them take more than a second.
    const nodelay = '[IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"],', small = '[SOL_SOCKET, 7, 4096, "SO_SNDBUF"],';
    await using copy = await lab.changed((source) =>
      withSmallRing(source).replace(nodelay, nodelay + small)
        .replace("if (stopping && stopAtMs", "if ((stopping ||= counts.served > 0) && stopAtMs")
        .replace("const STOP_MS = 1000;", "const STOP_MS = 8000;")
    );
    const { server } = copy;
    using stack = new DisposableStack();
    const late = await openDeaf(lab, 2 * OVERFLOWING, server.port, stack);
    using client = await open(lab, server.port);
    const last = "l".repeat(BIG);
    await client.send(maskedFrame(TEXT, last));
    const whole = [0x81, 126, BIG >> 8, BIG & 255, ...new TextEncoder().encode(last), 0x88, 2, ...closing(1001)];
    const expected = new TextDecoder("latin1").decode(Uint8Array.from(whole));
    for (const { text } of await Promise.all(late.map((one) => one.readAll()))) {
      const stream = text.slice(text.indexOf("\r\n\r\n") + 4);
      assert(stream === expected, `of ${expected.length} bytes ${stream.length} came, or others`);
    }
    await within(server.exited, lab.patienceMs, "the end of the server");
    const { stopped, code } = await server.stop();
    assertEquals([code, stopped?.served], [0, 1]);
    assertGreater(stopped?.errors.OVERFLOW ?? 0, 0); // else this was no test
  },
}, {
  says: "runs out of descriptors, serves those it has without a spin, and lets others in when some leave",
  id: "recover-emfile" as const,
  needs: "prlimit" as const,
  linux: true as const,
  async holds(lab: Lab) {
    await using crowd = await Crowd.gather(lab);
    const { server, inside } = crowd;
    const rests = async () => {
      const before = cpuUs(server.pid)!;
      await delay(300); // the length of the measurement
      return cpuUs(server.pid)! - before < QUIET_SHARE * 300_000;
    };
    await until(rests, lab.patienceMs, "the server to rest");
    await inside[0]!.send(maskedFrame(TEXT, "full house"));
    assertEquals((await takeAll(inside, 1)).flat(), inside.map(() => "full house"));
    await crowd.leave(lab);
    // Where the listener was given up a new one may be refused at first.
    const isServed = () => open(lab, server.port).then((client) => inside.push(client) > 0, () => false);
    await until(isServed, lab.patienceMs, "a new client to be served");
    const { stopped, code } = await server.stop();
    assertEquals(code, 0, server.stderrTail());
    assertGreater(stopped?.errors.EMFILE ?? 0, 0);
  },
}, {
  says: "lets new clients wait when descriptors have run out, and serves them when others have left",
  id: "wait-at-emfile" as const,
  needs: "prlimit" as const,
  linux: true as const,
  async holds(lab: Lab) {
    await using crowd = await Crowd.gather(lab);
    assertGreater(crowd.outside.size, 0);
    await crowd.leave(lab);
    assertEquals(crowd.lost, 0);
  },
}, {
  says: "serves others while one client sends pings without end",
  async holds(lab: Lab) {
    using stack = new DisposableStack();
    using flooding = await open(lab);
    const [first, second] = await openMany(lab, 2, lab.shared.port, stack);
    const ping = maskedFrame(PING), flood = new Uint8Array(FLOOD * ping.length);
    for (let i = 0; i < FLOOD; i++) flood.set(ping, i * ping.length);
    const sending = flooding.send(flood);
    sending.catch(() => {}); // it may be dropped, as it does not read
    await first!.send(maskedFrame(TEXT, "heard?"));
    assertEquals(await second!.text(), "heard?");
  },
}, {
  says: "drops whoever needs more than it may keep for all, counts it, serves others, and forgets what it kept",
  copies: true as const,
  concerns: (source: string) => source.includes("const MAX_KEPT_BYTES = "),
  async holds(lab: Lab) {
    const edit = (source: string) => source.replace(/const MAX_KEPT_BYTES = [^;]+;/, "const MAX_KEPT_BYTES = 4096;");
    await using copy = await lab.changed(edit);
    const { server } = copy;
    {
      using stack = new DisposableStack();
      for (let i = 0; i < 20; i++) {
        await stack.use(await open(lab, server.port)).send(maskedFrame(TEXT, "x".repeat(900), part));
      }
      using client = await open(lab, server.port);
      await client.send(maskedFrame(TEXT, "served"));
      assertEquals(await client.text(), "served");
    }
    const isForgotten = async () => {
      using client = await open(lab, server.port);
      await client.send(maskedFrame(TEXT, "x".repeat(1000), part), maskedFrame(CONTINUATION, "x".repeat(1000)));
      try {
        return (await client.text()).length === 2000;
      } catch (error) {
        if (error instanceof BrokenPromise) return false; // dropped: the end of the others is not seen yet
        throw error;
      }
    };
    await until(isForgotten, lab.patienceMs, "a message to be kept again");
    const { stopped, code } = await server.stop();
    assertEquals(code, 0);
    assertGreater(stopped?.errors.MAX_KEPT_BYTES ?? 0, 10);
  },
}].map(push);

// ---- The end -------------------------------------------------------------------------------------------------------------

const STOPPING: Check[] = [{
  says: "has the kernel probe peers that are silent for 60 s",
  id: "keepalive" as const,
  linux: true as const,
  async holds(lab: Lab) {
    using client = await open(lab);
    const isProbed = () => {
      const { timer, timerS } = serverEnd(lab.shared.port, client.port)!;
      return timer === 2 && timerS <= KEEPALIVE_S;
    };
    await until(isProbed, lab.patienceMs, "the keepalive timer");
  },
}, {
  says: "sends 1001 on SIGTERM to all that listen, and exits with 0",
  id: "say-going-away" as const,
  stops: true as const,
  holds: (lab: Lab) =>
    inItsSecond(lab, async (server, asks) => {
      using stack = new DisposableStack();
      const clients = await openMany(lab, LISTENERS, server.port, stack);
      asks();
      const exit = server.stop();
      const codes = await Promise.all(clients.map(async (client) => {
        const code = (await client.frame()).code;
        await client.answerClose(code);
        const { frames } = await client.rest();
        client[Symbol.dispose]();
        return [code, frames.length];
      }));
      assertEquals(codes, clients.map(() => [1001, 0]));
      const { stopped, code, signal } = await exit;
      assertEquals([code, signal, stopped?.errors], [0, null, {}]);
    }),
}, {
  says: "tells in its last line truly how many messages came and were delivered",
  id: "count-delivered" as const,
  stops: true as const,
  async holds(lab: Lab) {
    await using server = await lab.fresh();
    using stack = new DisposableStack();
    const clients = await openMany(lab, 5, server.port, stack);
    for (let i = 0; i < 20; i++) await clients[i % 5]!.send(maskedFrame(TEXT, `${i}`));
    await takeAll(clients, 20);
    const { stopped } = await server.stop();
    assertEquals([stopped?.accepted, stopped?.served, stopped?.delivered], [5, 20, 100]);
  },
}, {
  says: "shows its counts and the open connections on SIGUSR1",
  id: "show-stats" as const,
  stops: true as const,
  async holds(lab: Lab) {
    await using server = await lab.fresh();
    using client = await open(lab, server.port);
    const message = maskedFrame(TEXT, "Hi");
    await client.send(message);
    assertEquals(await client.text(), "Hi");
    const bytesIn = handshake().length + message.length;
    let told: Record<string, unknown> = {};
    const isTold = async () => { // a thread may count what it has sent when the client has it already
      Deno.kill(server.leaderPid, "SIGUSR1");
      await until(() => server.lastLine().includes('"stats"'), lab.patienceMs, "a line of counts");
      told = JSON.parse(server.lastLine());
      return told.delivered === 1;
    };
    await until(isTold, lab.patienceMs, "a line with what was delivered");
    const { open: now, accepted, served, bytes_in = bytesIn, errors } = told;
    assertEquals([now, accepted, served, bytes_in, errors], [1, 1, 1, bytesIn, {}]);
  },
}, {
  says: "ends at once with exit code 1 at a second signal",
  id: "second-signal" as const,
  stops: true as const,
  async holds(lab: Lab) {
    await using server = await lab.fresh();
    using _client = await open(lab, server.port); // it does not answer the Close, and holds up the first signal
    const bothAtOnce = () => {
      for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.kill(server.leaderPid, signal);
      return Promise.resolve();
    };
    await lab.atOnce(bothAtOnce, server);
    const { code, signal } = await within(server.exited, lab.patienceMs, "the end of the server");
    assertEquals([code, signal], [1, null]);
  },
}, {
  says: "forgets whoever resets its connection",
  linux: true as const,
  async holds(lab: Lab) {
    await using server = await lab.fresh();
    const before = sample(server.pid)?.descriptors ?? 0;
    {
      using stack = new DisposableStack();
      const clients = await openMany(lab, LISTENERS, server.port, stack);
      await clients[0]!.send(maskedFrame(TEXT, "unread by all"));
      assertEquals(await clients[1]!.text(), "unread by all"); // all others close with it unread, which resets
    }
    assert(await listens(server.port));
    const isForgotten = () => (sample(server.pid)?.descriptors ?? Infinity) < before + LISTENERS / 2; // some are of the runtime
    await until(isForgotten, lab.patienceMs, "the descriptors of those that have gone");
  },
}].map(push);

await testAll([...DEADLINES, ...HANDSHAKE, ...FRAME_CHECKS, ...FUZZ, ...BROADCAST, ...STOPPING]);
