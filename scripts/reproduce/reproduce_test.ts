import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { join } from "node:path";
import { catalogue, find, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { COMPARED } from "../../lib/compare/compare.ts";
import { Evidence, NotMeasured } from "../../lib/claims/evidence.ts";
import type { Figure } from "../../lib/claims/figure.ts";
import { LEDGER } from "../../lib/claims/ledger.ts";
import { parseCondition } from "../../lib/claims/prediction.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { NotTestable } from "../../lib/claims/ratio.ts";
import { PROBES } from "../../lib/probes/mod.ts";
import { CROWD, SWEEP } from "../../lib/results/conventions.ts";
import type { Found } from "../../lib/results/findings.ts";
import { newResult, writeResult } from "../../lib/results/results.ts";
import type { SelftestRow } from "../../lib/results/rows.ts";
import { machineOf } from "../../lib/results/machine.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { folder } from "../../lib/testing/folder.ts";
import { call, compared, overWire, probed, scaled, storedOf, studyOf } from "../../lib/testing/fixtures.ts";
import { JOURNAL, keepAttempt } from "./journal.ts";
import { choose, isInQuick, planOf, type Step } from "./plan.ts";
import { minutesLeft, narrowed, type Plan, reproduce, spoiltSince } from "./reproduce.ts";

const experiments = catalogue();
const probes = PROBES.map(({ name }) => name);
const whole = planOf(experiments, probes, { quick: false, publishes: true });
const commands = whole.map(({ args }) => args);

const step = (id: string, change: Partial<Step> = {}): Step => ({
  id,
  args: ["exp", id],
  why: "",
  minutes: 1,
  measures: true,
  ...change,
});

/** A reproduction of made-up steps into a folder of its own. */
function lab(run: (id: string, times: number) => number | Promise<number>) {
  const dir = folder();
  const stop = new AbortController();
  const ran: string[] = [];
  const plan = (steps: Step[]): Plan => ({
    steps,
    dir: dir.path,
    machine: machineOf(hostFacts()),
    keyOf: ({ args }) => args.join(" "),
    signal: stop.signal,
    isQuiet: () => Promise.resolve(true),
    say: () => {},
    run: async ({ id }) => {
      ran.push(id);
      return await run(id, ran.filter((each) => each === id).length);
    },
  });
  return { dir, stop, ran, plan, [Symbol.dispose]: () => dir[Symbol.dispose]() };
}

/** Stores a run that other processes disturbed. */
const disturbed = (dir: string) =>
  writeResult(
    newResult({
      experiment: "epoll",
      family: "readiness",
      scenario: "throughput",
      parameters: { connections: 1, seconds: 1, warmup_seconds: 0 },
      host: hostFacts(),
      metrics: {},
      histogram: null,
      findings: [{ server: "epoll", id: "foreign_load", sentence: "" }],
      ended: "ok",
      reason: null,
      command: "",
    }),
    dir,
  );

Deno.test("steps run in order, once; the same command does nothing again", async () => {
  using at = lab(() => 0);
  const steps = [step("a"), step("b")];
  assertEquals(await reproduce(at.plan(steps)), { done: 2, failed: [], spoilt: [], interrupted: false });
  assertEquals((await reproduce(at.plan(steps))).done, 2);
  assertEquals(at.ran, ["a", "b"]);
});

Deno.test("what is written of the figures is written again after more of them are measured", async () => {
  using at = lab(() => 0);
  const [a, b, page] = [step("a"), step("b"), step("page", { measures: false })];
  await reproduce(at.plan([a, page]));
  await reproduce(at.plan([a, page]));
  assertEquals(at.ran, ["a", "page"]);
  await reproduce(at.plan([a, b, page])); // b is new
  await reproduce(at.plan([a, b, page]));
  assertEquals(at.ran, ["a", "page", "b", "page"]);
  await reproduce(at.plan([step("c")]));
  await reproduce(at.plan([page])); // c was measured without it
  assertEquals(at.ran, ["a", "page", "b", "page", "c", "page"]);
});

Deno.test("an interrupted reproduction is resumed at the step that was under way", async () => {
  using at = lab((id) => {
    if (id === "b") at.stop.abort();
    return 0;
  });
  const steps = [step("a"), step("b"), step("c")];
  assertEquals((await reproduce(at.plan(steps))).interrupted, true);
  const resumed = { ...at.plan(steps), signal: new AbortController().signal };
  assertEquals((await reproduce(resumed)).done, 3);
  assertEquals(at.ran, ["a", "b", "b", "c"]);
});

Deno.test("a step is repeated when what it measures has changed", async () => {
  using at = lab(() => 0);
  await reproduce(at.plan([step("a")]));
  await reproduce(at.plan([step("a", { args: ["exp", "a", "--seconds", "9"] })]));
  assertEquals(at.ran, ["a", "a"]);
});

Deno.test("what other processes disturbed is measured again, three times at the most", async () => {
  using at = lab(async () => {
    await disturbed(at.dir.path);
    return 0;
  });
  const steps = [step("a")];
  assertEquals(await reproduce(at.plan(steps)), { done: 1, failed: [], spoilt: ["a"], interrupted: false });
  assertEquals(at.ran, ["a", "a", "a"]);
  await reproduce(at.plan(steps));
  assertEquals(at.ran.length, 3);
});

Deno.test("a disturbance that does not come again is over with the second attempt", async () => {
  using at = lab(async (_, times) => {
    if (times === 1) await disturbed(at.dir.path);
    return 0;
  });
  assertEquals((await reproduce(at.plan([step("a")]))).spoilt, []);
  assertEquals(at.ran, ["a", "a"]);
});

Deno.test("a study over a wire that others disturbed counts, as each does whose rows note it, from its time on", () => {
  const findings: Found[] = [{ server: "xdp", id: "foreign_load" }];
  const ratio = compared(["throughput", 100, "core_us_per_request"], ["xdp", "c-epoll"], [0.5, 0.4, 0.6], { findings });
  const stored = storedOf(overWire(ratio), probed("c10m", "10 connections", "held", 10));
  const { time } = stored.studies.wire[0]!;
  assertEquals(spoiltSince(stored, time), ["xdp"]);
  const probe = storedOf(probed("stats-line", "epoll", "cpu_us", 1), ({ rows }) => {
    Object.assign(rows.probe[0]!, { foreign_share: 0.2 });
  });
  assertEquals(spoiltSince(probe, ""), ["stats-line"]);
  const waits = storedOf(call("poll", 10, 1), ({ rows }) => Object.assign(rows.readiness[0]!, { foreign_share: 0.2 }));
  assertEquals(spoiltSince(waits, ""), ["readiness"]);
  assertEquals(spoiltSince(stored, new Date(Date.parse(time) + 1).toISOString()), []);
});

Deno.test("a self-test with disturbed rounds is not measured again: its decisions leave them out", () => {
  const row: SelftestRow = {
    ...{ extra_percent: 5, round: 0, turns: 9, extra_cpu_us: 1, seconds: 11, log_ratio: 0, rate_per_s: null },
    ...{ reference_cpu_us_per_request: 6, candidate_cpu_us_per_request: 6, failure: null },
    findings: [{ server: "epoll", id: "foreign_load" }],
  };
  const stored = storedOf();
  const studies = { ...stored.studies, selftest: [studyOf("selftest", [row])] };
  assertEquals(spoiltSince({ ...stored, studies }, ""), []);
});

Deno.test("of a comparison the candidates that were disturbed are measured again, and no others", () => {
  const of = (args: string, ...spoilt: string[]) =>
    narrowed(step("a", { args: args.split(" ") }), spoilt).args.join(" ");
  const all = "compare c-epoll nginx epoll go-net --scenario rate --rate 10000";
  assertEquals(of(all, "go-net", "nginx"), "compare c-epoll nginx go-net --scenario rate --rate 10000");
  assertEquals(of("compare c-epoll nginx epoll", "epoll"), "compare c-epoll epoll");
  assertEquals([of(all), of(all, "c-epoll"), of("exp epoll --quick", "epoll")], [all, all, "exp epoll --quick"]);
  const wire = whole.find(({ id }) => id === "compare/wire-xdp-100")!;
  assertEquals(narrowed(wire, ["epoll"]), wire); // without xdp it would run over loopback
  const ratio = compared(["throughput", 100, "cpu_us_per_request"], ["nginx", "c-epoll"], [1, 1, 1], {
    findings: [{ server: "c-epoll", id: "foreign_load" }],
  });
  assertEquals(spoiltSince(storedOf(ratio), ""), ["nginx"]); // the reference is measured again with it
});

Deno.test("a resumed reproduction measures again what was disturbed before", async () => {
  const commands: string[] = [];
  using at = lab(() => 0);
  const compare = step("a", { args: ["compare", "c-epoll", "nginx", "epoll"] });
  const plan = at.plan([compare]);
  const before = { key: plan.keyOf(compare), step: "a", time: new Date().toISOString(), seconds: 1, exit: 3 };
  await keepAttempt(join(at.dir.path, plan.machine), { ...before, spoilt: ["epoll"] });
  const run = ({ args }: Step) => Promise.resolve(void commands.push(args.join(" "))).then(() => 0);
  assertEquals((await reproduce({ ...plan, run })).done, 1);
  assertEquals(commands, ["compare c-epoll epoll"]);
});

Deno.test("a comparison with 1 000 connections, or at a rate, is none with 10", () => {
  const own = { ...find("epoll"), expect: ["throughput(10).cpu_us_per_request < 0.5 * c-epoll"] };
  const ids = planOf([find("c-epoll"), own], [], { quick: false, publishes: false }).map(({ id }) => id);
  assert(ids.includes("predicted/throughput-10-c-epoll"), ids.join(" "));
});

Deno.test("two servers are compared for a prediction unless steps compare both with a third", () => {
  const idsOf = (name: string) => {
    const own = { ...find(name), expect: ["throughput(1000).cpu_us_per_request < 2 * epoll"] };
    return planOf([find("c-epoll"), find("epoll"), own], [], { quick: false, publishes: false }).map(({ id }) => id);
  };
  assertEquals(idsOf("io-uring").filter((id) => id.startsWith("predicted/")), []);
  assert(idsOf("process-per-conn").includes("predicted/throughput-1000-epoll")); // it is not compared at 1 000
});

Deno.test("a step whose command fails is named, the others go on, and it is tried again later", async () => {
  using at = lab((id, times) => id === "a" && times === 1 ? 70 : 0);
  const steps = [step("a"), step("b")];
  assertEquals(await reproduce(at.plan(steps)), {
    done: 1,
    failed: [{ step: "a", exit: 70 }],
    spoilt: [],
    interrupted: false,
  });
  assertEquals((await reproduce(at.plan(steps))).done, 2);
  assertEquals(at.ran, ["a", "b", "a"]);
});

Deno.test("a step whose figures are inconclusive is done, and measured again where others disturbed it", async () => {
  using at = lab(async (_, times) => {
    if (times === 1) await disturbed(at.dir.path);
    return times === 1 ? 3 : 0;
  });
  assertEquals((await reproduce(at.plan([step("a")]))).failed, []);
  assertEquals(at.ran, ["a", "a"]);
});

Deno.test("a torn journal is repaired, and its whole lines count", async () => {
  using at = lab(() => 0);
  const steps = [step("a"), step("b")];
  await reproduce(at.plan(steps));
  const path = join(at.dir.path, machineOf(hostFacts()), JOURNAL);
  const text = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, text.slice(0, -20));
  await reproduce(at.plan(steps));
  assertEquals(at.ran, ["a", "b", "b"]);
});

