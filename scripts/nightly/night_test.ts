import { assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { find } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { CannotCompare } from "../../lib/compare/side.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { BASELINE, readBaseline } from "../../lib/regress/baseline.ts";
import { readHistory, type RegressionRecord } from "../../lib/regress/record.ts";
import type { RegressPlan } from "../../lib/regress/regress.ts";
import { CannotStore } from "../../lib/results/durable_file.ts";
import type { RoundFound } from "../../lib/results/rows.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { commandBehind } from "../../lib/server/custom.ts";
import { folder } from "../../lib/testing/folder.ts";
import { seededRandom } from "../../lib/timing/random.ts";
import { exitOfNight, EXPERIMENTS, leftBy, nightlyExperiments, readNight, runNight } from "./night.ts";

const DAY_MS = 24 * 3600 * 1000;

/** A round that finds `log` more than the reference needs. */
const round = (log: number): RoundFound => ({
  log_ratio: log,
  rate_per_s: null,
  findings: [],
  failure: null,
  reference_cpu_us_per_request: 10,
  candidate_cpu_us_per_request: 10 * Math.exp(log),
});

/** Moves all times in a file to earlier days. */
function moveBack(path: string, days: number): void {
  const earlier = (time: string) => new Date(Date.parse(time) - days * DAY_MS).toISOString();
  Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replaceAll(/(?<="time": ?")[^"]+/g, earlier));
}

/** Folders for the results of several machines, and nights whose rounds are made up. */
function lab() {
  const results = folder();
  const said: string[] = [];
  const reported: RegressionRecord[] = [];
  const firsts: string[][] = [];
  const random = seededRandom(6);
  const dirOf = (machine: string) => join(results.path, machine);
  return {
    said,
    reported,
    /** The experiments that got their first baseline, night by night. */
    firsts,
    dirOf,
    nights: async (machine = "here") =>
      (await readBaseline(join(dirOf(machine), BASELINE))).map(({ experiment, nights }) => [experiment, nights.length]),
    history: async (machine = "here") => (await readHistory(dirOf(machine))).values,
    /** A night in which every round of an experiment finds `log` more than the reference needs. */
    night: (log: number, change: Partial<RegressPlan> = {}, machine = "here") => {
      const plan: RegressPlan = {
        reference: find("epoll"),
        candidates: [{ subject: find("event-loop"), connections: 10 }],
        rounds: 30,
        load: {},
        host: { ...hostFacts(), cpu: machine },
        updateBaseline: false,
        replaceBaseline: false,
        quick: false,
        signal: new AbortController().signal,
        dir: dirOf(machine),
        command: "deno task nightly",
        say: (sentence) => said.push(sentence),
        measure: () => Promise.resolve(round(log + (random() - 0.5) * 0.02)),
        ...change,
      };
      return runNight(plan, (record, made) => {
        reported.push(record);
        firsts.push([...made]);
        return Promise.resolve();
      });
    },
    /** Moves all that is stored to earlier days. */
    age: (days: number, machine = "here") => {
      for (const { name } of Deno.readDirSync(dirOf(machine))) {
        moveBack(join(dirOf(machine), name), days);
      }
    },
    [Symbol.dispose]: () => results[Symbol.dispose](),
  };
}
const FORCED = { updateBaseline: true, replaceBaseline: true };

Deno.test("the first night here makes a baseline of its own rounds, and the next one is judged by it", async () => {
  using at = lab();
  const first = await at.night(0.7);
  assertEquals([first.exit, await at.nights()], [EXIT.inconclusive, [["event-loop", 1]]]);
  assertMatch(at.said.at(-1)!, /baseline\.json has new rounds of event-loop\.$/);
  assertEquals((await at.night(0.7)).exit, EXIT.ok);
  assertEquals((await at.night(0.8)).exit, EXIT.failed);
  assertEquals((await at.history()).map(({ exit }) => exit), [3, 0, 1]); // a baseline is no run of its own
  assertEquals(at.reported, await at.history());
  assertEquals(at.firsts, [["event-loop"], [], []]);
});

