import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DamagedBaseline, hostKind, readBaseline } from "./baseline.ts";
import { find } from "../catalogue/catalogue.ts";
import { CannotCompare } from "../compare/side.ts";
import { EXIT } from "../cli/exit.ts";
import { hostFacts } from "../sampling/host.ts";
import { readHistory, recordMarkdown, type RegressionRecord, showRecord } from "./record.ts";
import { exitOf, regress, type RegressPlan } from "./regress.ts";
import { AlreadyRunning } from "./journal.ts";
import { CannotStore } from "../results/durable_file.ts";
import type { CustomServer } from "../server/subject.ts";
import { seededRandom } from "../timing/random.ts";
import type { RoundFound } from "../results/rows.ts";

const host = hostFacts();
const round = (log: number): RoundFound => ({
  log_ratio: log,
  rate_per_s: null,
  findings: [],
  failure: null,
  reference_cpu_us_per_request: 10,
  candidate_cpu_us_per_request: 10 * Math.exp(log),
});

/** A folder for results, and what is said of it. */
function lab() {
  const dir = Deno.makeTempDirSync();
  const said: string[] = [];
  const path = (name: string) => join(dir, name);
  const random = seededRandom(6);
  const noise = () => (random() - 0.5) * 0.02;
  return {
    dir,
    path,
    said,
    names: () => [...Deno.readDirSync(dir)].map(({ name }) => name).sort(),
    history: async () => (await readHistory(dir)).values,
    /** Runs a night in which the n-th round of an experiment finds `log` more than the reference needs. */
    night: (log: (n: number, name: string) => number, change: Partial<RegressPlan> = {}, names = ["event-loop"]) => {
      const times = new Map<string, number>();
      return regress({
        reference: find("epoll"),
        candidates: names.map((name) => ({ subject: find(name), connections: 10 })),
        rounds: 30,
        load: {},
        host,
        updateBaseline: false,
        replaceBaseline: false,
        quick: false,
        signal: new AbortController().signal,
        dir,
        command: "deno task regress",
        say: (sentence) => said.push(sentence),
        measure: ({ name }) => {
          times.set(name, (times.get(name) ?? 0) + 1);
          return Promise.resolve().then(() => round(log(times.get(name)!, name) + noise()));
        },
        ...change,
      });
    },
    [Symbol.dispose]: () => Deno.removeSync(dir, { recursive: true }),
  };
}
const UPDATE = { updateBaseline: true };
const verdicts = (night: RegressionRecord) => night.experiments.map(({ verdict }) => verdict);

Deno.test("against its baseline an experiment is unchanged, regressed, or improved; the history has a line for each night", async () => {
  using at = lab();
  const update = await at.night(() => 0.7, UPDATE);
  assertEquals([update.exit, update.experiments[0]!.reason], [0, "this is its first baseline here"]);
  const nights = [await at.night(() => 0.7), await at.night(() => 0.8), await at.night(() => 0.6)];
  assertEquals(nights.map(({ exit }) => exit), [0, 1, 0]);
  assertEquals(nights.flatMap(verdicts), ["not_slower", "slower", "not_slower"]);
  const slower = nights[1]!.experiments[0]!;
  assert(
    slower.change_low! > 1.08 && slower.change_high! < 1.13 && slower.confirmed_low! > 1.08,
    JSON.stringify(slower),
  );
  assert(Math.abs(slower.ratio! - Math.exp(0.8)) < 0.02);
  assertEquals((await at.history()).slice(1), nights);
  assertEquals(at.names(), ["baseline.json", "history.jsonl"]); // the rounds stand in the history now
});

