import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import {
  describeInterrupted,
  describePair,
  describeSides,
  exitOfPair,
  type Fetch,
  mustStart,
  type PairWish,
  readPair,
} from "./pair.ts";
import { find } from "../../lib/catalogue/catalogue.ts";
import { decide } from "../../lib/regress/decision.ts";
import { KnownFailure, Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { manifestOf } from "../../lib/server/manifest.ts";
import { readProc } from "../../lib/sampling/procfs.ts";
import { type Candidate, type Outcome, outcomeOf, type PlacedRound } from "../../lib/regress/rounds.ts";
import { CannotFetch, fetchDeno } from "../../lib/server/deno_versions.ts";
import { experimentCommand, thisRuntime } from "../../lib/server/server.ts";
import { isCustom, startSubject, type Variant } from "../../lib/server/subject.ts";
import { Client } from "../../lib/testing/client.ts";
import { found, HOST } from "../../lib/testing/fixtures.ts";
import { folder } from "../../lib/testing/folder.ts";

const ignore = Deno.build.os === "windows"; // sh, git

const fetch: Fetch = (version) => Promise.resolve({ path: `/deno-${version}`, version, v8Flags: [] });
const pair = (wish: Partial<PairWish>, into = "") => readPair({ commands: [], ...wish }, into, fetch);
const experiment = find("event-loop");

Deno.test("two versions of Deno are the same experiment, each under its own program", async () => {
  const [a, b] = await pair({ experiment, deno: "2.8.3,2.9.6" }) as [Variant, Variant];
  assertEquals([a.name, b.name], ["event-loop 2.8.3", "event-loop 2.9.6"]);
  assertEquals([a.runtime.path, b.runtime.path], ["/deno-2.8.3", "/deno-2.9.6"]);
  assertEquals([a.path, a.run], [experiment.path, experiment.run]);
});

Deno.test("flags of V8 are given to the second alone, before the file", async () => {
  const [a, b] = await pair({ experiment, v8Flags: "--single-threaded,--no-opt" }) as [Variant, Variant];
  assertEquals([a.runtime.v8Flags, a.runtime.path], [[], Deno.execPath()]);
  const { args } = experimentCommand(b, [], b.runtime);
  const flag = args.indexOf("--v8-flags=--single-threaded,--no-opt");
  assert(flag > 0 && flag < args.indexOf(experiment.path), args.join(" "));
  assertEquals(experimentCommand(a, [], a.runtime), experimentCommand(experiment));
});

Deno.test({
  name: "two commands are read by the shell, which becomes them: quotes and $PORT hold",
  ignore,
  fn: async () => {
    const deno = JSON.stringify(Deno.execPath());
    const code =
      `Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen() {} }, () => new Response("x"))`;
    const command = `${deno} eval --no-lock '${code}' $PORT`;
    const [a, b] = await pair({ commands: [command, command] });
    assert(isCustom(a) && isCustom(b));
    assertEquals([a.name, b.name], ["a", "b"]);
    await using server = await startSubject(a);
    using client = await Client.connect(server.port);
    assertEquals((await client.ask("/")).body, "x");
  },
});

Deno.test({
  name: "an experiment of another commit is the file as it was then, header and all",
  ignore,
  fn: async () => {
    using repository = folder();
    using into = folder();
    const path = join(repository.path, "event-loop.ts");
    const text = Deno.readTextFileSync(experiment.path);
    const git = async (...args: string[]) => {
      const as = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"];
      const { success } = await new Deno.Command("git", { args: [...as, ...args], cwd: repository.path }).output();
      assert(success, args.join(" "));
    };
    const older = text.replace(/@title .*/, "@title      as it was");
    Deno.writeTextFileSync(path, older);
    await git("init", "-q");
    await git("add", ".");
    await git("commit", "-qm", "first");
    Deno.writeTextFileSync(path, text);
    await git("commit", "-qam", "second");
    const now = { ...experiment, path };
    const [a, b] = await pair({ experiment: now, ref: "HEAD~1" }, into.path);
    assert(!isCustom(a) && !isCustom(b));
    assertEquals([a.name, a.title, b.name, b.title], [
      "event-loop HEAD~1",
      "as it was",
      "event-loop",
      experiment.title,
    ]);
    assertEquals([Deno.readTextFileSync(a.path), b.path], [older, path]);
    const { args } = experimentCommand(a);
    assertEquals(args.slice(-3), [a.path, "--port", "0"]);
    assertEquals(args.length, experimentCommand(b).args.length); // the permissions of its own @run line
    await assertRejects(() => pair({ experiment: now, ref: "nowhere" }, into.path), UsageError, "nowhere");
  },
});

Deno.test("what does not say in one way which two is a usage error that tells how", async () => {
  const cases: [Partial<PairWish>, string][] = [
    [{ experiment }, "Say in one way which two"],
    [{ experiment, deno: "2.8.3,2.9.6", ref: "HEAD" }, "Say in one way which two"],
    [{ deno: "2.8.3,2.9.6" }, "Name an experiment"],
    [{ experiment, deno: "2.9.6" }, "not two versions"],
    [{ experiment, deno: "2.9.6,2.9.6" }, "is Deno 2.9.6 twice. A control is the same command twice, --cmd A --cmd A"],
    [{ commands: ["deno run server.ts"], deno: "2.8.3,2.9.6" }, 'deno task ab --cmd "npx -y deno@2.8.3 run -A '],
    [{ experiment, v8Flags: "single" }, "begins with --"],
    [{ commands: ["x"] }, "Give --cmd twice"],
    [{ experiment, deno: "2.8.3,2.9.6", path: "/x" }, "--path belongs to --cmd"],
    [{ experiment, commands: ["x", "y"] }, "leave out event-loop"],
    [{ experiment: find("go-net"), deno: "2.8.3,2.9.6" }, "go-net is not served by Deno"],
    [{ experiment: find("go-net"), ref: "HEAD" }, "go-net has sources beside it"],
  ];
  for (const [wish, message] of cases) await assertRejects(() => pair(wish), UsageError, message);
});

/** A program that stands in for npx. */
function standIn(dir: string, script: string): string {
  const path = join(dir, "npx");
  Deno.writeTextFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

Deno.test({
  name: "a version of Deno is fetched by npx into the cache, and tells itself where it is and what it is",
  ignore,
  fn: async () => {
    using dir = folder();
    const npx = standIn(dir.path, `echo "$npm_config_cache $1 $2" >&2; echo '{"path":"/x/deno","version":"2.8.3"}'`);
    assertEquals(await fetchDeno("2.8.x", "/cache", npx), { path: "/x/deno", version: "2.8.3", v8Flags: [] });
    const tells = standIn(dir.path, `shift 2; exec ${JSON.stringify(Deno.execPath())} "$@"`); // npx deno@x runs that Deno
    assertEquals(await fetchDeno("2.9.6", "/cache", tells), thisRuntime());
  },
});

Deno.test({
  name: "a version that is none, one that is not there and one that cannot be fetched are distinguished",
  ignore,
  fn: async () => {
    using dir = folder();
    await assertRejects(() => fetchDeno("latest", "/cache"), UsageError, "is no version");
    const none = standIn(dir.path, `echo "npm error notarget No matching version found for deno@9.9.9." >&2; exit 1`);
    await assertRejects(() => fetchDeno("9.9.9", "/cache", none), UsageError, "There is no Deno 9.9.9");
    const offline = standIn(dir.path, `echo "$npm_config_cache: network is unreachable" >&2; exit 1`);
    await assertRejects(() => fetchDeno("2.8.3", "/cache", offline), CannotFetch, "/cache: network is unreachable");
    await assertRejects(() => fetchDeno("2.8.3", "/cache", join(dir.path, "absent")), CannotFetch, "install -y npm");
  },
});

Deno.test({
  name: "a variant runs under its own program, and its manifest names that version and its flags",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = folder();
    const mark = join(dir.path, "ran");
    const path = standIn(dir.path, `touch '${mark}'; exec '${Deno.execPath()}' "$@"`);
    const runtime = { path, version: "1.2.3", v8Flags: ["--single-threaded"] };
    const subject: Variant = { ...experiment, name: "event-loop 1.2.3", runtime };
    await using server = await startSubject(subject);
    assert(Deno.statSync(mark).isFile);
    assertEquals((await manifestOf(subject, server)).version, "Deno 1.2.3 --single-threaded");
    assertStringIncludes(readProc(`/proc/${server.pid}/cmdline`), "--v8-flags=--single-threaded");
  },
});

Deno.test({
  name: "what a shell does itself works in a command: cd, &&, and what follows them",
  ignore,
  fn: async () => {
    using dir = folder();
    const code = `Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen() {} },
      () => new Response(Deno.cwd()))`;
    Deno.writeTextFileSync(join(dir.path, "server.ts"), code);
    const command = `cd ${dir.path} && ${Deno.execPath()} run --no-lock --allow-net --allow-read server.ts $PORT`;
    const [a] = await pair({ commands: [command, command] });
    await using server = await startSubject(a);
    using client = await Client.connect(server.port);
    assertEquals((await client.ask("/")).body, Deno.realPathSync(dir.path));
  },
});

Deno.test({
  name: "a subject that cannot start is a failure of the measurement, and one of another system is unavailable",
  ignore,
  fn: async () => {
    const { signal } = new AbortController();
    const [a] = await pair({ commands: ["./missing", "./missing"] });
    const failed = await assertRejects(
      () => mustStart(a, signal),
      KnownFailure,
      "Nothing can be compared: a ended with",
    );
    assertStringIncludes(failed.message, "./missing");
    const requires = [{ os: "windows", kernel: null } as const];
    await assertRejects(() => mustStart({ ...experiment, requires }, signal), Unavailable, "event-loop needs Windows");
  },
});

Deno.test({
  name: "a subject is asked once for its path: another status, or a connection that ends, is a reason",
  ignore,
  fn: async () => {
    const { signal } = new AbortController();
    const answers =
      `new URL(request.url).pathname === "/healthz" ? new Response("up") : new Response("", { status: 302 })`;
    const code = `Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} },
      (request) => ${answers})`;
    const command = `${JSON.stringify(Deno.execPath())} eval --no-lock '${code}'`;
    const [a] = await pair({ commands: [command, command] });
    assertEquals(await mustStart(a, signal), "a is asked for /: connections were answered by status 302");
    const [, b] = await pair({ commands: [command, command], path: "/healthz" });
    assertEquals(await mustStart(b, signal), null);
    const closing = command.replace(`new Response("up")`, `new Response("up", { headers: { connection: "close" } })`);
    const [c] = await pair({ commands: [closing, closing], path: "/healthz" });
    assertStringIncludes((await mustStart(c, signal))!, "closed after their answer");
  },
});

Deno.test("the answer names what was compared, under which load, on what, and what a request cost", async () => {
  const two = await pair({ commands: ["node old.js", "cd new && exec node new.js"], path: "/api?x=1" });
  const round: PlacedRound = {
    experiment: "b",
    phase: "first",
    log_ratio: 0.05,
    rate_per_s: 500,
    reference_cpu_us_per_request: 12.34,
    candidate_cpu_us_per_request: 13,
    findings: [],
    failure: null,
  };
  const candidate: Candidate = { subject: two[1], connections: 10, ratePerS: "half", baseline: null, rounds: [round] };
  assertEquals(describeSides(two, candidate, HOST).split("\n"), [
    "  a: node old.js, 12.34 CPU-µs per request",
    "  b: cd new && exec node new.js, 13.00 CPU-µs per request",
    "  1 round, 10 connections, GET /api?x=1 at half of what the slower reaches",
    "  a CPU, 2 cores, 24 GiB, linux 6.1.0, Deno 2.9.6",
  ]);
});

/** Rounds that others disturbed: a request cost more in them. */
const disturbed = (experiment: string, count: number): PlacedRound[] =>
  Array(count).fill({
    experiment,
    phase: "first",
    log_ratio: 0.3,
    rate_per_s: null,
    reference_cpu_us_per_request: 70,
    candidate_cpu_us_per_request: 90,
    findings: [found(experiment, "foreign_load")],
    failure: null,
  });

Deno.test("without a round that counts no brackets are explained, figures are marked, and the remedy is named", async () => {
  const two = await pair({ experiment, deno: "2.8.3,2.9.6" });
  const of = (rounds: PlacedRound[]): Candidate => ({
    subject: two[1],
    connections: 10,
    ratePerS: null,
    baseline: null,
    rounds,
  });
  const none = of(disturbed(two[1].name, 10));
  const text = describePair(two, none, outcomeOf(none, { rounds: 10 }));
  assertMatch(text, /: inconclusive, others used the machine$/m);
  assertStringIncludes(text, "  rounds: no valid round\n");
  assertMatch(text, /\n {2}Measure again when the machine is quiet\.$/);
  assert(!text.includes("brackets"), text);
  const sides = describeSides(two, none, HOST).split("\n");
  assertMatch(sides[0]!, /, 70\.00 CPU-µs per request in rounds that do not count$/);
  assertMatch(sides[1]!, /, 90\.00 CPU-µs per request in rounds that do not count$/);
  // Rounds that count stand for themselves.
  const quiet = {
    ...disturbed(two[1].name, 1)[0]!,
    log_ratio: 0,
    reference_cpu_us_per_request: 10,
    candidate_cpu_us_per_request: 10,
    findings: [],
  };
  const some = of([...disturbed(two[1].name, 4), ...Array<PlacedRound>(10).fill(quiet)]);
  assertMatch(describeSides(two, some, HOST).split("\n")[0]!, /, 10\.00 CPU-µs per request$/);
  assertStringIncludes(describePair(two, some, outcomeOf(some, { rounds: 14 })), "(in brackets the interval");
});

Deno.test("an interrupt shows what the rounds until then say, and gives no verdict", async () => {
  const two = await pair({ experiment, deno: "2.8.3,2.9.6" });
  const round = (log_ratio: number): PlacedRound => ({
    experiment: "event-loop 2.9.6",
    phase: "first",
    log_ratio,
    rate_per_s: null,
    reference_cpu_us_per_request: 1,
    candidate_cpu_us_per_request: 1,
    findings: [],
    failure: null,
  });
  const after = (...rounds: PlacedRound[]): string =>
    describeInterrupted(two, { subject: two[1], connections: 10, ratePerS: 1, baseline: null, rounds });
  assertStringIncludes(after(), "no verdict. Interrupted after 0 rounds, of which none counts.");
  assertStringIncludes(after(round(Math.log(1.1))), "Interrupted after 1 round: +10.0 % [too few rounds]");
  assertStringIncludes(after(...Array(7).fill(round(0))), "Interrupted after 7 rounds: ");
});

Deno.test("the answer says that server and load shared a core, where they did in most rounds", async () => {
  const two = await pair({ experiment, deno: "2.8.3,2.9.6" });
  const round: PlacedRound = {
    experiment: two[1].name,
    phase: "first",
    log_ratio: 0,
    rate_per_s: null,
    reference_cpu_us_per_request: 1,
    candidate_cpu_us_per_request: 1,
    findings: [],
    failure: null,
  };
  const shared = { ...round, findings: [found(two[1].name, "shared_core"), found(two[0].name, "shared_core")] };
  const saidOf = (rounds: PlacedRound[]): string => {
    const candidate: Candidate = { subject: two[1], connections: 10, ratePerS: null, baseline: null, rounds };
    return describePair(two, candidate, outcomeOf(candidate, { rounds: rounds.length }));
  };
  const line = /^ {2}shared_core: server and load generator shared a core, which changes the CPU time per request$/m;
  assertMatch(saidOf(Array(10).fill(shared)), line);
  assertMatch(saidOf(Array(10).fill(shared)), /not slower\n/); // it weakens the figures, and takes no round away
  assert(!/shared/.test(saidOf([...Array(6).fill(round), ...Array(4).fill(shared)])));
  const bound = { ...round, findings: [found(two[0].name, "client_bound")] };
  assertMatch(saidOf(Array(10).fill(bound)), /^ {2}client_bound: .* --rate half does not$/m);
});

Deno.test("the answer says whether, by how much and how sure; the exit code says it to a script", async () => {
  const two = await pair({ experiment, deno: "2.8.3,2.9.6" });
  const flat = (log: number) => Array<number>(30).fill(log);
  const candidate: Candidate = { subject: two[1], connections: 10, ratePerS: 1, baseline: null, rounds: [] };
  const judge = (first: number, fresh: number | null): Outcome => ({
    ended: "decided",
    decision: decide({
      first: flat(first),
      fresh: fresh === null ? null : flat(fresh),
      baseline: null,
      rounds: 30,
    }),
  });
  const slower = judge(Math.log(1.1), Math.log(1.2));
  const text = describePair(two, candidate, slower);
  assertMatch(text, /^event-loop 2.9.6 against event-loop 2.8.3: slower$/m);
  assertMatch(text, /^ {2}all rounds: \+14.9 % \[\+10.0 %, \+20.0 %\] CPU time per request, slower by more than 2 %$/m);
  assertMatch(text, /^ {2}fresh rounds: \+20.0 % .*slower by more than 2 %$/m);
  assertMatch(describePair(two, candidate, judge(-0.1, null)), /not slower\n {2}rounds: −9.5 % .*, not slower by 2 %/);
  const outcomes: [Outcome, number][] = [
    ...[[slower, 1], [judge(0.1, 0), 3], [judge(0, null), 0], [judge(-0.1, null), 0]] as [Outcome, number][],
    [{ ended: "broken", reason: "it crashed" }, 1],
    [{ ended: "inconclusive", reason: "a crashed" }, 3],
    [{ ended: "skipped", reason: "it needs macOS" }, 69],
  ];
  for (const [outcome, exit] of outcomes) {
    assertEquals(exitOfPair(outcome), exit, describePair(two, candidate, outcome));
  }
});
