import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { DOMParser } from "@b-fuze/deno-dom";
import { catalogue } from "../../lib/catalogue/catalogue.ts";
import type { RankSpec } from "../../lib/charts/config.ts";
import { FINDING_IDS } from "../../lib/results/findings.ts";
import { count } from "../../lib/text/format.ts";
import { trends } from "../../lib/regress/trend.ts";
import { TEXTS } from "../../lib/claims/table.ts";
import { CLAIMS_SCHEMA, type ClaimsFile } from "../../lib/claims/file.ts";
import type { Metrics, Result } from "../../lib/results/results.ts";
import type { SoakRow } from "../../lib/results/rows.ts";
import type { PageData } from "./data.ts";
import { ownServers, readContents, type ReportContents } from "./contents.ts";
import { renderReport, withoutBreaks } from "./page/page.tsx";
import { isOfNoise } from "../../lib/tables/comparison.ts";
import { faultMatrix } from "../../lib/tables/faults.ts";
import { faulted, night, storedOf, swept } from "../../lib/testing/fixtures.ts";

/** All sources are in it, and 60 of them are long. */
const MAX_BYTES = 8e6;
const NO_SCRIPTS = { head: "", main: "" };
const contents = await readContents();
/** With usual spaces: that figures have others is a test of its own. */
const parse = (of: ReportContents, others: ReportContents[] = []) =>
  new DOMParser().parseFromString(renderReport(of, NO_SCRIPTS, others).replaceAll("\u00a0", " "), "text/html")!;
const html = renderReport(contents, NO_SCRIPTS);
const page = parse(contents);
/** What the script of a page gets. */
const dataOf = (of: typeof page): PageData => JSON.parse(of.querySelector("#data")!.textContent)[contents.machine];
const textOf = (selector: string, of = page) => of.querySelector(selector)?.textContent.replace(/\s+/g, " ") ?? "";
/** All values of an attribute. */
const all = (attribute: string, selector = `[${attribute}]`) =>
  [...page.querySelectorAll(selector)].map((element) => element.getAttribute(attribute)!);

/** The results as they lie on the disk, read past everything that makes the report. */
const folder = `results/${contents.machine}`;
const files: Result[] = [...Deno.readDirSync(folder)].filter((of) => of.isDirectory && of.name !== "studies")
  .flatMap(({ name }) =>
    [...Deno.readDirSync(`${folder}/${name}`)].filter((of) => of.name.endsWith(".json"))
      .map((of) => JSON.parse(Deno.readTextFileSync(`${folder}/${name}/${of.name}`)))
  );

const keys = all("data-key");
const rowsByName = new Map(
  [...page.querySelectorAll("#servers tbody tr")].map((tr) => [tr.getAttribute("data-name")!, [...tr.children]]),
);
/** The cell of the big table in a row, by the key of its column. */
const cell = (name: string, key: string) => rowsByName.get(name)![keys.indexOf(key)]!;

/** A report of these servers only, which is made sooner. */
const smaller = (shown: ReportContents["shown"]): ReportContents => ({
  ...contents,
  shown,
  comparisons: [],
  sources: new Map(),
});

