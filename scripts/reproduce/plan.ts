/**
 * What the published tables, charts, claims and lessons rest on, as data: each step is one command and says what it is for.
 *
 * @module
 */
import { chunk } from "es-toolkit";
import { type Experiment, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { parseCondition } from "../../lib/claims/prediction.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { COMPARING, mostSeconds } from "../../lib/results/duration.ts";
import { C10K, EQUAL_RATE, MIXED, MIXED_FLAGS, SCALING, SWEEP } from "../../lib/results/conventions.ts";

/** One command of the reproduction. */
export interface Step {
  id: string;
  /** Words behind `deno task`. */
  args: string[];
  /** What of the published book it makes. */
  why: string;
  /** How long it takes on two cores, roughly. */
  minutes: number;
  /** Whether it measures: only such a step waits for a quiet machine, and may be spoilt. */
  measures: boolean;
  /** All that it names is measured together: if one of them is measured again, so are the others. */
  isWhole?: true;
}

/** How many connections a server is asked for to see where it ends. */
const BREAK_AT = 20_000;
/** The server that all others are compared with. */
const FLOOR = "c-epoll";
/** The server that others which push are compared with, and how many do not read where it is compared with itself. */
const PUSH = "ws-epoll";
const RING = "ws-io-uring"; // is compared with few listeners too
const SLOW_LISTENERS = 100;
const LONG_MESSAGE = 1024; // bytes: the sockets of those that do not read are full within a round
/** What is loaded for long, with faults at random: one of each kind of loop. */
const SOAKED = ["epoll", "io-uring", "event-loop", "multi-reactor", "xdp"];
const SOAK_MINUTES = 10;
/** What hands heavy requests over, so that light ones wait less. */
const CROSSING = ["reactor-pool", "thread-per-conn", "c-threads"];
/** The family that is compared over a wire, apart from all others. */
const BYPASS = "bypass";
/** Those that are compared where all would take too long: each kind of loop, a pool and threads, and the main runtimes. */
const MAIN = [
  ...["event-loop", "epoll", "io-uring", "multi-reactor", "reactor-pool"],
  ...["c-threads", "c-io-uring", "rust-tokio", "go-net", "java-netty", "node-http"],
];
/** The same of those that push. */
const MAIN_PUSH = [RING, "ws-multi-reactor", "ws-node", "ws-go", "ws-netty", "ws-erlang"];
/** A claim asks for their end, which is far below that of the others: their own runs stop before they ask for so many. */
const CLAIMED_TO_END = ["apache-prefork"];
/** Servers that claims set against each other: directly, so that their interval is not that of two comparisons. */
const PAIRED: readonly [
  reference: string,
  candidate: string,
  scenarios: readonly Compared["scenario"][],
][] = [
  ["python-asyncio", "java-nio", ["throughput", "hold"]],
  ["java-nio", "java-netty", ["throughput", "hold"]],
  ["epoll", "reactor-pool", ["throughput"]],
  ["reactor-pool", "thread-per-conn", ["mixed"]],
  ["nginx-proxy", "nginx-proxy-keepalive", ["throughput"]],
];
const PROBE_MINUTES = 1;

const measure = (id: string, command: string, why: string, minutes: number): Step => ({
  id,
  args: command.split(" "),
  why,
  minutes,
  measures: true,
});

const write = (id: string, command: string, why: string, minutes: number): Step => ({
  ...measure(id, command, why, minutes),
  measures: false,
});

/** Which servers are compared with one of them, and in what. */
interface Compared {
  reference: string;
  candidates: readonly string[];
  scenario: keyof typeof COMPARING.seconds;
  connections: number;
  why: string;
  /** ` --quick`, or nothing. */
  flag?: string;
}

/** One comparison, and how long it takes if no round is made again. */
function comparing(id: string, { reference, candidates, scenario, connections, why, flag = "" }: Compared): Step {
  const command = `compare ${[reference, ...candidates].join(" ")}${
    scenarioFlags(scenario)
  } --connections ${connections}`;
  const { full, quick, seconds } = COMPARING;
  const extent = flag === "" ? { ...full, seconds: seconds[scenario] } : { ...quick, seconds: seconds[scenario] / 2 };
  const usual = mostSeconds(
    { ...extent, scenario, connections, settleSeconds: USUAL_SETTLE_SECONDS },
    candidates.length,
  );
  return measure(id, command + flag, why, usual / 60);
}
/** A warm-up is seldom so long as it may be. */
const USUAL_SETTLE_SECONDS = 2.5;

/** A comparison of many is a step for each half an hour: it can be interrupted between two of them. Tables join them again. */
const MOST_MINUTES = 30;
function inParts(id: string, of: Compared): Step[] {
  const { minutes } = comparing(id, { ...of, candidates: of.candidates.slice(0, 1) });
  return chunk(of.candidates, Math.max(1, Math.floor(MOST_MINUTES / minutes))).map((candidates, i, all) =>
    comparing(all.length === 1 ? id : `${id}-${i + 1}`, { ...of, candidates })
  );
}

/** These start a thread or a process for each connection of their long runs, which takes most of the time. */
const SLOW_TO_FILL = ["process-per-conn", "thread-per-conn", "ws-threads"];
/** Minutes that one run of an experiment takes. */
const runMinutes = (name: string, flag: string): number => flag !== "" ? 0.3 : SLOW_TO_FILL.includes(name) ? 4.5 : 0.7;

/** One run of each experiment and peer: the overview, the chart of what each holds, the predictions. */
function ladders(experiments: readonly Experiment[], flag: string): Step[] {
  return experiments.filter(speaksHttp).flatMap(({ name, peer }) => [
    measure(`exp/${name}`, `exp ${name}${flag}`, "overview, predictions", runMinutes(name, flag)),
    ...(flag === "" && !peer
      ? [measure(`break/${name}`, `exp ${name} --scenario hold --connections ${BREAK_AT}`, "where it breaks", 0.7)]
      : []),
    ...(flag === "" && CLAIMED_TO_END.includes(name)
      ? [measure(`c10k/${name}`, `exp ${name} --scenario hold --connections ${C10K}`, "where it ends; claims", 0.7)]
      : []),
  ]);
}

/** The comparisons: tables, charts, claims, advice. A quick reproduction leaves out the peers. */
function comparisons(runnable: readonly Experiment[], flag: string): Step[] {
  const ofLoopback = runnable.filter((one) => speaksHttp(one) && one.family !== BYPASS);
  const experiments = flag === "" ? ofLoopback : ofLoopback.filter(({ peer, name }) => !peer || name === FLOOR);
  const main = experiments.map(({ name }) => name).filter((name) => MAIN.includes(name));
  const all = experiments.map(({ name }) => name).filter((name) => name !== FLOOR);
  const compare = (
    scenario: Compared["scenario"],
    connections: number,
    candidates: readonly string[],
    why: string,
  ): Step[] =>
    inParts(`compare/${scenario}-${connections}`, { reference: FLOOR, candidates, scenario, connections, why, flag });
  const rings = (connections: number): Step =>
    comparing(`compare/rings-${connections}`, {
      ...{ reference: "epoll", candidates: ["io-uring"], scenario: "throughput", connections, flag },
      why: "io_uring against epoll",
    });
  return [
    ...compare("throughput", 100, all, "server CPU per request"),
    ...compare("throughput", 1000, main, "server CPU per request at 1 000 connections"),
    ...compare("rate", 100, main, "latency and CPU at one equal rate"),
    ...compare("hold", C10K, main, "memory of 10 000 connections"),
    crossing(all, flag),
    rings(100),
    rings(1000),
  ];
}

/** What light requests wait beside heavy ones of each size. */
function crossing(runnable: readonly string[], flag: string): Step {
  const { reference, sizesUs } = MIXED;
  const candidates = CROSSING.filter((name) => runnable.includes(name));
  const why = "next to requests that burn CPU; the advisor's crossing points";
  const id = "compare/mixed-100";
  const { minutes } = comparing(id, { reference, candidates, scenario: "mixed", connections: 100, why, flag });
  const command = `compare ${[reference, ...candidates].join(" ")} ${MIXED_FLAGS} --connections 100${flag}`;
  return measure(id, command, why, sizesUs.length * minutes);
}

/** The comparisons of servers with each other, rather than with the floor. A quick reproduction has none. */
function pairs(runnable: readonly Experiment[], flag: string): Step[] {
  const runs = (wanted: string) => runnable.some(({ name }) => name === wanted);
  if (flag !== "") return [];
  return PAIRED.filter(([reference, candidate]) => runs(reference) && runs(candidate)).flatMap(
    ([reference, candidate, scenarios]) =>
      scenarios.map((scenario) => {
        const connections = scenario === "hold" ? C10K : 100;
        const of = { reference, candidates: [candidate], scenario, connections, why: "claims" };
        return comparing(`compare/${reference}-${candidate}-${scenario}`, of);
      }),
  );
}

/** Flags of a comparison in a scenario. */
function scenarioFlags(kind: string): string {
  if (kind === "throughput") return "";
  if (kind === "mixed") return ` --scenario mixed --rate ${MIXED.ratePerS}`;
  return kind === "rate" ? ` --scenario rate --rate ${EQUAL_RATE}` : ` --scenario ${kind}`;
}

/** The flags of a command, from the first one on: whole, so that 100 connections are not taken for 1 000. */
const flagsIn = (args: readonly string[]): string => {
  const first = args.findIndex((arg) => arg.startsWith("--"));
  return first < 0 ? "" : ` ${args.slice(first).join(" ")}`;
};

/** Latency against load, of those that run here. */
function sweeps(runnable: readonly Experiment[], flag: string): Step[] {
  const names = SWEEP.servers.filter((server) => runnable.some(({ name }) => name === server));
  const command = `sweep ${names.join(" ")} --slo ${SWEEP.slo}${flag}`;
  const why = "latency against load, and the capacity; lesson 4";
  return names.length === 0 ? [] : [measure("sweep", command, why, names.length * (flag === "" ? 4 : 0.7))];
}

/** Servers on more and more cores; the command says which of them cannot take part on this machine. */
function scalings(runnable: readonly Experiment[], flag: string): Step[] {
  const names = SCALING.servers.filter((server) => runnable.some(({ name }) => name === server));
  const isWhole = names.length === SCALING.servers.length;
  const command = `scaling${isWhole ? "" : ` ${names.join(" ")}`}${flag}`;
  const why = "what more cores bring; claims";
  return names.length === 0 ? [] : [measure("scaling", command, why, flag === "" ? 6 : 1)];
}

/** Whether a step above compares the two, or steps with equal flags compare both with a third. */
function isCompared(above: readonly Step[], a: string, b: string, flags: string): boolean {
  const same = above.filter(({ args }) => args[0] === "compare" && flagsIn(args) === flags);
  const references = new Set(same.map(({ args }) => args[1]!));
  const isWith = (reference: string, name: string) =>
    reference === name || same.some(({ args }) => args[1] === reference && args.includes(name));
  return [...references].some((reference) => isWith(reference, a) && isWith(reference, b));
}

/** The comparisons that decide predictions and are not among those above: one for each other server, scenario and size. */
function predictions(experiments: readonly Experiment[], above: readonly Step[]): Step[] {
  const names = new Set(experiments.map(({ name }) => name));
  const bypassing = experiments.filter(({ family }) => family === BYPASS).map(({ name }) => name);
  const wanted = experiments.flatMap(({ name, expect }) =>
    expect.map(parseCondition).flatMap(({ kind, at, right }) => {
      if (kind === "probe" || !("server" in right) || !names.has(right.server)) return [];
      const flags = `${scenarioFlags(kind)} --connections ${at}`;
      return isCompared(above, name, right.server, flags) ? [] : [{ name, other: right.server, kind, at }];
    })
  );
  const holds = experiments.flatMap(({ name, expect }) =>
    [...new Set(expect.map(parseCondition).filter(({ kind }) => kind === "hold").map(({ at }) => Number(at)))]
      .filter((at) => at > BREAK_AT)
      .map((at) => measure(`hold/${name}-${at}`, `exp ${name} --scenario hold --connections ${at}`, "predictions", 3))
  );
  const groups = Map.groupBy(wanted, ({ other, kind, at }) => `${kind}-${at}-${other}`);
  const compared = [...groups].map(([id, [first, ...more]]) => {
    const own = [...new Set([first!, ...more].map(({ name }) => name))];
    const { other: reference, kind, at } = first!;
    const of = { reference, candidates: own, connections: Number(at), why: "predictions" };
    const step = comparing(`predicted/${id}`, { ...of, scenario: kind as Compared["scenario"] });
    const isWired = [reference, ...own].some((name) => bypassing.includes(name));
    return isWired ? wired(step) : step;
  });
  return [...holds, ...compared];
}

/** What pushes: a run of each, and the cost of a delivery. A quick reproduction compares none. */
function pushes(runnable: readonly Experiment[], flag: string): Step[] {
  const names = runnable.filter((one) => !speaksHttp(one)).map(({ name }) => name);
  const runs = names.map((name) =>
    measure(`exp/${name}`, `exp ${name}${flag}`, "push: one message to all; predictions", runMinutes(name, flag))
  );
  if (flag !== "") return runs;
  if (!names.includes(PUSH)) return runs;
  const others = names.filter((name) => name !== PUSH);
  const sizes: [listeners: number, candidates: string[]][] = [
    [100, others.filter((name) => name === RING)],
    [1000, others],
    [C10K, others.filter((name) => MAIN_PUSH.includes(name))],
  ];
  const compared = sizes.flatMap(([listeners, candidates]) =>
    inParts(`compare/broadcast-${listeners}`, {
      ...{ reference: PUSH, candidates, scenario: "broadcast", connections: listeners },
      why: "server CPU per delivery; claims; lesson 12",
    })
  );
  const beside = `compare ${PUSH} --slow ${SLOW_LISTENERS} --connections ${C10K} --bytes ${LONG_MESSAGE}`;
  return [
    ...runs,
    ...compared,
    measure(`slow/${PUSH}`, beside, "listeners that do not read delay nobody", 4),
  ];
}

/** One of these servers needs the wire, and the others run over it for that one alone. */
const wired = (step: Step): Step => ({ ...step, isWhole: true });

/** What goes around the kernel, against servers of the kernel over the same wire; and what it is for. */
function bypasses(runnable: readonly Experiment[], flag: string): Step[] {
  const compare = (id: string, reference: string, candidates: string[], connections: number, why: string) =>
    wired(comparing(`compare/wire-${id}`, { reference, candidates, scenario: "throughput", connections, why, flag }));
  return runnable.filter(({ family }) => family === BYPASS).flatMap(({ name }) => [
    ...[100, 1000].map((connections) => {
      const why = "core time per request over a wire; claims, predictions, advice";
      return compare(`${name}-${connections}`, FLOOR, [name, "epoll"], connections, why);
    }),
    compare(name, "epoll", [name], 100, "lesson 8"),
    measure("c10m", `c10m${flag === "" ? "" : " --connections 1000000"}`, "claims; lesson 8", flag === "" ? 5 : 0.7),
  ]);
}

/** Load for long. */
function soaks(runnable: readonly Experiment[]): Step[] {
  const names = SOAKED.filter((name) => runnable.some((one) => one.name === name));
  if (names.length === 0) return [];
  const command = `soak ${names.join(" ")} --minutes ${SOAK_MINUTES}`;
  return [measure("soak", command, "what rises under load for long; lesson 11", names.length * SOAK_MINUTES + 1)];
}

/**
 * All steps in order. What cannot run here is left out by its command.
 *
 * @param experiments Those that run here.
 * @param probes The names of the probes.
 * @param publishes Whether this machine is the reference: only then the stored outputs of the lessons change.
 */
export function planOf(
  experiments: readonly Experiment[],
  probes: readonly string[],
  { quick, publishes }: { quick: boolean; publishes: boolean },
): Step[] {
  const flag = quick ? " --quick" : "";
  const readiness = quick ? "readiness --sizes 10,100,1000,10000 --batches 7" : "readiness";
  const crosscheck = quick ? "crosscheck epoll --rounds 2 --seconds 1" : "crosscheck epoll --rounds 7";
  const pushed = pushes(experiments, flag);
  const comparedPushes = pushed.filter(({ id }) => id.startsWith("compare/"));
  const compared = [
    ...comparisons(experiments, flag),
    ...pairs(experiments, flag),
    ...bypasses(experiments, flag),
    ...comparedPushes,
  ];
  return [
    measure("readiness", readiness, "cost of select, poll and epoll; lesson 3", 0.2),
    ...ladders(experiments, flag),
    ...pushed.filter(({ id }) => !id.startsWith("compare/")),
    ...probes.map((name) =>
      measure(`probe/${name}`, `probe ${name}${flag}`, "claims; lessons 2, 5 and 8", quick ? 0.3 : PROBE_MINUTES)
    ),
    ...compared,
    ...(quick ? [] : predictions(experiments, compared)),
    ...sweeps(experiments, flag),
    ...scalings(experiments, flag),
    measure("faults", "faults --all", "what breaks it; lesson 11", 40),
    ...soaks(experiments),
    measure("crosscheck", crosscheck, "can the numbers be trusted?", quick ? 0.3 : 3),
    ...(quick ? [] : [
      measure("fleet", `fleet${publishes ? " --write" : ""}`, "how many load hosts a rate needs; scripts/fleet", 1),
    ]),
    measure("selftest", `selftest:regress${flag}`, "can the numbers be trusted? lesson 9", quick ? 6 : 70),
    write("claims", `claims --no-run`, "verdicts on the claims", 0.1),
    write(
      "notebooks",
      `notebook:run${publishes ? " --write" : ""}${flag}`,
      "the outputs of the lessons",
      quick ? 2 : 5,
    ),
    write("readme", "readme", "README.md, tables and charts", 0.5),
    write("report", "report", "results/report.html", 0.2),
  ];
}

/** Steps of a quick reproduction beside the experiments: together they take a quarter of an hour. */
const QUICK = [
  "readiness",
  "probe/context-switch",
  "compare/throughput-100",
  "compare/rings-100",
  "crosscheck",
  "claims",
  "readme",
  "report",
];

/** Whether a quick reproduction takes a step: a look at each experiment (peers are left out), and the main comparisons. */
export const isInQuick = ({ id }: Step, peers: readonly string[]): boolean =>
  QUICK.includes(id) || (id.startsWith("exp/") && !peers.includes(id.slice("exp/".length)));

/**
 * The steps that the user asks for: by an id, or by the first words of several; all where nothing is asked for.
 *
 * @throws {UsageError} If there is none.
 */
export function choose(steps: readonly Step[], only: string | undefined): Step[] {
  if (only === undefined) return [...steps];
  const wanted = only.split(",").flatMap((words) => {
    const exact = steps.filter(({ id }) => id === words);
    const begun = steps.filter(({ id }) => id.startsWith(`${words}/`) || id.startsWith(`${words}-`));
    if (exact.length + begun.length === 0) {
      throw new UsageError(`No step begins with ${words}: deno task reproduce --list`);
    }
    return exact.length > 0 ? exact : begun;
  });
  return steps.filter((step) => wanted.includes(step));
}
