/** Servers and surroundings as people have them, from the command line: each is measured, or a sentence names the cause. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { isInstalled } from "../../lib/catalogue/tools.ts";
import { folder } from "../../lib/testing/folder.ts";
import { type Answering, type FakeConnection, FakeServer, HELLO } from "../../lib/testing/fake_server.ts";
import { ROOT, RunningTask, runTask } from "../../lib/testing/task.ts";

const ignore = Deno.build.os !== "linux";
const SCENARIOS = ["hold", "throughput", "rate", "churn", "slow"] as const;
type Scenario = typeof SCENARIOS[number];

/** An answer with a status and fields. */
const answer = (status: string, body = "", ...fields: string[]) =>
  [`HTTP/1.1 ${status}`, `Content-Length: ${body.length}`, ...fields, "", body].join("\r\n");
const always = (text: string) => (): Answering => ({ write }) => write(text);
/** One request of so many gets another answer. */
const oneOf = (many: number, text: string) => (): Answering => {
  let asked = 0;
  return ({ write }) => write(++asked % many === 0 ? text : HELLO);
};
/** Answers, and closes after some answers on a connection. */
const closing = (after: number, last: string) => (server: FakeServer): Answering => async (client, number) => {
  await client.write(number < after ? HELLO : last);
  if (number >= after) server.hangUp(client);
};

/** What a command ended with. */
interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}
/** Text without the line breaks of a terminal. */
const flat = ({ stdout }: Ended) => stdout.replace(/\s+/g, " ");

const LOAD = ["--name", "odd", "--no-save", "--seconds", "1", "--connections", "4"];
const measure = (cwd: string, port: number, args: readonly string[], host = "127.0.0.1"): Promise<Ended> =>
  runTask("measure", [...args, "--url", `http://${host}:${port}`], cwd);

/** The flag of a scenario that asks at a rate; none for others. */
const rateOf = (scenario: string, perS: number): string[] => /rate|slow/.test(scenario) ? ["--rate", String(perS)] : [];

/** Measures a server of this process in a scenario. */
async function odd(
  answering: (server: FakeServer) => Answering,
  scenario: Scenario | "hold,throughput,rate,churn",
  ...more: string[]
): Promise<Ended> {
  using dir = folder();
  await using server: FakeServer = new FakeServer((...request: [FakeConnection, number, string]) => own(...request));
  const own = answering(server);
  const rate = rateOf(scenario, 100);
  const ended = await measure(dir.path, server.port, [...LOAD, "--scenario", scenario, ...rate, ...more]);
  assert(!/^ {4}at /m.test(ended.stderr), ended.stderr);
  assert(!/closed or reset by the server/.test(ended.stdout), ended.stdout); // none of these does it early
  return ended;
}

for (const [status, text] of [["302", "302 Found"], ["404", "404 Not Found"], ["204", "204 No Content"]] as const) {
  Deno.test({
    name: `a server that answers ${status} always is named by that in every scenario, and ends with 1`,
    ignore,
    fn: async () => {
      for (const scenario of SCENARIOS) {
        const ended = await odd(always(answer(text, "", "Location: /login")), scenario);
        assertEquals(ended.code, 1, `${scenario}: ${ended.stdout}`);
        assertMatch(flat(ended), new RegExp(`status ${status}|http_${status}`), scenario);
        // With how many of them, and never as a run that is ok.
        const counted = `(\\d connections were answered by status ${status}|\\d http_${status})`;
        assertMatch(flat(ended), new RegExp(`${scenario} 4( at 100/s)?: limited, [^,]*${counted}`), scenario);
        assert(!/no answer|CPU-µs each/.test(flat(ended)), `${scenario}: ${ended.stdout}`);
      }
    },
  });
}

Deno.test({
  name: "a server that answers another status always has no request answered and each counted, in the JSON too",
  ignore,
  fn: async () => {
    for (const scenario of ["hold", "throughput", "churn"] as const) {
      const ended = await odd(always(answer("404 Not Found")), scenario, "--json");
      const [{ ended: how, reason, errors, metrics }] = JSON.parse(ended.stdout);
      assertEquals([ended.code, how, metrics.answered], [1, "limited", 0], scenario);
      assertEquals(Object.keys(errors), ["http_404"], scenario);
      assert(errors.http_404 > 0 && /404/.test(reason), `${scenario}: ${reason}`);
    }
  },
});