Deno.test("nights that are not slower join the baseline until it has five; slower ones do not, nor a second of one day", async () => {
  using at = lab();
  await at.night(0.7);
  for (const expected of [2, 3, 4, 5, 5]) {
    at.age(1);
    assertEquals((await at.night(0.7)).exit, EXIT.ok);
    assertEquals(await at.nights(), [["event-loop", expected]]);
  }
  using other = lab();
  await other.night(0.7);
  await other.night(0.7);
  assertEquals(await other.nights(), [["event-loop", 1]]);
  other.age(1);
  await other.night(0.9);
  assertEquals(await other.nights(), [["event-loop", 1]]);
});

Deno.test("after a regression another kind of machine gets no baseline until a night is not slower", async () => {
  using at = lab();
  await at.night(0.7);
  assertEquals((await at.night(0.9)).exit, EXIT.failed);
  const elsewhere = await at.night(0.9, {}, "elsewhere");
  assertEquals([elsewhere.exit, await at.nights("elsewhere")], [EXIT.inconclusive, []]);
  assertMatch(at.said.at(-1)!, /^event-loop gets no baseline here: event-loop was slower on \d/);
  assertEquals((await at.night(0.7)).exit, EXIT.ok);
  await at.night(0.7, {}, "elsewhere");
  assertEquals(await at.nights("elsewhere"), [["event-loop", 1]]);
});

Deno.test("a server that could not start in its first nights gets its baseline in the first night in which it runs", async () => {
  using at = lab();
  const { subjects } = readNight({ name: "my-api" }, ["node", "server.js"]);
  const candidates = subjects.map((subject) => ({ subject, connections: 10 }));
  const measure = () => Promise.reject(new CannotCompare(subjects[0]!, "my-api ended with exit code 1", "crashed"));
  for (const _ of ["a typo", "another one"]) {
    assertEquals((await at.night(0, { candidates, measure })).exit, EXIT.failed);
    assertEquals(await at.nights(), []);
  }
  await at.night(0, { candidates });
  assertEquals(await at.nights(), [["my-api", 1]]);
  assertEquals((await at.night(0, { candidates })).exit, EXIT.ok);
});

Deno.test("a forced baseline starts again, so that what was slower is the measure then", async () => {
  using at = lab();
  for (let i = 0; i < 3; i++) {
    await at.night(0.7);
    at.age(1);
  }
  assertEquals(await at.nights(), [["event-loop", 3]]);
  const forced = await at.night(0.9, FORCED);
  assertEquals([forced.exit, forced.new_baseline, await at.nights()], [EXIT.ok, true, [["event-loop", 1]]]);
  assertEquals((await at.night(0.9)).exit, EXIT.ok);
});

Deno.test("rounds that are too few or too unlike make no baseline", async () => {
  using at = lab();
  let n = 0;
  const measure = () => Promise.resolve(round(n++ % 2 === 0 ? 0.3 : -0.3));
  assertEquals((await at.night(0, { measure })).exit, EXIT.inconclusive);
  assertEquals(await at.nights(), []);
  assertStringIncludes(at.said.at(-1)!, "event-loop gets no new baseline: its rounds are too unlike");
});

Deno.test("the third night without a verdict is reported as such, and stored as the others are", async () => {
  using at = lab();
  let n = 0;
  // No two nights have the same rounds: those would be one run.
  const measure = () => Promise.resolve(round((n++ % 2 === 0 ? 0.3 : -0.3) + n * 1e-6));
  for (let i = 0; i < 3; i++) {
    if (i > 0) at.age(1);
    await at.night(0, { measure });
  }
  assertEquals(at.reported.map(({ undecided }) => undecided), [undefined, undefined, [
    { experiment: "event-loop", nights: 3 },
  ]]);
  assertEquals((await at.history()).map(({ undecided }) => undecided), [undefined, undefined, undefined]);
});

Deno.test("the verdict is reported although the baseline cannot be stored, and no baseline is claimed then", async () => {
  using at = lab();
  Deno.mkdirSync(join(at.dirOf("here"), `${BASELINE}.tmp`), { recursive: true }); // the name under which it is written first
  await assertRejects(() => at.night(0.7), CannotStore, BASELINE);
  assertEquals(at.reported.map(({ exit }) => exit), [EXIT.inconclusive]);
  assertEquals(at.firsts, [[]]);
});