Deno.test("a verdict against a short baseline says what it does not know, one against five nights does not", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE);
  const again = await at.night(() => 0, UPDATE); // the same day: no other night
  assertEquals(again.experiments[0]!.reason, null);
  const alone = "its baseline is of 1 of 5 nights: what differs from night to night is not in the interval";
  const slower = await at.night(() => 0.1);
  assertEquals([slower.exit, slower.experiments[0]!.reason], [1, alone]);
  assertStringIncludes(showRecord(slower), `event-loop: ${alone}`);
  assertStringIncludes(recordMarkdown(slower), `event-loop: ${alone}`);
  const file = JSON.parse(Deno.readTextFileSync(at.path("baseline.json")));
  const [night] = file.entries[0].nights;
  const has = async (days: number) => {
    file.entries[0].nights = Array.from(
      { length: days },
      (_, i) => ({ ...night, time: `2026-01-0${i + 1}T01:00:00Z` }),
    );
    Deno.writeTextFileSync(at.path("baseline.json"), JSON.stringify(file));
    return (await at.night(() => 0)).experiments[0]!.reason;
  };
  assertEquals(
    await has(4),
    "its baseline is of 4 of 5 nights: little of what differs from night to night is in the interval",
  );
  assertEquals(await has(5), null);
});

Deno.test("slower first rounds that fresh ones do not confirm are inconclusive, and fail nothing", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE);
  const night = await at.night((n) => n <= 30 ? 0.1 : 0);
  assertEquals([night.exit, verdicts(night)], [3, ["inconclusive"]]);
  assertMatch(night.experiments[0]!.reason!, /includes \+2 %/);
});

Deno.test("without a baseline, or with that of another machine, there is no verdict but a sentence, and rounds are no alarm", async () => {
  using at = lab();
  const first = await at.night(() => 0.7);
  assertEquals([first.exit, verdicts(first), first.experiments[0]!.rounds], [3, ["inconclusive"], 30]);
  assertMatch(first.experiments[0]!.reason!, /^there was no baseline of it yet/);
  await at.night(() => 0.2, { ...UPDATE, host: { ...host, cpu: "another" } });
  const before = await readBaseline(at.path("baseline.json"));
  const second = await at.night(() => 0.7);
  assertEquals([second.exit, second.experiments[0]!.change], [3, null]);
  assertMatch(second.experiments[0]!.reason!, /another kind of machine \(another, .*; this is /);
  assertEquals((await at.night(() => 0.7, UPDATE)).exit, 0);
  const after = await readBaseline(at.path("baseline.json"));
  assertEquals(after.length, 2);
  assertEquals(after.filter(({ kind }) => kind.cpu === "another"), before);
  assertEquals(after.find(({ kind }) => kind.cpu !== "another")!.kind, hostKind(host));
});

Deno.test("a first look asks for no fresh rounds, so it fails nothing, and leaves nothing behind", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE);
  const quick = await at.night(() => 0.5, { quick: true });
  assertEquals([quick.exit, verdicts(quick)], [3, ["inconclusive"]]);
  assertEquals([(await at.history()).length, at.names()], [1, ["baseline.json", "history.jsonl"]]);
});

Deno.test("a new baseline is no verdict, and says so", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE);
  const slower = await at.night(() => 0.5, UPDATE);
  assertEquals([slower.exit, slower.new_baseline], [0, true]);
  for (const shown of [showRecord(slower), recordMarkdown(slower)]) {
    assertStringIncludes(shown, "A new baseline: nothing was judged.");
    assert(!shown.includes("Not slower"));
  }
});

Deno.test("two runs at once would measure each other: the second ends at once, and when the first has ended another may", async () => {
  using at = lab();
  let second: Promise<unknown> | undefined;
  await at.night(() => 0, { ...UPDATE, onRound: () => second ??= at.night(() => 0).catch((error) => error) });
  assert(await second instanceof AlreadyRunning, `${await second}`);
  assertEquals((await at.night(() => 0)).exit, 0);
});

Deno.test("where the lock cannot be made nothing is measured, and the sentence says so", async () => {
  using at = lab();
  Deno.mkdirSync(at.path("regress-run.jsonl.lock"));
  await assertRejects(() => at.night(() => assert(false, "measured") as never), CannotStore, "regress-run.jsonl.lock");
});

Deno.test("rounds of a baseline are not judged by it, wherever the run that made it was killed", async () => {
  using at = lab();
  let rounds = "";
  await at.night(() => 0, { ...UPDATE, onRound: () => rounds = Deno.readTextFileSync(at.path("regress-run.jsonl")) });
  Deno.writeTextFileSync(at.path("regress-run.jsonl"), rounds);
  let measured = 0;
  await at.night(() => (measured++, 0));
  assertEquals(measured, 30);
});