Deno.test({
  name: "one failing answer in many is counted in the table and in the JSON, and explains what it explains",
  ignore,
  fn: async () => {
    for (const scenario of ["throughput", "rate", "churn"] as const) {
      const ended = await odd(
        oneOf(50, answer("503 Service Unavailable")),
        scenario,
        ...rateOf(scenario, 500),
        "--json",
      );
      const [result] = JSON.parse(ended.stdout);
      assert(result.errors.http_503 > 0, scenario);
      assertEquals(result.ended, "limited", scenario);
      const ids = result.findings.map(({ id }: { id: string }) => id);
      assert(ids.includes("errors") && !ids.includes("little"), `${scenario}: ${ids}`);
    }
  },
});

Deno.test({
  name: "a server that closes after a hundred answers is reconnected, and that is counted",
  ignore,
  fn: async () => {
    for (const last of [HELLO, answer("200 OK", "x", "Connection: close")]) {
      for (const scenario of ["throughput", "rate"] as const) {
        const ended = await odd(closing(100, last), scenario, ...rateOf(scenario, 800));
        assertEquals(ended.code, 0, ended.stdout);
        assertMatch(flat(ended), /reconnects, the server closed connections after 100 answers each and \d+/);
        assert(!/connections were lost|lost_connections/.test(flat(ended)), ended.stdout);
      }
    }
  },
});

Deno.test({
  name: "a server that keeps nothing alive gets one sentence, whatever it writes, and the other scenarios go on",
  ignore,
  fn: async () => {
    const late = (server: FakeServer): Answering => async (client) => {
      await client.write(answer("200 OK", "x", "Connection: close"));
      setTimeout(() => server.hangUp(client), 50);
    };
    const kinds = [
      closing(1, answer("200 OK", "x", "Connection: close")),
      closing(1, HELLO.replace("HTTP/1.1", "HTTP/1.0")),
      late,
    ];
    for (const kind of kinds) {
      const ended = await odd(kind, "hold,throughput,rate,churn");
      const text = flat(ended);
      assertStringIncludes(text, "were closed after their answer: nothing is kept alive");
      for (const scenario of ["throughput", "rate"]) assertMatch(text, new RegExp(`${scenario} 4 [1-9][\\d ]* – `));
      assertMatch(text, /churn 4 [1-9][\d ]* – /);
      assert(!/Usage:|No connection (is|was) held/.test(text + ended.stderr), text);
    }
  },
});

Deno.test({
  name: "interim answers, lines that end by LF, and folded fields are measured",
  ignore,
  fn: async () => {
    const texts = [
      `HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n${HELLO}`,
      HELLO.replaceAll("\r\n", "\n"),
      answer("200 OK", "x", "X-Fold: a\r\n b"),
    ];
    for (const text of texts) {
      const ended = await odd(always(text), "hold,throughput,rate,churn");
      assertEquals(ended.code, 0, ended.stdout);
      // Whether a busy machine reaches the rate is another matter.
      const failures = [...ended.stdout.matchAll(/^ {2}(\w+) \d+[^:]*: (limited|crashed),/gm)].map(([, of]) => of);
      assertEquals(failures.filter((scenario) => scenario !== "rate"), [], ended.stdout);
      assert(!/http_|errors,/.test(ended.stdout), ended.stdout);
    }
  },
});

Deno.test({
  name: "an answer that cannot be followed is named by its cause, in hold as in churn",
  ignore,
  fn: async () => {
    const cases: [text: string, hold: RegExp, kind: string][] = [
      ["HTTP/1.1 200 OK\r\n\r\nx", /without a length, and stayed open/, "no_length"],
      [answer("200 OK", "x", `X-Long: ${"y".repeat(20_000)}`), /a head over 16 KiB/, "head_too_long"],
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", /a transfer coding/, "coding"],
    ];
    for (const [text, cause, kind] of cases) {
      const held = await odd(always(text), "hold");
      assertEquals(held.code, 1, held.stdout);
      assertMatch(flat(held), cause);
      const churned = await odd(always(text), "churn");
      assertEquals(churned.code, 1, churned.stdout);
      assertStringIncludes(flat(churned), kind);
    }
  },
});

