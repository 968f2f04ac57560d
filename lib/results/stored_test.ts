import { assertEquals, assertRejects } from "@std/assert";
import { dirname, join } from "node:path";
import { UsageError } from "../cli/errors.ts";
import { type HostFacts, hostFacts } from "../sampling/host.ts";
import { comparisonRow, exists, held, HOST, loaded, on, probed, storedOf, studyOf } from "../testing/fixtures.ts";
import { folder } from "../testing/folder.ts";
import { machineOf } from "./machine.ts";
import { newResult, type Run, writeResult } from "./results.ts";
import {
  chooseStored,
  type Choosing,
  coverage,
  fullRuns,
  quickRuns,
  readAll,
  readStored,
  resultPath,
  studyPath,
} from "./stored.ts";
import type { ComparisonRow } from "./rows.ts";
import { type Study, writeStudy } from "./studies.ts";

const RUN: Run = {
  experiment: "epoll",
  family: "readiness",
  scenario: "hold",
  host: HOST,
  metrics: { answered: 1 },
  parameters: { connections: 1, seconds: 1, warmup_seconds: 0 },
  histogram: null,
  findings: [],
  ended: "ok",
  reason: null,
  command: "deno task exp epoll",
};

/** A lab that records its load: its runs have the head `client` where none is named. */
const TODAY = { commit: null, load: "0123456789abcdef", served: null };
const HERE = machineOf(HOST);
const FAR: HostFacts = { ...HOST, cores: 64 };
const REFERENCE = machineOf(FAR);
const ALL = ["epoll", "poll", "select", "io-uring"];

/** A folder of results in which each machine has a full run of these experiments. */
async function results({ here = [], far = [], reference = REFERENCE }: {
  here?: string[];
  far?: string[];
  reference?: string | null;
}) {
  const dir = folder();
  for (const [host, experiments] of [[HOST, here], [FAR, far]] as const) {
    for (const [day, experiment] of experiments.entries()) {
      await writeResult(newResult({ ...RUN, host, experiment }, new Date(Date.UTC(2026, 0, 1 + day))), dir.path);
    }
  }
  if (reference !== null) Deno.writeTextFileSync(join(dir.path, "reference"), `${reference}\n`);
  return dir;
}

const choose = async (dir: string, more: Partial<Choosing> = {}) => {
  const { stored, line } = await chooseStored({ dir, here: HERE, covers: coverage, ...more });
  const shown = stored.results.map(({ experiment, host }) => `${experiment} on ${host.cores}`).sort();
  return { machine: stored.machine, shown, line };
};

Deno.test("figures of another machine are left out; a newer kernel or runtime makes no other machine", async () => {
  using dir = await results({ here: ["epoll"], far: ["epoll"] });
  await writeResult(newResult({ ...RUN, host: { ...HOST, kernel: "7.0", deno: "3.0.0" } }), dir.path);
  const damaged = (machine: string) => join(dir.path, machine, "epoll", "damaged.json");
  for (const machine of [HERE, REFERENCE]) Deno.writeTextFileSync(damaged(machine), "{");
  const { stored, passedOver } = await readStored(dir.path, HERE);
  assertEquals(stored.results.map(({ host }) => host.cores), [2, 2]);
  assertEquals(passedOver.map(({ path }) => path), [damaged(HERE)]);
});

Deno.test("the host of what is stored is that of the newest file; of nothing it is this one", async () => {
  using dir = folder();
  for (const [kernel, year] of [["7.0", 2026], ["6.1.0", 2025]] as const) {
    await writeResult(newResult({ ...RUN, host: { ...HOST, kernel } }, new Date(Date.UTC(year))), dir.path);
  }
  assertEquals((await readStored(dir.path, HERE)).stored.host.kernel, "7.0");
  const { stored } = await readStored(dir.path, REFERENCE);
  assertEquals([stored.host, stored.results, stored.machine], [hostFacts(), [], REFERENCE]);
});

Deno.test("this machine is shown where it has all that the reference has, and more is no hindrance", async () => {
  for (const here of [["epoll", "poll"], ALL]) {
    using dir = await results({ here, far: ["epoll", "poll"] });
    const { machine, shown, line } = await choose(dir.path);
    assertEquals([machine, line], [HERE, `Figures of this machine, ${HERE}.`]);
    assertEquals(shown, here.map((name) => `${name} on 2`).sort());
  }
});