Deno.test("the time that is left follows the pace of the steps that are done", () => {
  const left = [step("c", { minutes: 10 })];
  assertEquals(minutesLeft(left, []), 10);
  assertEquals(minutesLeft(left, [{ step: step("a", { minutes: 2 }), seconds: 240 }]), 20);
});

/** Their own runs end far below ten thousand connections, and so ask for no more. */
const FEW = ["blocking", "prefork", "worker-pool", "select", "apache-prefork", "python-prefork"];

/** Whether a step measures a run of a server in a scenario with at least so many connections. */
const runs = (name: string, scenario: string, connections: number) =>
  commands.some(([command, server, ...flags]) => {
    if (command !== "exp" || server !== name) return false;
    const isClimb = scenario === "hold" || scenario === "broadcast";
    const highest = FEW.includes(name) ? 100 : 10_000;
    if (flags.length === 0) return isClimb ? connections <= highest : connections === 100; // the ladder
    const at = Number(flags[flags.indexOf("--connections") + 1]);
    return flags.includes(scenario) && at >= connections;
  });

/** Whether a step compares two servers in a scenario at a number of connections, directly: parts of a step may lack a third. */
const compares = (a: string, b: string, scenario: string, connections: number) =>
  commands.some(([command, ...rest]) => {
    const at = rest.indexOf("--connections");
    const isScenario = scenario === "throughput" ? !rest.includes("--scenario") : rest.includes(scenario);
    return command === "compare" && isScenario && Number(rest[at + 1]) === connections && rest.includes(a) &&
      rest.includes(b) && [a, b].includes(rest[0]!);
  });