Deno.test("a damaged baseline is reported before anything is measured, and stays as it is", async () => {
  using at = lab();
  Deno.writeTextFileSync(at.path("baseline.json"), '{"schema":1,"entr');
  const measure = () => assert(false, "measured") as never;
  for (const updateBaseline of [false, true]) {
    await assertRejects(() => at.night(() => 0, { measure, updateBaseline }), DamagedBaseline, "git checkout");
  }
  assertEquals(Deno.readTextFileSync(at.path("baseline.json")), '{"schema":1,"entr');
});

Deno.test("what broke fails with its reason, what cannot run is skipped, and the others are judged", async () => {
  using at = lab();
  const names = ["event-loop", "select", "poll"];
  await at.night(() => 0, UPDATE, names);
  const night = await at.night(
    (_, name) => {
      if (name === "select") throw new CannotCompare(find(name), "select: 2 connections lost", "crashed");
      if (name === "poll") throw new CannotCompare(find(name), "poll needs Linux.", "skipped");
      return 0;
    },
    {},
    names,
  );
  assertEquals([night.exit, verdicts(night)], [1, ["not_slower", "broken", "skipped"]]);
  assertEquals(night.experiments[1]!.reason, "select: 2 connections lost");
  assertStringIncludes(showRecord(night), "poll: poll needs Linux.");
  assertEquals((await readBaseline(at.path("baseline.json"))).length, 3);
});

Deno.test("what could not run when a run was killed is tried again", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE, ["event-loop", "select"]);
  const abort = new AbortController();
  const names = ["event-loop", "select"];
  await assertRejects(() =>
    at.night(
      (n, name) => {
        if (name === "select") throw new CannotCompare(find(name), "select is not here.", "skipped");
        if (n === 3) abort.abort();
        return 0;
      },
      { signal: abort.signal },
      names,
    )
  );
  assertEquals(verdicts(await at.night(() => 0, {}, names)), ["not_slower", "not_slower"]);
});

Deno.test("the exit code: any regression or break is 1, else what is open is 3, or 69 where nothing runs here, else 0", () => {
  const of = (...verdicts: RegressionRecord["experiments"][number]["verdict"][]) =>
    exitOf(verdicts.map((verdict) => ({ verdict })));
  assertEquals([of("not_slower", "slower"), of("broken"), of("inconclusive", "slower")], [1, 1, 1]);
  assertEquals([of("not_slower", "inconclusive"), of("skipped"), of()], [3, 69, 3]);
  assertEquals([of("not_slower", "not_slower"), of("not_slower", "skipped")], [0, 3]); // nobody has judged what was skipped
});

Deno.test("rounds that are too unlike make no baseline, and the one that was there stays", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE);
  const before = Deno.readTextFileSync(at.path("baseline.json"));
  assertEquals((await at.night((n) => n % 2 === 0 ? 0.3 : -0.3, UPDATE)).exit, 3);
  assertEquals(Deno.readTextFileSync(at.path("baseline.json")), before);
  assertMatch(at.said.at(-1)!, /event-loop gets no new baseline: its rounds are too unlike/);
  assertMatch(at.said[0]!, /baseline\.json has new rounds of event-loop\.$/);
  assertEquals(at.said.length, 2);
});

