import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  Answers,
  BAD_CHUNK,
  BAD_FIELD,
  BAD_LENGTH,
  BAD_STATUS_LINE,
  BODY_TOO_LONG,
  CODING,
  CUT_SHORT,
  errorKey,
  HEAD_TOO_LONG,
  INBOX_BYTES,
  NO_HTTP,
  UNFINISHED,
} from "./response.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const CHUNKED_HEAD = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";

/** Gives `pieces` to one connection, one after the other, and returns what each was taken for. */
function take(answers: Answers, connection: number, ...pieces: string[]): number[] {
  return pieces.map((piece) => {
    const bytes = encode(piece);
    answers.inbox.set(bytes);
    return answers.take(connection, bytes.length);
  });
}

const statusOf = (text: string) => take(new Answers(), 1, text)[0];

Deno.test("an answer is found wherever it is cut in two", () => {
  for (let cut = 1; cut < HELLO.length; cut++) {
    const answers = new Answers();
    const pieces = [HELLO.slice(0, cut), HELLO.slice(cut)];
    assertEquals(take(answers, 1, ...pieces, HELLO, ...pieces), [UNFINISHED, 200, 200, UNFINISHED, 200], `cut ${cut}`);
  }
});

Deno.test("a body in chunks ends where it ends, wherever it is cut in two", () => {
  for (
    const body of [
      "0\r\n\r\n",
      "5\r\nHello\r\n06;x=y\r\n World\r\n0\r\n\r\n",
      "A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
    ]
  ) {
    const whole = CHUNKED_HEAD + body;
    for (let cut = 1; cut < whole.length; cut++) {
      const answers = new Answers();
      const pieces = [whole.slice(0, cut), whole.slice(cut)];
      assertEquals(take(answers, 1, whole, ...pieces, HELLO, ...pieces), [200, UNFINISHED, 200, 200, UNFINISHED, 200]);
      assertEquals(answers.extra, 0);
    }
    assertEquals(take(new Answers(), 1, ...whole).slice(-2), [UNFINISHED, 200]);
  }
});

Deno.test("bytes behind a body in chunks are noticed", () => {
  const answers = new Answers();
  assertEquals(take(answers, 1, CHUNKED_HEAD + "1\r\nx\r\n0\r\n\r\nHTTP"), [200]);
  assertEquals(answers.extra, 4);
});

Deno.test("an answer is found in pieces of one byte", () => {
  const found = take(new Answers(), 1, ...HELLO);
  assertEquals(found, [...Array(HELLO.length - 1).fill(UNFINISHED), 200]);
});

Deno.test("pieces of several connections do not mix", () => {
  const answers = new Answers();
  assertEquals(take(answers, 1, HELLO.slice(0, 30)), [UNFINISHED]);
  assertEquals(take(answers, 2, HELLO, HELLO.slice(0, 5)), [200, UNFINISHED]);
  assertEquals(take(answers, 1, HELLO.slice(30)), [200]);
  answers.forget(2);
  assertEquals(take(answers, 2, HELLO), [200]);
});