Deno.test("else the reference is shown alone, and the line names what is missing", async () => {
  using two = await results({ here: ["epoll"], far: ["epoll", "io-uring", "poll"] });
  const line = `Figures of ${REFERENCE}, the reference machine: this one lacks `;
  assertEquals(await choose(two.path), {
    machine: REFERENCE,
    shown: ["epoll on 64", "io-uring on 64", "poll on 64"],
    line: `${line}hold of io-uring, hold of poll.`,
  });
  using many = await results({ here: ["epoll"], far: ALL });
  assertEquals((await choose(many.path)).line, `${line}hold of poll, hold of select and 1 more.`);
  using none = await results({ far: ALL });
  const nothing = "nothing of what they show is measured on this one yet";
  assertEquals((await choose(none.path)).line, `Figures of ${REFERENCE}, the reference machine: ${nothing}.`);
  await writeResult(newResult({ ...RUN, quick: true }), none.path);
  const quick = "nothing of what they show is measured in full on this one yet";
  assertEquals((await choose(none.path)).line, `Figures of ${REFERENCE}, the reference machine: ${quick}.`);
});

Deno.test("what a reader asks for decides: no more needs to be measured here", async () => {
  using dir = await results({ here: ["epoll"], far: ALL });
  const covers: Choosing["covers"] = ({ results }) =>
    results.map(({ experiment }) => experiment).filter((name) => name === "epoll");
  assertEquals((await choose(dir.path, { covers })).machine, HERE);
});

Deno.test("on the reference machine, and where no file names a reference, this machine is shown", async () => {
  using own = await results({ here: ["epoll"], far: ALL, reference: HERE });
  using none = await results({ here: ["epoll"], far: ALL, reference: null });
  for (const { path } of [own, none]) assertEquals((await choose(path)).shown, ["epoll on 2"]);
});

Deno.test("a reference without a folder has nothing that this machine lacks", async () => {
  using dir = await results({ here: ["epoll"] });
  assertEquals((await choose(dir.path)).machine, HERE);
});

Deno.test("files of this machine with a time in the future are shown, and the line says what follows", async () => {
  using dir = folder();
  const ahead = new Date(Date.now() + 86_400_000);
  await writeResult(newResult({ ...RUN, experiment: "epoll" }, ahead), dir.path);
  await writeResult(newResult({ ...RUN, experiment: "poll" }, new Date()), dir.path);
  const { shown, line } = await choose(dir.path);
  assertEquals(shown.length, 2);
  assertEquals(
    line,
    `Figures of this machine, ${HERE}. The clock was set back: 1 file of this machine has a time in the future and ` +
      "counts as the newest until then.",
  );
});

Deno.test("--machine chooses, whatever the others have", async () => {
  using dir = await results({ here: ALL, far: ["poll"] });
  assertEquals(await choose(dir.path, { machine: REFERENCE }), {
    machine: REFERENCE,
    shown: ["poll on 64"],
    line: `Figures of ${REFERENCE}, as asked.`,
  });
});

Deno.test("a machine without a folder is a usage error that names those that have one", async () => {
  using dir = await results({ here: ["epoll"], far: ["epoll"] });
  for (const machine of ["a-cpu", "..", "", "charts"]) {
    await assertRejects(
      () => choose(dir.path, { machine }),
      UsageError,
      `--machine ${machine} has no results. There are: ${HERE}, ${REFERENCE}.`,
    );
  }
  using empty = folder();
  await assertRejects(() => choose(empty.path, { machine: HERE }), UsageError, "There are: none.");
});

Deno.test("full runs and studies cover, whatever came out; quick ones cover nothing", () => {
  const skipped = newResult({ ...RUN, experiment: "iocp", ended: "skipped", reason: "it needs Windows." });
  const quick = newResult({ ...RUN, experiment: "poll", quick: true });
  const stored = storedOf(held("epoll", 3), loaded("epoll", {}), probed("queue", "a", "us", 1));
  const results = [...stored.results, skipped, quick];
  assertEquals(
    [...coverage({ ...stored, results })].sort(),
    ["a study of probe", "hold of epoll", "hold of iocp", "throughput of epoll"],
  );
  const studies = { ...stored.studies, probe: stored.studies.probe.map((study) => ({ ...study, quick: true })) };
  assertEquals([...coverage({ ...stored, results: [], studies })], []);
  assertEquals([...coverage(storedOf(exists("epoll")))], []);
});

Deno.test("the path of a result and of a study is where it is stored, with slashes", async () => {
  using dir = folder();
  const result = newResult(RUN);
  const path = await writeResult(result, join(dir.path, "results"));
  assertEquals(join(dir.path, ...resultPath(result).split("/")), path);
  const row = { probe: "queue", variant: "a", metric: "us", value: 1, low: 1, high: 1, runs: 7, note: null };
  const ofStudy = await writeStudy("probe", [row], { command: "x", quick: false, dir: join(dir.path, "results") });
  assertEquals(join(dir.path, ...studyPath(JSON.parse(Deno.readTextFileSync(ofStudy))).split("/")), ofStudy);
});