const REFERENCES = new Set(commands.filter(([command]) => command === "compare").map(([, reference]) => reference!));

/** Whether a step stores the rows of a probe: that of ten million connections has a command of its own. */
const probesIt = (probe: string) =>
  commands.some(([task, name]) => task === "probe" ? name === probe : task === CROWD.probe && task === probe);

/** What else a run of a server tells. */
const OF_A_RUN = { reason: null, descriptors: null, host: hostFacts(), findings: [] };

/** Answers every question of a rule with 1, and notes what it would take to answer it. */
class Recorder extends Evidence {
  readonly missing: string[] = [];
  #need(is: boolean, what: string): Figure {
    if (!is) this.missing.push(what);
    return { estimate: 1, low: 1, high: 1 };
  }
  override whyNot = () => null;
  override held = (name: string, atLeast = 10_000) => {
    const answered = this.#need(runs(name, "hold", atLeast), `hold ${atLeast} of ${name}`);
    const metrics = storedOf().results[0]?.metrics ?? newMetrics;
    return { answered, metrics, ...OF_A_RUN, path: name };
  };
  override broadcast = (name: string, atLeast = 10_000) => {
    const answered = this.#need(runs(name, "broadcast", atLeast), `broadcast ${atLeast} of ${name}`);
    return { answered, metrics: newMetrics, ...OF_A_RUN, path: name };
  };
  override memory = (name: string) => this.#need(runs(name, "hold", 10_000), `memory of ${name}`);
  override heldMost = () => null;
  override throughput = (name: string) => {
    this.#need(runs(name, "throughput", 100), `throughput of ${name}`);
    return newMetrics;
  };
  override call = () => this.#need(commands.some(([command]) => command === "readiness"), "readiness");
  override ratio = ({ scenario, connections, of, to }: Parameters<Evidence["ratio"]>[0]) => ({
    ...this.#need(compares(of, to, scenario, connections), `${scenario} ${connections} of ${of} against ${to}`),
    isVoid: false,
    limited: false,
  });
  override probe = (probe: string) => this.#need(probesIt(probe), probe);
  override probes = (probe: string) => [{ name: "epoll", value: this.probe(probe) }];
  override sweep = () => {
    this.#need(commands.some((args) => `deno task ${args.join(" ")}` === SWEEP.command), "sweep");
    return { rows: [], slo: null };
  };
  override scaling = (server: string) => {
    this.#need(commands.some(([command]) => command === "scaling"), `scaling of ${server}`);
    return storedOf(scaled(server, [1.8, 1.7, 1.9], [0.5, 0.5])).studies.scaling[0]!.rows.slice(1);
  };
  override crosscheck = () => {
    this.#need(commands.some(([command]) => command === "crosscheck"), "crosscheck");
    return [];
  };
}