Deno.test("a night measures its own list, less what this system cannot run, or what is named", () => {
  const linux = nightlyExperiments(undefined, { os: "linux", kernel: "6.18" });
  assertEquals([linux.subjects.map(({ name }) => name), linux.absent], [EXPERIMENTS, []]);
  const mac = nightlyExperiments(undefined, { os: "darwin", kernel: "24" });
  assertEquals(mac.subjects.map(({ name }) => name), ["event-loop", "deno-serve"]);
  assertMatch(mac.absent.join(), /^io-uring needs Linux/);
  assertEquals(nightlyExperiments("select,poll").subjects.map(({ name }) => name), ["select", "poll"]);
  for (const names of ["selct", "poll,poll", "c-epoll"]) assertThrows(() => nightlyExperiments(names), UsageError);
});

Deno.test("a night measures experiments, or a server of one's own by its command", () => {
  const own = readNight({ name: "my-api", path: "/healthz", port: "3000" }, ["node", "server.js"]);
  assertEquals(own, {
    subjects: [{
      ...{ name: "my-api", family: "custom", words: ["node", "server.js"], host: null, port: 3000, pid: null },
      path: "/healthz",
    }],
    absent: [],
  });
  assertEquals(readNight({ experiments: "select" }, null).subjects.map(({ name }) => name), ["select"]);
  const wrong: [Parameters<typeof readNight>[0], string[] | null, string][] = [
    [{ name: "my-api" }, null, "--name belongs to a server of your own"],
    [{ path: "/x" }, null, "--path belongs to a server of your own"],
    [{ name: "epoll" }, ["node"], "is the name of an experiment"],
    [{}, ["node"], "Name the server"],
    [{ name: "my-api", experiments: "select" }, ["node"], "not both"],
  ];
  for (const [flags, words, message] of wrong) assertThrows(() => readNight(flags, words), UsageError, message);
});

Deno.test("the workflow for a server of one's own names one by flags that are there", () => {
  const text = Deno.readTextFileSync(new URL("own-server.yml", import.meta.url));
  const [, line] = /^ +run: \$DENO task nightly (.*) >night\.json$/m.exec(text)!;
  const { own, words } = commandBehind(line!.replace(" $FLAGS", "").split(" "));
  assertEquals(own, ["--json", "--allow-inconclusive", "--name", "my-api", "--path", "/healthz"]);
  assertEquals(words, ["sh", "-c", '"$SERVER"']);
  assertEquals(readNight({ name: own[3]!, path: own[5]! }, words).subjects.map(({ name }) => name), ["my-api"]);
});

Deno.test("a server of one's own gets a baseline, is judged by it, and its rounds are never resumed", async () => {
  const here = lab();
  const { subjects } = readNight({ name: "my-api" }, ["node", "server.js"]);
  const candidates = subjects.map((subject) => ({ subject, connections: 10 }));
  await here.night(0, { candidates });
  assertEquals(await here.nights(), [["my-api", 1]]);
  const slower = await here.night(0.1, { candidates });
  assertEquals(slower.experiments.map(({ experiment, verdict }) => [experiment, verdict]), [["my-api", "slower"]]);
  const stop = new AbortController();
  let measured = 0;
  const measure = () => {
    if (++measured === 5) stop.abort(new Error("interrupted"));
    return Promise.resolve(round(0));
  };
  await assertRejects(() => here.night(0, { candidates, measure, signal: stop.signal }), Error, "interrupted");
  assertEquals([...Deno.readDirSync(here.dirOf("here"))].map(({ name }) => name).sort(), [BASELINE, "history.jsonl"]);
  here.said.length = 0;
  await here.night(0, { candidates });
  assertEquals(here.said.filter((sentence) => sentence.includes("Resuming")), []);
});

Deno.test("an interrupted night promises to resume experiments, and not a server of one's own", () => {
  assertMatch(leftBy(null), /the same command resumes from them\.$/);
  assertMatch(leftBy(["node", "server.js"]), /a later run begins anew\.$/);
});

Deno.test("only inconclusive nights are allowed to end with 0", () => {
  const codes = [EXIT.ok, EXIT.failed, EXIT.inconclusive, EXIT.unavailable, EXIT.harness];
  assertEquals(codes.map((exit) => exitOfNight({ exit }, false)), codes);
  assertEquals(codes.map((exit) => exitOfNight({ exit }, true)), [0, 1, 0, 69, 70]);
});