Deno.test("an abort keeps the rounds until then; the next night goes on with them, but not of another source, load or day", async () => {
  using at = lab();
  const broken = (change: Partial<RegressPlan> = {}) => {
    const abort = new AbortController();
    return assertRejects(() => at.night((n) => (n === 12 && abort.abort(), 0), { signal: abort.signal, ...change }));
  };
  const measured = async (change: Partial<RegressPlan> = {}) => {
    let n = 0;
    const night = await at.night(() => (n++, 0), change);
    assertEquals(night.experiments[0]!.rounds, 30);
    return n;
  };
  await broken();
  assertEquals(await measured({ load: { seconds: 9 } }), 30);
  assertEquals(await measured({ host: { ...host, deno: "9.9.9" } }), 30);
  const changed = { ...find("event-loop"), path: join(at.dir, "event-loop.ts") };
  Deno.writeTextFileSync(changed.path, "changed");
  assertEquals(await measured({ candidates: [{ subject: changed, connections: 10 }] }), 30);
  assertEquals(at.said, []); // so far nobody has gone on, and the rounds are still there
  assertEquals(await measured(), 18);
  assertEquals(at.said.splice(0), ["Resuming with 12 rounds of an interrupted run."]);
  await broken();
  const path = at.path("regress-run.jsonl");
  const today = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, today.replaceAll(/"time":"\d{4}/g, '"time":"2001'));
  assertEquals(await measured(), 30);
  assertMatch(at.said[0]!, /12 rounds are older than/);
});

Deno.test("the rounds of a server of one's own are not stored, and where its result cannot be kept nothing else is promised", async () => {
  using at = lab();
  const own: CustomServer = { name: "my-api", family: "custom", words: ["node"], host: null, port: null, pid: null };
  const candidates = [{ subject: own, connections: 10 }];
  let stored = 0;
  const onRound = () => stored += at.names().filter((name) => name === "regress-run.jsonl").length;
  await at.night(() => 0, { ...UPDATE, candidates, onRound });
  assertEquals(stored, 0);
  Deno.mkdirSync(at.path("baseline.json.tmp"));
  assertEquals((await at.night(() => 0, { ...UPDATE, candidates })).exit, EXIT.harness);
  assertMatch(at.said.at(-1)!, /The rounds are not kept: the same command measures anew\.$/);
});

Deno.test("a run that was killed before it could take its rounds out makes no second line in the history", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE);
  let rounds = "";
  await at.night(() => 0, { onRound: () => rounds = Deno.readTextFileSync(at.path("regress-run.jsonl")) });
  Deno.writeTextFileSync(at.path("regress-run.jsonl"), rounds);
  await at.night(() => assert(false, "measured") as never);
  assertEquals((await at.history()).length, 2);
});

Deno.test("a torn last line of the history and of the rounds is named and repaired, and no other is lost", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE);
  at.said.length = 0;
  for (const name of ["history.jsonl", "regress-run.jsonl"]) {
    Deno.writeTextFileSync(at.path(name), '{"half":', { append: true });
  }
  assertEquals((await at.night(() => 0)).exit, 0);
  assertEquals(at.said.length, 2);
  for (const sentence of at.said) assertMatch(sentence, /the last line was torn, and is taken out; it was: \{"half":$/);
  assertEquals((await at.history()).length, 2);
});

/** Runs a night in a process of its own: every round finds the same. The script begins with `before`. */
async function elsewhere(dir: string, { shell = "", before = "", log = 0 }) {
  const script = join(dir, "night.mjs"); // no TypeScript: nothing has to be kept in the cache of Deno, which is shared
  const from = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
  Deno.writeTextFileSync(
    script,
    `import { find } from ${from("../catalogue/catalogue.ts")};
     import { hostFacts } from ${from("../sampling/host.ts")};
     import { regress } from ${from("./regress.ts")};
     ${before}
     const night = await regress({
       reference: find("epoll"), candidates: [{ subject: find("event-loop"), connections: 10 }], rounds: 30, load: {},
       host: hostFacts(), updateBaseline: false, quick: false, signal: new AbortController().signal,
       dir: ${JSON.stringify(dir)}, command: "", say: console.log, onRound: () => console.log("round"),
       measure: () => Promise.resolve(${JSON.stringify(round(log))}),
     }).catch((error) => ({ message: error.message }));
     console.log(JSON.stringify(night));`,
  );
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const run = [Deno.execPath(), "run", "--no-lock", "--no-check", "--no-code-cache", "-A", "--config", config, script];
  const { stdout, signal } = await new Deno.Command("sh", { args: ["-c", `${shell} exec "$@"`, "sh", ...run] })
    .output();
  const said = new TextDecoder().decode(stdout).trim().split("\n");
  return { signal, said, stored: said.filter((line) => line === "round").length };
}
const onUnix = { ignore: Deno.build.os === "windows" }; // sh, ulimit
/** A limit on file size, in blocks of 512 bytes. A process that ignores SIGXFSZ gets EFBIG from write(2), as if the disk were full. */
const limit = (blocks: number) => `trap '' XFSZ; ulimit -f ${blocks};`;

