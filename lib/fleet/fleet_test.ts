/** What a broker's address may look like, and what a message must. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { readBroker } from "./address.ts";
import { silentIn } from "./coordinator.ts";
import { COMMAND, partsOf, randomId, readAnswer, readMessage, STARTED, verbSubject, WrongMessage } from "./protocol.ts";
import { passOn } from "./relaunch.ts";
import { KnownFailure, UsageError } from "../cli/errors.ts";
import { folder } from "../testing/folder.ts";

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
  assertThrows(() => readBroker("nats", "a", { creds: "x", nkey: "y" }), UsageError, "one of them");
  assertThrows(() => readBroker("nats", "lab:x@a", { login: "x" }), UsageError, "or a user in --nats");
  assertThrows(() => readBroker("nats", "a", { "tls-cert": "x" }), UsageError, "belong together");
  assertThrows(() => readBroker("nats", "a", { creds: "/missing.creds" }), KnownFailure, "Cannot read --creds");
});

Deno.test("what may hold a password is not shown where it cannot be read", () => {
  for (
    const text of ["http://lab:s3cret@a", "nats://lab:s3,cret@a", "nats://lab:s3/cret@a", "nats://lab:%zzs3cret@a"]
  ) {
    const { message } = assertThrows(() => readBroker("nats", text, {}), UsageError);
    assert(message.startsWith("--nats") && !/s3|cret/.test(message), message);
  }
});

Deno.test("who one is also stands in a file or in the environment, and what is said nearer counts", () => {
  using dir = folder();
  const path = join(dir.path, "login");
  const read = (text: string, from = "a", variables = {}) => {
    Deno.writeTextFileSync(path, text);
    const { user, pass, display } = readBroker("nats", from, text === "" ? {} : { login: path }, variables);
    assertEquals(display, "nats://a:4222");
    return [user, pass];
  };
  assertEquals(read("t0ken\n"), ["t0ken", null]);
  assertEquals(read("lab\ns3:cret\n", "a", { NATS_TOKEN: "other" }), ["lab", "s3:cret"]);
  assertEquals(read("", "a", { NATS_USER: "lab", NATS_PASSWORD: "s3cret", NATS_TOKEN: "" }), ["lab", "s3cret"]);
  assertEquals(read("", "a", { NATS_TOKEN: "t0ken" }), ["t0ken", null]);
  assertEquals(read("", "url:pass@a", { NATS_TOKEN: "t0ken" }), ["url", "pass"]);
  assertEquals(read(""), [null, null]);
  assertThrows(() => read("\n"), KnownFailure, "has no token on one line");
  assertThrows(() => read("a\nb\nc"), KnownFailure, "has no token on one line");
  assertThrows(() => read("", "a", { NATS_USER: "lab" }), UsageError, "belong together");
  const both = { NATS_USER: "lab", NATS_PASSWORD: "x", NATS_TOKEN: "y" };
  assertThrows(() => read("", "a", both), UsageError, "one of the two");
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

Deno.test("a signal for a process that has just ended is no error", async () => {
  const child = new Deno.Command(Deno.execPath(), { args: ["--version"], stdout: "null" }).spawn();
  assertEquals((await child.status).code, 0);
  passOn(child, "SIGTERM");
});

Deno.test("an agent is lost where others are heard; where all fall silent it is the broker, and until then nothing is known", () => {
  const heard = (...agoMs: number[]) =>
    silentIn(agoMs.map((ago, i) => ({ name: `a${i}`, heardAtMs: 60_000 - ago })), 60_000);
  assertEquals(heard(5100, 100), ["a0"]);
  assertEquals(heard(5100, 5200, 100), ["a0", "a1"]);
  assertEquals(heard(5100, 4800), []);
  assertEquals(heard(5600, 5300), "all");
  assertEquals(heard(5100), ["a0"]);
  assertEquals([heard(400, 4000), heard()], [[], []]);
});