Deno.test("paths are those of the machine that measured", () => {
  const [result] = storedOf(on({ cores: 64 }), held("epoll", 1)).results;
  assertEquals(resultPath(result!).split("/").slice(0, 3), ["results", REFERENCE, "epoll"]);
});

Deno.test("full and quick runs are distinguished, and those without figures are neither", () => {
  const quick = newResult({ ...RUN, quick: true });
  const broken = newResult({ ...RUN, ended: "crashed", reason: "it crashed" });
  const limited = newResult({ ...RUN, ended: "limited", reason: "descriptors" });
  const late = newResult({ ...quick, ended: "limited", reason: "it ran out of time" });
  const results = [newResult(RUN), quick, broken, limited, late];
  assertEquals(fullRuns({ results }, "epoll", "hold"), [results[0]!, limited]);
  assertEquals(quickRuns({ results }, "epoll", "hold"), [quick]);
});

Deno.test("runs and comparisons with another head or with named cores are never read among those with the defaults", async () => {
  using dir = folder();
  const { parameters } = RUN;
  const setups = [
    { head: "browser" },
    { head: "minimal" },
    { head: "client" },
    { server_cores: "0", load_cores: "1" },
    {},
  ] as const;
  for (const setup of setups) {
    await writeResult(newResult({ ...RUN, lab: TODAY, parameters: { ...parameters, ...setup } }), dir.path);
  }
  const { stored, passedOver } = await readStored(dir.path, HERE);
  assertEquals(passedOver, []);
  assertEquals(stored.results.map((of) => of.parameters.head ?? "default").sort(), ["client", "default"]);
  assertEquals(stored.results.some((of) => of.parameters.server_cores !== undefined), false);
});

Deno.test("older runs and rows without a head are of the head minimal, and never stand beside newer ones", async () => {
  using dir = folder();
  const days = { old: new Date(Date.UTC(2026, 0, 1)), now: new Date(Date.UTC(2026, 0, 2)) };
  const add = (experiment: string, scenario: Run["scenario"], lab?: Run["lab"]) =>
    writeResult(newResult({ ...RUN, experiment, scenario, ...(lab && { lab }) }, lab ? days.now : days.old), dir.path);
  const heads = async () => {
    const { stored } = await readStored(dir.path, HERE);
    return stored.results.map(({ experiment, scenario, parameters }) => `${experiment} ${scenario} ${parameters.head}`)
      .sort();
  };
  await add("epoll", "throughput");
  await add("poll", "throughput");
  await add("epoll", "rate");
  assertEquals(await heads(), ["epoll rate minimal", "epoll throughput minimal", "poll throughput minimal"]);
  await add("epoll", "throughput", TODAY);
  await add("epoll", "rate", TODAY);
  assertEquals(await heads(), ["epoll rate undefined", "epoll throughput minimal", "poll throughput minimal"]);
  await add("poll", "throughput", TODAY);
  assertEquals((await heads()).filter((of) => of.includes("minimal")), []);
  assertEquals((await readAll(dir.path, HERE)).results.length, 6);
});

Deno.test("quick runs with another head do not replace full ones", async () => {
  using dir = folder();
  await writeResult(newResult({ ...RUN, experiment: "epoll" }, new Date(Date.UTC(2026, 0, 1))), dir.path);
  for (const experiment of ["epoll", "poll"]) {
    await writeResult(
      newResult({ ...RUN, experiment, lab: TODAY, quick: true }, new Date(Date.UTC(2026, 0, 2))),
      dir.path,
    );
  }
  const { stored } = await readStored(dir.path, HERE);
  assertEquals(stored.results.map(({ experiment, quick }) => [experiment, quick]), [["epoll", false]]);
});

Deno.test("a comparison has the head of its time, and two heads are not read of one scenario", async () => {
  using dir = folder();
  const row = comparisonRow();
  const store = (lab: Study<"comparison">["lab"], rows: ComparisonRow[], id: string) => {
    const study = studyOf("comparison", rows, { id, lab });
    const path = join(dir.path, ...studyPath(study).split("/").slice(1));
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.writeTextFileSync(path, JSON.stringify(study));
  };
  const heads = async () =>
    (await readStored(dir.path, HERE)).stored.studies.comparison.flatMap(({ rows }) =>
      rows.map(({ candidate, head }) => `${candidate} ${head}`)
    );
  store({ ...TODAY, load: null }, [row, comparisonRow({ candidate: "poll" })], "0badcaf0");
  assertEquals(await heads(), ["epoll minimal", "poll minimal"]);
  store(TODAY, [row], "0badcaf1");
  assertEquals(await heads(), ["epoll minimal", "poll minimal"]);
  store(TODAY, [comparisonRow({ candidate: "poll" })], "0badcaf2");
  assertEquals((await heads()).sort(), ["epoll undefined", "poll undefined"]);
});