const newMetrics = newResult({
  experiment: "x",
  family: "x",
  scenario: "hold",
  parameters: { connections: 1, seconds: 1, warmup_seconds: 0 },
  host: hostFacts(),
  metrics: {},
  histogram: null,
  findings: [],
  ended: "ok",
  reason: null,
  command: "",
}).metrics;

Deno.test("every claim's figures are in the plan", () => {
  const missing = LEDGER.flatMap((claim) => {
    const recorder = new Recorder(storedOf());
    try {
      claim.judge(recorder);
    } catch (error) { // a rule may give up on figures that make no sense; what it asked for until then counts
      if (error instanceof NotMeasured) {
        const words = error.command.split(" ").slice(2);
        const isRun = words[0] === "exp" && runs(words[1]!, "throughput", 100);
        const isStep = commands.some((args) => args.join(" ") === words.join(" "));
        assert(isRun || isStep, `${claim.id}: ${error.command}`);
      } else if (!(error instanceof NotTestable || error instanceof TypeError)) throw error;
    }
    return recorder.missing.map((what) => `${claim.id}: ${what}`);
  });
  assertEquals(missing, []);
});

Deno.test("every table, chart, lesson and prediction is in the plan", () => {
  for (const experiment of experiments) {
    const { name, expect } = experiment;
    assert(runs(name, speaksHttp(experiment) ? "throughput" : "broadcast", 100), name); // overview, held, memory
    for (const { kind, at, right } of expect.map(parseCondition)) {
      const other = "server" in right ? right.server : null;
      const covered = kind === "probe"
        ? probesIt(at)
        : other === null
        ? runs(name, kind, Number(at))
        : [other, ...REFERENCES].some((third) =>
          third === other
            ? compares(name, other, kind, Number(at))
            : compares(name, third, kind, Number(at)) && compares(other, third, kind, Number(at))
        );
      assert(covered, `${name}: ${kind}(${at})${other === null ? "" : ` against ${other}`}`);
    }
  }
  const ids = whole.map(({ id }) => id);
  const ofPairs = ["python-asyncio-java-nio-throughput", "python-asyncio-java-nio-hold", "java-nio-java-netty-hold"];
  for (const pair of ofPairs) assert(ids.includes(`compare/${pair}`), pair);
  const tables = ["readiness", "crosscheck", "selftest", "compare/throughput-100", "compare/throughput-1000"];
  for (const id of [...tables, "compare/rate-100", "compare/hold-10000", "compare/mixed-100", "sweep", "scaling"]) {
    assert(ids.includes(id) || ids.includes(`${id}-1`), id);
  }
  for (const id of ["fleet", "claims", "notebooks", "readme", "report"]) assert(ids.includes(id), id);
  assertEquals(probes.filter((name) => !ids.includes(`probe/${name}`)), []);
  assertEquals(new Set(ids).size, ids.length);
});

