import { assertEquals } from "@std/assert";
import { Answers, CODED, errorKey, INBOX_BYTES, MALFORMED, NO_LENGTH, TOO_LARGE, UNFINISHED } from "./response.ts";

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

Deno.test("what has no end that could be found is named", () => {
  const cases: [string, number, string][] = [
    ["SSH-2.0-OpenSSH", MALFORMED, "malformed"],
    ["HTTP/2 200\r\n\r\n", MALFORMED, "malformed"],
    ["HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n", MALFORMED, "malformed"],
    ["HTTP/1.1 200 OK\r\nno field\r\n\r\n", MALFORMED, "malformed"],
    ["HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", MALFORMED, "malformed"],
    ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", MALFORMED, "malformed"],
    ["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", CODED, "transfer_coding"],
    [CHUNKED_HEAD + "0x5\r\nHello\r\n", MALFORMED, "malformed"],
    [CHUNKED_HEAD + "5\r\nHello World", MALFORMED, "malformed"],
    [CHUNKED_HEAD + `5;${"x".repeat(5000)}`, MALFORMED, "malformed"],
    ["HTTP/1.1 200 OK\r\n\r\nuntil the end", NO_LENGTH, "no_length"],
    ["HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", TOO_LARGE, "too_large"],
    [`HTTP/1.1 200 OK\r\nX: ${"x".repeat(20_000)}`, TOO_LARGE, "too_large"],
  ];
  for (const [text, code, key] of cases) {
    assertEquals(statusOf(text), code, text.slice(0, 60));
    assertEquals(errorKey(code), key);
  }
});

Deno.test("a status other than 200 is told, and 204 and 304 have no body", () => {
  assertEquals(statusOf("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), 500);
  assertEquals(statusOf("HTTP/1.1 204 No Content\r\n\r\n"), 204);
  assertEquals(statusOf("HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n"), 304);
  assertEquals(errorKey(500), "http_500");
});
