import { assertEquals } from "@std/assert";
import { milliseconds, readMessage, writeMessage } from "./message.ts";

Deno.test("a message is read as it was written", () => {
  const message = { name: "Ødegård", text: '안녕하세요 "مرحبا" 👋\n', from: "x", sent_ms: 1.5 };
  assertEquals(readMessage(writeMessage(message)), message);
});

Deno.test("what another client sends is a text, whatever it is", () => {
  for (const text of ["Hi", "{", "null", "7", "[]", '{"text":"x"}', '{"name":"","text":1,"from":"","sent_ms":0}']) {
    assertEquals(readMessage(text), { name: "", text, from: "", sent_ms: null });
  }
});

Deno.test("a delivery is written with a tenth of a millisecond, and not where the clocks disagree", () => {
  assertEquals([0, 1.26, 1234, null, -1].map(milliseconds), ["0.0 ms", "1.3 ms", "1234.0 ms", "–", "–"]);
});