Deno.test({
  name: "a server for 127.0.0.1 alone is asked from there, and one on ::1 or localhost is found",
  ignore,
  fn: async () => {
    const refuses: Answering = ({ write, from }) => write(from === "127.0.0.1" ? HELLO : answer("403 Forbidden"));
    const asked = await odd(() => refuses, "hold,throughput,rate,churn");
    assertEquals([asked.code, /http_403|status 403/.test(flat(asked))], [0, false], asked.stdout);
    using dir = folder();
    await using server = new FakeServer(({ write }) => write(HELLO), "::1");
    for (const host of ["[::1]", "localhost"]) {
      const ended = await measure(dir.path, server.port, [...LOAD, "--scenario", "throughput"], host);
      assertEquals(ended.code, 0, ended.stdout + ended.stderr);
      assertMatch(ended.stdout, /odd: answered/);
    }
  },
});

Deno.test({
  name: "a rate that is not reached is a finding",
  ignore,
  fn: async () => {
    const slow: Answering = async ({ write }) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await write(HELLO);
    };
    const ended = await odd(() => slow, "rate", "--rate", "2000");
    assertMatch(flat(ended), /server_bound, 2 000 requests\/s were due and \d+ were answered in time/);
  },
});

/** A server of one's own for `--cmd`. */
const served = (how: string) =>
  `${Deno.execPath()} eval --no-lock 'Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen() {} }, ` +
  `${how})' $PORT`;

Deno.test({
  name: "a command that does not come up is not waited for in silence, and an interrupt ends it",
  ignore,
  fn: async () => {
    using dir = folder();
    const never = ["--", Deno.execPath(), "eval", "--no-lock", "setInterval(() => {}, 1000)"];
    await using running = new RunningTask("measure", [...LOAD, "--scenario", "throughput", ...never], dir.path);
    await running.hear(/^throughput 4: waiting for the server$/m);
    running.signal("SIGINT");
    const { code, stderr } = await running.end();
    assertEquals(code, 130, stderr);
    assert(!/^ {4}at /m.test(stderr), stderr);
    assertEquals(running.leftovers(), []);
  },
});

Deno.test({
  name: "ab says where it stands after each round of a slow server, and an interrupt keeps them",
  ignore,
  fn: async () => {
    using dir = folder();
    const slow = served(`() => new Promise((resolve) => setTimeout(() => resolve(new Response("x")), 40))`);
    const sides = ["--cmd", served(`() => new Response("x")`), "--cmd", slow];
    await using running = new RunningTask("ab", ["--quick", "--connections", "2", ...sides], dir.path);
    await running.hear(/^b: round 1 of \d+, /m);
    running.signal("SIGINT");
    const { code, stdout } = await running.end();
    assertEquals(code, 130, stdout);
    assertMatch(stdout, /no verdict\. Interrupted after 1 round/);
  },
});

Deno.test({
  name: "on one core a run says that both share it, and crosscheck ends with 69",
  ignore: ignore || !await isInstalled("taskset"),
  fn: async () => {
    using dir = folder();
    const one = ["taskset", "-c", "0"];
    const ended = await runTask("exp", ["poll", ...LOAD.slice(2), "--scenario", "throughput"], dir.path, {}, one);
    assertMatch(flat(ended), /shared_core, server and load generator shared a core/);
    assertMatch(ended.stdout, /≥ /);
    const few = ["--rounds", "1", "--connections", "2", "--seconds", "0.5", "--quick", "--no-save"];
    const compared = await runTask("compare", ["epoll", "poll", ...few], dir.path, {}, one);
    assertMatch(compared.stdout, /^ +shared_core: poll\b/m);
    const crossed = await runTask("crosscheck", ["epoll", "--rounds", "1", "--no-save"], dir.path, {}, one);
    assertEquals([crossed.code, crossed.stdout], [69, ""]);
    assertStringIncludes(crossed.stderr, "crosscheck needs two cores");
  },
});

Deno.test({
  name: "an experiment without the permission for FFI names it, and ends with 69",
  ignore,
  fn: async () => {
    const file = join(ROOT, "experiments", "epoll.ts");
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", file, "--port", "0"],
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stderr);
    assertEquals(code, 69, text);
    assertMatch(text, /^epoll cannot run here: .*--allow-ffi/m);
    assert(!text.includes("    at "), text);
  },
});