Deno.test(
  "after SIGKILL in mid-run all files are whole, and the next night goes on from the rounds that were stored",
  onUnix,
  async () => {
    using at = lab();
    await at.night(() => 0, UPDATE);
    const [baseline, history] = ["baseline.json", "history.jsonl"].map((name) => Deno.readTextFileSync(at.path(name)));
    // Where it hurts most: the fifth round is written, and does not have its name yet.
    const before = `const { rename } = Deno;
    let times = 0;
    Deno.rename = (...args) => ++times < 5 ? rename(...args) : Deno.kill(Deno.pid, "SIGKILL");`;
    const { signal, stored } = await elsewhere(at.dir, { before });
    at.said.length = 0;
    assertEquals([signal, stored], ["SIGKILL", 4]);
    assertEquals(Deno.readTextFileSync(at.path("baseline.json")), baseline);
    assertEquals(Deno.readTextFileSync(at.path("history.jsonl")), history);
    let measured = 0;
    const night = await at.night(() => (measured++, 0));
    assertEquals([measured, night.exit, night.experiments[0]!.rounds], [26, 0, 30]);
    assertEquals(at.said, ["Resuming with 4 rounds of an interrupted run."]);
    assert(!at.names().includes("regress-run.jsonl"));
  },
);

Deno.test(
  "on a full disk the rounds before stay, the sentence says what could not be stored, and there is no verdict",
  onUnix,
  async () => {
    using at = lab();
    await at.night(() => 0, UPDATE);
    const history = Deno.readTextFileSync(at.path("history.jsonl"));
    const { said, stored } = await elsewhere(at.dir, { shell: limit(4) }); // 2 KiB: a few rounds
    assert(stored > 0 && stored < 30, said.join("\n"));
    assertStringIncludes(said.at(-1)!, `"message":"Cannot store ${at.path("regress-run.jsonl")}`);
    assertEquals(Deno.readTextFileSync(at.path("history.jsonl")), history);
    let measured = 0;
    assertEquals((await at.night(() => (measured++, 0))).exit, 0);
    assertEquals(measured, 30 - stored);
  },
);

Deno.test(
  "a night that cannot be stored is still reported, a regression as such, and its rounds stay",
  onUnix,
  async () => {
    for (const [log, exit, rounds] of [[0, 70, 30], [0.2, 1, 60]] as const) {
      using at = lab();
      await at.night(() => 0, UPDATE);
      const history = Deno.readTextFileSync(at.path("history.jsonl")).repeat(25);
      Deno.writeTextFileSync(at.path("history.jsonl"), history);
      const { said, stored } = await elsewhere(at.dir, { shell: limit(history.length >> 9), log });
      assertEquals([stored, JSON.parse(said.at(-1)!).exit], [rounds, exit], said.join("\n"));
      assertMatch(said.at(-2)!, /^Cannot store .*history\.jsonl.* The rounds stay in .*regress-run\.jsonl/);
      assertEquals(Deno.readTextFileSync(at.path("history.jsonl")), history);
      assertEquals((await at.night(() => assert(false, "measured") as never)).exit, log === 0 ? 0 : 1);
      assertEquals((await at.history()).length, 26);
    }
  },
);

Deno.test("the Markdown says the verdict in its heading, and has a row for each experiment", async () => {
  using at = lab();
  await at.night(() => 0, UPDATE, ["event-loop", "select"]);
  const text = recordMarkdown(await at.night(() => 0, {}, ["event-loop", "select"]));
  assertMatch(text, /^## Not slower\.\n/);
  assertMatch(text, /^\| event-loop \| not_slower \| .+%\] \| – \|/m);
  assertMatch(text, /^\| select \| not_slower \|/m);
});
