/** What a broker's address may look like, and what a message must. */
import { assertEquals, assertThrows } from "@std/assert";
import { readBroker } from "./address.ts";
import { COMMAND, partsOf, randomId, readAnswer, readMessage, STARTED, verbSubject, WrongMessage } from "./protocol.ts";
import { KnownFailure, UsageError } from "../cli/errors.ts";

Deno.test("the address of a broker has a default port, and what is secret in it is not shown", () => {
  const plain = readBroker("nats", "nats://10.0.0.1", {});
  assertEquals([plain.servers, plain.display, plain.isTls, plain.user], [
    ["10.0.0.1:4222"],
    "nats://10.0.0.1:4222",
    false,
    null,
  ]);
  const cluster = readBroker("nats", "tls://lab:a%2Fb@one:5000,tls://two", {});
  assertEquals([cluster.servers, cluster.display], [["one:5000", "two:4222"], "tls://one:5000,tls://two:4222"]);
  assertEquals([cluster.user, cluster.pass, cluster.isTls], ["lab", "a/b", true]);
  assertEquals(readBroker("nats", "[::1]:4333", {}).servers, ["[::1]:4333"]);
});

Deno.test("what is no address of a broker, or half of an identity, is a usage error", () => {
  for (const text of ["http://10.0.0.1", "nats://", "nats://a/b", "nats://a,ftp://b"]) {
    assertThrows(() => readBroker("fleet", text, {}), UsageError, "--fleet ");
  }
  assertThrows(() => readBroker("nats", "a", { creds: "x", nkey: "y" }), UsageError, "one of the two");
  assertThrows(() => readBroker("nats", "a", { "tls-cert": "x" }), UsageError, "belong together");
  assertThrows(() => readBroker("nats", "a", { creds: "/missing.creds" }), KnownFailure, "Cannot read --creds");
});

Deno.test("a message of another form is refused with the place where it differs", () => {
  const wrong = (json: string, says: string) => assertThrows(() => readMessage(COMMAND, json), WrongMessage, says);
  const good = { name: "connect", options: { count: 3, timeoutMs: 5 } };
  assertEquals(readMessage(COMMAND, JSON.stringify(good)), good as never);
  wrong("{", "it is no JSON");
  wrong(JSON.stringify({ ...good, name: "format_disk" }), "name");
  wrong(JSON.stringify({ ...good, options: { count: -1, timeoutMs: 5 } }), "options.count");
  wrong(JSON.stringify({ ...good, options: { count: 3, timeoutMs: 5, more: 1 } }), "options.more");
  wrong(JSON.stringify({ name: "open", options: { startUs: 0 } }), "options.");
  assertEquals(readAnswer(STARTED, `{"refused":"no"}`), { refused: "no" });
  assertThrows(() => readAnswer(STARTED, `{"offsets_us":[]}`), WrongMessage);
});

Deno.test("a subject says which run, which agent and what is asked", () => {
  const [run, agent] = [randomId(), randomId()];
  assertEquals(partsOf(verbSubject(run, agent, "do")), { run, verb: "do" });
  assertEquals(partsOf(`c10k.run.${run}.${agent}.format`).verb, null);
  assertEquals([run.length, run === agent], [16, false]);
});