Deno.test("fields may come in any order and case, with any blanks around the value", () => {
  assertEquals(statusOf("HTTP/1.1 200 \r\nServer: x\r\ncontent-LENGTH:\t 2 \r\nDate: now\r\n\r\nok"), 200);
  assertEquals(statusOf("HTTP/1.0 200\r\nContent-Length:0\r\n\r\n"), 200);
  assertEquals(statusOf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"), 200);
});

Deno.test("an answer of the length of the last one is not taken for it", () => {
  const answers = new Answers();
  const other = HELLO.replace("200 OK", "503 No");
  const longer = HELLO.replace("Content-Length: 11", "Content-Length: 12");
  assertEquals(take(answers, 1, HELLO, other, HELLO, longer, "!"), [200, 503, 200, UNFINISHED, 200]);
  for (let at = 0; at < HELLO.indexOf("Hello"); at++) { // every byte of the head is compared
    const changed = `${HELLO.slice(0, at)}\0${HELLO.slice(at + 1)}`;
    assertEquals(take(answers, 1, HELLO)[0], 200);
    const known = take(answers, 1, changed)[0] === 200;
    answers.forget(1);
    const parsed = statusOf(changed) === 200;
    assertEquals(known, parsed, `byte ${at}`);
  }
});

Deno.test("a body of any size is counted and not kept", () => {
  const answers = new Answers();
  const size = 300_000;
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`;
  assertEquals(take(answers, 1, head), [UNFINISHED]);
  let left = size;
  for (; left > INBOX_BYTES; left -= INBOX_BYTES) assertEquals(answers.take(1, INBOX_BYTES), UNFINISHED);
  assertEquals(answers.take(1, left), 200);
  assertEquals(answers.extra, 0);
});

Deno.test("bytes behind an answer are noticed, whole or in pieces", () => {
  const answers = new Answers();
  assertEquals(take(answers, 1, HELLO + "HTTP/1.1"), [200]);
  assertEquals(answers.extra, 8);
  assertEquals(take(answers, 1, HELLO.slice(0, 20), HELLO.slice(20) + "!"), [UNFINISHED, 200]);
  assertEquals(answers.extra, 1);
  assertEquals(take(answers, 1, HELLO), [200]);
  assertEquals(answers.extra, 0);
});

Deno.test("what has no end that could be found is named by its cause", () => {
  const cases: [string, number, string][] = [
    ["SSH-2.0-OpenSSH", NO_HTTP, "no_http"],
    ["HTTP/2 200\r\n\r\n", NO_HTTP, "no_http"],
    ["HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n", BAD_STATUS_LINE, "bad_status_line"],
    ["HTTP/1.1 200 OK\r\nno field\r\n\r\n", BAD_FIELD, "bad_field"],
    ["HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", BAD_LENGTH, "bad_length"],
    ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", BAD_LENGTH, "bad_length"],
    ["HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nok", BAD_LENGTH, "bad_length"],
    ["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", CODING, "coding"],
    ["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", CODING, "coding"],
    [CHUNKED_HEAD + "0x5\r\nHello\r\n", BAD_CHUNK, "bad_chunk"],
    [CHUNKED_HEAD + "Hello World", BAD_CHUNK, "bad_chunk"],
    [CHUNKED_HEAD + "5\r\nHello World", BAD_CHUNK, "bad_chunk"],
    [CHUNKED_HEAD + `5;${"x".repeat(5000)}`, BAD_CHUNK, "bad_chunk"],
    ["HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", BODY_TOO_LONG, "body_too_long"],
    [`HTTP/1.1 200 OK\r\nX: ${"x".repeat(20_000)}`, HEAD_TOO_LONG, "head_too_long"],
    [`HTTP/1.1 200 OK\r\nX: ${"x".repeat(20_000)}\r\nContent-Length: 0\r\n\r\n`, HEAD_TOO_LONG, "head_too_long"],
  ];
  for (const [text, code, key] of cases) {
    assertEquals(statusOf(text), code, text.slice(0, 60));
    assertEquals(errorKey(code), key);
  }
});

Deno.test("a status other than 200 counts under its number, and 204, 304 and answers to HEAD have no body", () => {
  assertEquals(statusOf("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), 500);
  assertEquals(statusOf("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"), 302);
  assertEquals(statusOf("HTTP/1.1 204 No Content\r\n\r\n"), 204);
  assertEquals(statusOf("HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n"), 304);
  const head = new Answers(true);
  assertEquals(take(head, 1, HELLO.slice(0, -11), CHUNKED_HEAD, "HTTP/1.1 200 OK\r\n\r\n"), [200, 200, 200]);
  assertEquals(head.extra, 0);
  assertEquals(errorKey(500), "http_500");
});

Deno.test("interim answers are skipped, but for 101, behind which no HTTP follows", () => {
  const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
  const interim = hints + "HTTP/1.1 100 Continue\r\n\r\n";
  const answers = new Answers();
  assertEquals(take(answers, 1, interim + HELLO, interim, HELLO, hints + HELLO.slice(0, 4), HELLO.slice(4)), [
    200,
    UNFINISHED,
    200,
    UNFINISHED,
    200,
  ]);
  assertEquals(answers.extra, 0);
  assertEquals(statusOf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), 101);
});

Deno.test("lines that end in LF alone, and folded fields, are understood", () => {
  assertEquals(statusOf(HELLO.replaceAll("\r\n", "\n")), 200);
  assertEquals(statusOf("HTTP/1.1 200 OK\nContent-Length: 2\r\n\nok"), 200);
  assertEquals(statusOf("HTTP/1.1 200 OK\r\nX-Fold: a\r\n b\r\nContent-Length:\r\n\t2\r\n\r\nok"), 200);
  assertEquals(statusOf("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"), 200);
  assertEquals(statusOf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\0"), 200);
});

Deno.test("an answer says whether its connection ends with it", () => {
  const withFields = (version: string, ...fields: string[]) =>
    [`HTTP/${version} 200 OK`, "Content-Length: 0", ...fields, "", ""].join("\r\n");
  const cases: [string, boolean][] = [
    [withFields("1.1"), false],
    [withFields("1.1", "Connection: Close"), true],
    [withFields("1.1", "Connection: x, close"), true],
    [withFields("1.1", "Connection: keep-alive"), false],
    [withFields("1.0"), true],
    [withFields("1.0", "Connection: Keep-Alive"), false],
  ];
  const answers = new Answers();
  for (const [text, closes] of [...cases, ...cases]) {
    for (const pieces of [[text], [text], [...text]]) {
      assertEquals([take(answers, 1, ...pieces).at(-1), answers.closes], [200, closes], text);
    }
  }
});

Deno.test("an answer without a length ends with its connection, and one that lingers is found", () => {
  const answers = new Answers();
  assertEquals(take(answers, 1, "HTTP/1.1 200 OK\r\n\r\nuntil", " the end"), [UNFINISHED, UNFINISHED]);
  assertEquals([answers.end(1), answers.closes, answers.end(1)], [200, true, UNFINISHED]);
  take(answers, 2, "HTTP/1.1 503 No\r\n\r\n");
  take(answers, 3, HELLO.slice(0, 20));
  assertEquals([answers.endless(1), answers.endless(1)], [[], [2]]);
  take(answers, 2, "more");
  assertEquals(answers.endless(1), []);
  assertEquals([answers.end(2), answers.end(3)], [503, CUT_SHORT]);
  take(answers, 4, CHUNKED_HEAD + "5\r\nHel");
  assertEquals(answers.end(4), CUT_SHORT);
});

// ---- Properties ---------------------------------------------------------------------------------------------------------

/** An answer with what it is to be taken for. */
interface Made {
  text: string;
  status: number;
  closes: boolean;
  endsByClose: boolean;
}

const anyText = fc.string({ maxLength: 40 }).map((text) => text.replace(/[^ -~]/g, "x"));
const anyStatus = fc.constantFrom(200, 200, 200, 404, 503, 302, 204, 304);
const anyFields = fc.array(
  fc.constantFrom(
    "Server: x",
    "date: Thu, 01 Jan 1970 00:00:00 GMT",
    "X-Empty:",
    "X-Fold: a\r\n b",
    "Set-Cookie: a=b; c",
  ),
  { maxLength: 4 },
);

/** The text of a body in chunks. */
const chunked = (pieces: readonly string[], trailer: boolean) =>
  pieces.filter((piece) => piece !== "").map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join("") +
  `0\r\n${trailer ? "X-Sum: 1\r\n" : ""}\r\n`;

const anyAnswer: fc.Arbitrary<Made> = fc.record({
  interim: fc.array(fc.constantFrom(100, 102, 103), { maxLength: 2 }),
  minor: fc.constantFrom(0, 1, 1, 1),
  status: anyStatus,
  fields: anyFields,
  connection: fc.constantFrom(null, "close", "keep-alive", "Keep-Alive, x"),
  framing: fc.constantFrom("length", "chunks", "close"),
  pieces: fc.array(anyText, { maxLength: 4 }),
  trailer: fc.boolean(),
  bareLf: fc.boolean(),
}).map(({ interim, minor, status, fields, connection, framing, pieces, trailer, bareLf }) => {
  const bodiless = status === 204 || status === 304;
  const body = pieces.join("");
  const lines = [`HTTP/1.${minor} ${status} Some words`, ...fields];
  if (connection !== null) lines.push(`Connection: ${connection}`);
  if (framing === "length") lines.push(`Content-Length: ${body.length}`);
  if (framing === "chunks") lines.push("Transfer-Encoding: chunked");
  const heads = interim.map((code) => `HTTP/1.1 ${code} Wait\r\nX: y\r\n\r\n`).join("") + lines.join("\r\n") +
    "\r\n\r\n";
  const end = bodiless ? "" : framing === "chunks" ? chunked(pieces, trailer) : body;
  const endsByClose = !bodiless && framing === "close";
  const says = connection?.toLowerCase().startsWith("keep-alive") ? false : connection === "close" || minor === 0;
  return {
    text: (bareLf ? heads.replaceAll("\r\n", "\n") : heads) + end,
    status,
    closes: endsByClose || says,
    endsByClose,
  };
});

/** Feeds an answer in pieces. Everything before the last one has to be unfinished. */
function feed(answers: Answers, { text, status, closes, endsByClose }: Made, pieces: readonly string[]): void {
  const found = take(answers, 1, ...pieces);
  if (endsByClose) found.push(answers.end(1));
  const expected = [...Array(found.length - 1).fill(UNFINISHED), status];
  assertEquals([found, answers.closes, answers.extra], [expected, closes, 0], JSON.stringify(text));
}

Deno.test("any answer is one answer, split at every byte and at every pair of bytes", () => {
  fc.assert(
    fc.property(anyAnswer, fc.nat(), (made, at) => {
      const { text } = made;
      const answers = new Answers();
      feed(answers, made, [text]);
      feed(answers, made, [...text]);
      for (let cut = 1; cut < text.length; cut++) feed(answers, made, [text.slice(0, cut), text.slice(cut)]);
      const first = 1 + at % (text.length - 1);
      for (let cut = first + 1; cut < text.length; cut++) {
        feed(answers, made, [text.slice(0, first), text.slice(first, cut), text.slice(cut)]);
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("answers that follow each other are recognized one by one, known or not", () => {
  fc.assert(fc.property(fc.array(anyAnswer, { minLength: 1, maxLength: 6 }), (many) => {
    const answers = new Answers();
    for (const made of [...many, ...many]) feed(answers, made, [made.text]);
  }));
});

Deno.test("what any bytes are taken for does not depend on where they are cut", () => {
  const noise = fc.oneof(
    fc.string({ maxLength: 80 }),
    anyAnswer.chain(({ text }) =>
      fc.tuple(fc.nat(text.length - 1), fc.constantFrom("", "\r", "\n", "\0", "x", ":", " ", "9"))
        .map(([at, with_]) => text.slice(0, at) + with_ + text.slice(at + 1))
    ),
  ).map((text) => text.replace(/[^\0-~]/g, "x")).filter((text) => text !== "");
  const first = (answers: Answers, pieces: readonly string[]) =>
    take(answers, 1, ...pieces).find((status) => status !== UNFINISHED) ?? UNFINISHED;
  fc.assert(
    fc.property(noise, fc.nat(), (text, at) => {
      const cut = 1 + at % Math.max(text.length - 1, 1);
      const whole = first(new Answers(), [text]);
      assertEquals(first(new Answers(), [...text]), whole, JSON.stringify(text));
      if (cut < text.length) assertEquals(first(new Answers(), [text.slice(0, cut), text.slice(cut)]), whole);
    }),
    { numRuns: 500 },
  );
});