Deno.test("the report loads nothing: what it needs is in it, and only links to read lead elsewhere", () => {
  for (
    const address of [...all("src"), ...all("href", "link, image, use"), ...all("srcset"), ...all("data", "object")]
  ) {
    assertMatch(address, /^(data:|#)/);
  }
  const styles = [...page.querySelectorAll("style")].map((style) => style.textContent).join();
  assert(!/@import/.test(styles) && !/url\((?!data:)/.test(styles), "a style asks for a file");
  for (const href of all("href", "a")) assertMatch(href, /^#/);
  assert(new TextEncoder().encode(html).length < MAX_BYTES, `it is larger than ${MAX_BYTES} bytes`);
});

Deno.test("latency against load stands in the report, or the command that measures it", () => {
  const sweep = storedOf(swept("epoll", 10_000), swept("go-net", 40_000))
    .studies.sweep[0]!;
  const measured = parse({ ...smaller(contents.shown.slice(0, 1)), sweep });
  assertStringIncludes(
    textOf("#comparison", measured),
    "The highest rate that meets p99=5ms",
  );
  assertStringIncludes(
    textOf("#comparison", measured),
    "go-net20 39620 000 to 20 8007",
  );
  const { charts } = dataOf(measured);
  assertEquals(charts["load"]!.kind, "lines");
  const none = parse({
    ...smaller(contents.shown.slice(0, 1)),
    sweep: undefined,
  });
  assertStringIncludes(
    textOf("#comparison", none),
    "Latency against load is not measured yet: deno task sweep epoll",
  );
});

Deno.test("what only another stored machine has is named with it, and a link chooses that one", () => {
  const { studies } = storedOf(faulted("epoll", "rst-storm"), swept("epoll", 10_000));
  const [row] = contents.shown;
  const name = row!.experiment.name;
  const prediction = (outcome: "open" | "held") => new Map([[name, { outcome, sentence: "S.", conditions: [] }]]);
  const none = { faults: { faults: [], servers: [] }, soaks: [], trends: [], sweep: undefined };
  const unmeasured = { ...row!, hold: undefined, throughput: undefined, rate: undefined, holds: [] };
  const here = { ...smaller([unmeasured]), ...none, claims: null, results: [], predictions: prediction("open") };
  const other: ReportContents = {
    ...smaller([row!]),
    machine: "other",
    headlines: contents.headlines.map(() => "**Known.** It is."),
    faults: faultMatrix(studies.faults, []),
    soaks: [SOAKED],
    trends: trends([night(0, { ratio: 1 })]),
    sweep: studies.sweep[0],
    predictions: prediction("held"),
  };
  const headlines = contents.headlines.map(() => "Not measured yet: `deno task x`.");
  const doc = parse({ ...here, headlines }, [other]);
  const of = (section: string) => [...doc.querySelectorAll(`main #${section} a[href^="?"]`)];
  const sections = { answer: headlines.length, faults: 2, nights: 1, comparison: 1, claims: 1, [name]: 1 };
  for (const [section, links] of Object.entries(sections)) {
    assertEquals(of(section).map((link) => link.getAttribute("href")), Array(links).fill(`?machine=other#${section}`));
  }
  const said = textOf("main", doc);
  assert(!/Not measured yet|No fault was tried yet|Nothing was soaked yet|There is no history yet/.test(said));
  assertStringIncludes(said, "not measured on this machine; on other it is");
  assertStringIncludes(said, "On other: held.");
});

Deno.test("no line of the page ends within a figure", () => {
  const whole = new DOMParser().parseFromString(html, "text/html")!;
  const divided = /\d \d{3}(?!\d)|[×≥≤] \d|\d (?:[µm]?s|[KMGT]?i?B|%|CPU-µs)(?![\p{L}\d])/u;
  const visit = (node: typeof whole.body["childNodes"][number]): void => {
    if (["SCRIPT", "STYLE", "PRE", "CODE"].includes(node.nodeName)) return;
    if (node.nodeName === "#text") {
      const text = node.textContent ?? "";
      assertEquals(divided.exec(text)?.[0], undefined, text);
      if (text.includes("CPU-µs")) assertEquals(node.parentElement!.className, "unit");
    }
    node.childNodes.forEach(visit);
  };
  visit(whole.body);
  assert(html.includes("10\u00a0000"));
  assertEquals(
    withoutBreaks('<a title="> 1 000">1 000</a><code>1 000</code>'),
    '<a title="> 1 000">1\u00a0000</a><code>1 000</code>',
  );
});

Deno.test("every link in the report leads to something that is there", () => {
  const ids = all("id");
  assertEquals(ids.length, new Set(ids).size, "an id stands twice");
  for (const href of all("href", "a")) assert(ids.includes(href.slice(1)), href);
});

Deno.test("the report begins with what came out, and says of every prediction what became of it", () => {
  assertEquals(page.querySelector("main section")!.id, "answer");
  const said = [...page.querySelectorAll("#answer li")].map((li) => li.textContent);
  assertEquals(said, contents.headlines.map((line) => line.replaceAll(/\*\*|`/g, "")));
  assert(contents.predictions.size > 20);
  for (const [name, { outcome, sentence }] of contents.predictions) {
    assertEquals(textOf(`#${name} .outcome.${outcome}`), sentence.replace(/\s+/g, " "), name);
  }
});

Deno.test("every experiment and every peer has its page, with all that its header says, its command and its source", () => {
  for (const { experiment } of contents.shown) {
    const { name, idea, question, prediction, simplified, run } = experiment;
    const said = textOf(`article#${name}`);
    for (const text of [idea, question, prediction, simplified, run, `deno task exp:${name}`]) {
      assertStringIncludes(said, text.replaceAll("`", ""), name);
    }
    const sources = [...page.querySelectorAll(`article#${name} pre`)].map((pre) => pre.textContent);
    assertEquals(sources, contents.sources.get(name)!.map(({ text }) => text), name);
  }
  assertEquals(page.querySelectorAll("article").length, contents.shown.length);
});

Deno.test("the ladder has every experiment of this project, in reading order", () => {
  const names = [...page.querySelectorAll("#ladder .rung h4")].map((heading) => heading.textContent);
  assertEquals(names, contents.shown.filter(({ experiment }) => !experiment.peer).map((of) => of.experiment.name));
});

Deno.test("the figures in the big table are those in results/", () => {
  const check = (key: string, scenario: string, metric: keyof Metrics, wired = metric) => {
    let seen = 0;
    for (const { experiment: { name } } of contents.shown) {
      const value = cell(name, key).getAttribute("data-value");
      const isNoise = metric === "user_bytes_per_conn" &&
        cell(name, key).textContent.startsWith("≤ ");
      if (value === "" || isNoise) continue;
      const runs = files.filter((of) => of.experiment === name && of.scenario === scenario);
      const isIts = ({ metrics, parameters }: Result) =>
        metrics[parameters.wire === undefined ? metric : wired] === Number(value);
      assert(runs.some(isIts), `${name}: no run has ${metric} ${value}`);
      seen++;
    }
    assert(seen > 15, `${key}: ${seen} figures`);
  };
  check("held_and_answered", "hold", "answered");
  check("user_bytes_per_conn", "hold", "user_bytes_per_conn");
  check("requests_per_s", "throughput", "requests_per_s");
  check("cpu_us_per_request", "throughput", "cpu_us_per_request", "core_us_per_request");
});

Deno.test("the first ratio in the big table is that of the widest comparison at full load", () => {
  const widest = contents.comparisons.filter(({ rows }) => rows[0]!.scenario === "throughput")
    .map(({ rows }) => ({ ...rows[0]!, candidates: new Set(rows.map(({ candidate }) => candidate)).size }))
    .toSorted((a, b) => b.candidates - a.candidates)[0]!;
  const { reference, scenario, connections } = widest;
  const first = page.querySelector("#servers th:not(.more)[data-key*=_ratio_to_]")!.getAttribute("data-key")!;
  assert(first.endsWith(`_ratio_to_${reference}_${scenario}_${connections}`), first);
});

Deno.test("the ratios in the big table are those of the comparisons, the reference's own is 1", () => {
  assert(contents.comparisons.length > 0);
  for (const { rows } of contents.comparisons) {
    const { reference, scenario, connections } = rows[0]!;
    if (rows.some(isOfNoise)) {
      assert(keys.includes(`user_bytes_per_conn_${scenario}_${connections}`)); // the figures themselves, and no ratio
      continue;
    }
    const key = keys.find((of) => of.endsWith(`_ratio_to_${reference}_${scenario}_${connections}`))!;
    const metric = key.slice(0, key.indexOf("_ratio_to_"));
    for (const row of rows.filter((of) => of.metric === metric)) {
      assertEquals(cell(row.candidate, key).getAttribute("data-value"), String(row.ratio ?? ""), row.candidate);
    }
    assertEquals(cell(reference, key).textContent, "1");
  }
});

Deno.test("what the load generator limited is marked, what is missing is a dash, and a legend says so", () => {
  const bound = contents.shown.find(({ throughput }) => throughput?.findings.some(({ id }) => id === "client_bound"))!;
  assertMatch(cell(bound.experiment.name, "requests_per_s").textContent, /^≥ \d/);
  const none = contents.shown.find(({ hold }) => hold === undefined)!;
  assertEquals(cell(none.experiment.name, "held_and_answered").textContent, "–");
  for (const sign of ["≥", "≤", "–"]) assertStringIncludes(textOf(".legend"), sign);
});

Deno.test("what stopped a run is shown in the table, on its page and in its list of runs", () => {
  const [limited, reason] = contents.shown.map(({ experiment, hold }) => [experiment.name, hold?.reason] as const)
    .find(([, reason]) => reason)!;
  assertStringIncludes(cell(limited, "stopped_by").textContent, reason!);
  assertStringIncludes(textOf(`#${limited} .broken`), reason!);
  assertStringIncludes(textOf(`#${limited} table`), reason!);
});

Deno.test("what has not run says on its page, in the table and in the chart why not", () => {
  const { experiment } = contents.shown.find((of) => of.experiment.name === "iocp")!;
  const results = contents.results.filter((of) => of.experiment === "epoll");
  const doc = parse({
    ...smaller([{ experiment, hold: undefined, throughput: undefined, rate: undefined, holds: [] }]),
    results,
  });
  for (
    const place of [
      "#iocp .broken",
      "#ladder .none",
      '#servers [data-name="iocp"]',
      "#chart-ladder tbody",
      "#chart-ladder .without",
    ]
  ) {
    assertMatch(textOf(place, doc), /skipped: iocp needs Windows/, place);
  }
  assertEquals(doc.querySelectorAll("#chart-ladder canvas").length, 0); // there is nothing to draw
});

Deno.test("what an experiment or a result says is text, whatever it says", () => {
  const evil = `<b>&"'</b><script>alert(1)</script>`;
  const first = contents.shown[0]!;
  const experiment = { ...first.experiment, title: evil, idea: evil, question: evil, run: evil, simplified: evil };
  const hold = { ...first.hold!, ended: "limited" as const, reason: evil, command: evil };
  const of = {
    ...smaller([{ ...first, experiment, hold }]),
    results: [hold],
    sources: new Map([[experiment.name, [{ path: "x.ts", language: "typescript", text: evil }]]]),
  };
  const doc = parse(of);
  assertEquals(doc.querySelectorAll("main b:not(.legend b), main script").length, 0);
  for (const place of ["summary", ".about", ".broken", "pre", ".commands", "table"]) {
    assertStringIncludes(textOf(`article ${place}`, doc), evil, place);
  }
  const { downloads } = dataOf(doc);
  assertEquals([downloads.runs.length, downloads.runs[0]!["reason"]], [1, evil]);
});

Deno.test("every finding is explained, with the runs that have it", () => {
  for (const id of FINDING_IDS) {
    const runs = files.filter(({ findings }) => findings.some((of) => of.id === id));
    const said = [...page.querySelectorAll("#findings tbody tr")].find((tr) =>
      tr.textContent.startsWith(id)
    )!.textContent;
    assertStringIncludes(said, contents.meanings.get(id)!.replaceAll("`", ""));
    assertStringIncludes(said, runs.length === 0 ? "none" : `${runs.length} of ${files.length}`);
    const rows = contents.comparisons.flatMap((of) => of.rows);
    const found = rows.filter(({ findings }) => findings.some((finding) => finding.id === id));
    assert(said.endsWith(found.length === 0 ? "none" : `${count(found.length)} of ${count(rows.length)}`), said);
  }
});

Deno.test("a custom server has a row, stands in the charts, and no link to it leads nowhere", () => {
  const epoll = contents.results.findLast(({ experiment, scenario, findings }) =>
    experiment === "epoll" && scenario === "throughput" && findings.length > 0
  )!;
  const mine = { ...epoll, experiment: "mine", family: "custom" };
  const hold = {
    ...contents.shown.find((of) => of.experiment.name === "poll")!.hold!,
    experiment: "mine",
    family: "custom",
  };
  const results = [...contents.results, mine, hold];
  const own = ownServers(catalogue(), results, []);
  assertEquals(own.map(({ experiment }) => experiment.name), ["mine"]);
  const doc = parse({ ...smaller(contents.shown), results, own });
  const row = doc.querySelector('#servers [data-name="mine"]')!;
  assertEquals([row.getAttribute("data-kind"), row.getAttribute("data-family")], ["own", "custom"]);
  for (const [name, value] of [["family", "custom"], ["kind", "own"]]) {
    assert(doc.querySelector(`#filter [name=${name}][value=${value}]`), name);
  }
  const { charts } = dataOf(doc);
  const memory = charts["memory"] as RankSpec;
  assertEquals(memory.items.find(({ name }) => name === "mine")?.value, hold.metrics.user_bytes_per_conn);
  assertStringIncludes(textOf("#findings", doc), "mine: throughput");
  const ids = [...doc.querySelectorAll("[id]")].map((element) => element.id);
  for (const link of doc.querySelectorAll("a")) {
    assert(ids.includes(link.getAttribute("href")!.slice(1)), link.outerHTML);
  }
});

Deno.test("claims are shown where there are any; where none are, the command is that makes them", () => {
  assertStringIncludes(textOf("#claims", parse({ ...smaller([]), claims: null })), "deno task claims");
  const claim = { en: "a <thread> is expensive", ko: "스레드는 비싸다" };
  const { name } = contents.shown[0]!.experiment;
  const results = [`${folder}/${name}/a.json`, `${folder}/studies/probe/b.json`];
  const words = { section: "T §2", claim, tried: "by `hold`", rule: "it is over a KiB", sceptic: "I sign it." };
  const row = { id: "T1", ...words, quick: true, results };
  const verdict = {
    verdict: "holds in part" as const,
    because: "Yes: it is. Open: 2.5 µs.",
    hosts: ["a machine"],
    commands: ["deno task exp"],
  };
  const rows = [{ ...row, ...verdict, figure: 1024, low: 512, high: 2048, unit: "bytes" as const }];
  const claims: ClaimsFile = { schema: CLAIMS_SCHEMA, time: contents.time, host: contents.results[0]!.host, rows };
  const doc = parse({ ...smaller(contents.shown.slice(0, 1)), claims });
  const cells = (selector: string) =>
    [...doc.querySelectorAll(`#claims ${selector}`)].map((of) => of.textContent.trim());
  const figure = "1 KiB [512 B, 2 KiB]";
  const verdictIs = "holds in part, by a quick run";
  assertEquals(cells("tbody tr > *"), ["T1", claim.en, verdictIs, figure]);
  assertEquals(cells("tbody a, #claim-T1 h4"), ["T1", `T1: ${verdictIs}, ${figure}`]);
  assertEquals(cells("#claim-T1 blockquote p"), [claim.en, claim.ko, "T §2"]);
  assertEquals(cells("#claim-T1 dd > ul li"), ["Yes: it is.", "Open: 2.5 µs."]);
  const [, ...judging] = cells("#claim-T1 dd");
  assertEquals(judging, [
    "it is over a KiB",
    "I sign it.",
    "by hold",
    `${name} ${results[0]}`,
    results[1],
    "a machine",
    "deno task exp",
  ]);
  assertEquals(cells("#claim-T1 dd a"), [name]);
  for (const { letter, title } of TEXTS) assertStringIncludes(textOf("#claims", doc), `${letter} is “${title}”`);
  assertStringIncludes(textOf("#answer", doc), "for a load of your own: deno task advise --connections");
  assertMatch(textOf("main > section"), /brackets behind a figure are its 98 % interval.*\[/);
  assertStringIncludes(textOf("#claims", doc), `1 claims. holds in part: 1 (1 by quick figures). Judged at`);
});

Deno.test("nights are a chart for each experiment, with what changed; where none are, the command is that makes them", () => {
  assertStringIncludes(textOf("#nights", parse({ ...smaller([]), trends: [] })), "deno task regress");
  const history = [...Array(10).fill(1), ...Array(10).fill(1.05)].map((ratio, i) => night(i, { ratio }));
  const doc = parse({ ...smaller([]), trends: trends(history) });
  const said = textOf("#nights", doc);
  assertStringIncludes(said, "event-loop: +5.0 % since 2026-01-11 (10 nights, 10 before)");
  const { charts } = dataOf(doc);
  assertEquals(charts["nights-event-loop"]!.kind, "lines");
  assertEquals(doc.querySelectorAll("#chart-nights-event-loop tbody tr").length, 40); // nights, and their medians
});

const SOAKED: SoakRow = {
  server: "epoll",
  seed: 1,
  minutes: 15,
  quantity: "memory",
  verdict: "flat",
  level: 2 ** 24,
  rise: -1000,
  rise_low: -2000,
  rise_high: 2000,
  step: 0,
  allowed: 2 ** 21,
  at_s: [1],
  values: [2 ** 24],
  faults: ["fragments"],
  requests: 100,
  unanswered: 0,
  visits: 20,
  visits_failed: 0,
  owed: 20,
  lost: 0,
  broken: null,
};

Deno.test("the matrix has a cell for each server and fault, with verdict, figures, reason and command", () => {
  const none = { faults: [], servers: [] };
  assertStringIncludes(textOf("#faults", parse({ ...smaller([]), faults: none })), "deno task faults --all");
  const reason = "serve-others: one client at a time";
  const { studies } = storedOf(
    faulted("epoll", "rst-storm"),
    faulted("epoll", "pipelines", { lost: 7, verdict: "failed", reason: "answers that were owed are lost" }),
    faulted("blocking", "pipelines", { lost: 9, verdict: "cannot", reason }),
  );
  const doc = parse({ ...smaller([]), faults: faultMatrix(studies.faults, ["blocking", "epoll"]) });
  const cells = [...doc.querySelectorAll("#faults tbody tr")].map((tr) =>
    [...tr.children].map((cell) => cell.textContent.replaceAll(/\s+/g, " ").trim())
  );
  assertEquals(cells.map(([server, storm]) => [server, storm === "–"]), [["blocking", true], ["epoll", false]]);
  assertMatch(cells[0]![2]!, /^cannot 9 lost ?serve-others: one client at a time/);
  assertMatch(cells[1]![1]!, /^survived 2.0 ms/);
  assertMatch(
    cells[1]![2]!,
    /^failed 7 lost.*answers lost7 of 100.*deno task faults epoll --fault pipelines --seed 1$/,
  );
  assertEquals(doc.querySelectorAll("#faults details").length, 3);
  assertStringIncludes(textOf("#faults", parse({ ...smaller([]), soaks: [] })), "deno task soak epoll");
  assertMatch(textOf("#faults tbody", parse({ ...smaller([]), faults: none, soaks: [SOAKED] })), /^epoll15.0.*flat/);
});

Deno.test("headings come in order, tables have captions, charts are described and have their figures as a table", () => {
  const levels = [...page.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(({ tagName }) => Number(tagName[1]));
  assertEquals(levels.filter((level) => level === 1).length, 1);
  for (const [i, level] of levels.entries()) {
    assert(level <= (levels[i - 1] ?? 0) + 1, `h${level} behind h${levels[i - 1]}`);
  }
  for (const table of page.querySelectorAll("table")) assert(table.querySelector("caption")!.textContent.length > 10);
  const { charts } = dataOf(page);
  const canvases = [...page.querySelectorAll("canvas")];
  assertEquals(canvases.map((canvas) => canvas.getAttribute("data-chart")), Object.keys(charts));
  for (const [i, spec] of Object.values(charts).entries()) {
    const canvas = canvases[i]!;
    const names = spec.kind === "lines" ? spec.series : spec.items;
    assertEquals(canvas.getAttribute("role"), "img");
    for (const { name } of names) assertStringIncludes(canvas.getAttribute("aria-label")!, `${name}: `);
    const rows = [...canvas.closest("figure")!.querySelectorAll("tbody tr")].map((tr) => tr.getAttribute("data-name"));
    assertEquals(new Set(rows), new Set(names.map(({ name }) => name)));
    assertMatch(canvas.closest("figure")!.textContent, /deno task /);
  }
  for (const landmark of ["header", "nav", "main", "footer", 'a.skip[href="#main"]']) {
    assert(page.querySelector(landmark));
  }
});