Deno.test("steps are chosen by whole words: 100 connections are not 1 000", () => {
  const ids = (only: string) => choose(whole, only).map(({ id }) => id);
  const parts = ids("compare/throughput-100");
  assert(parts.length > 1 && parts.every((id) => /^compare\/throughput-100-\d$/.test(id)), parts.join(", "));
  assertEquals(ids("exp/epoll,sweep"), ["exp/epoll", "sweep"]);
  assert(ids("compare").length > ids("compare/throughput").length);
  assertThrows(() => choose(whole, "compare/through"), UsageError, "No step begins with compare/through");
});

Deno.test("each comparison is of a scenario in which servers can be compared", () => {
  for (const { id, args } of whole.filter(({ args }) => args[0] === "compare")) {
    const at = args.indexOf("--scenario");
    assert(at < 0 || COMPARED.some((name) => name === args[at + 1]), id);
  }
});

Deno.test("a comparison of many is steps of half an hour each, that name every candidate once", () => {
  for (
    const id of ["throughput-100", "throughput-1000", "rate-100", "hold-10000", "broadcast-1000", "broadcast-10000"]
  ) {
    const steps = choose(whole, `compare/${id}`);
    assert(steps.length > 0 && steps.every(({ minutes }) => minutes <= 30), id);
    const candidates = steps.flatMap(({ args }) => args.slice(2, args.findIndex((arg) => arg.startsWith("--"))));
    assertEquals(new Set(candidates).size, candidates.length, id);
    const [reference] = steps.map(({ args }) => args[1]);
    const wanted = experiments.filter((one) =>
      id.startsWith("broadcast") !== speaksHttp(one) && one.family !== "bypass" && one.name !== reference
    );
    const few = id === "broadcast-10000" ? 6 : 11; // a name that is no server would be left out without a word
    const isOfAll = id === "throughput-100" || id === "broadcast-1000";
    assertEquals(candidates.length, isOfAll ? wanted.length : few, id);
    assertEquals(new Set(steps.map(({ args }) => args.slice(args.indexOf("--connections")).join(" "))).size, 1, id);
  }
});

Deno.test("a quick reproduction takes every experiment and about a quarter of an hour", () => {
  const peers = experiments.filter(({ peer }) => peer).map(({ name }) => name);
  const quick = planOf(experiments, probes, { quick: true, publishes: false }).filter((each) => isInQuick(each, peers));
  for (const { name, peer } of experiments) assertEquals(quick.some(({ id }) => id === `exp/${name}`), !peer, name);
  const minutes = quick.reduce((sum, each) => sum + each.minutes, 0);
  assertGreater(20, minutes);
  assertEquals(quick.some(({ args }) => args.includes("--write")), false);
});
