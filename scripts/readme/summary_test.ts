import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { shown } from "../../lib/results/choose.ts";
import type { Result } from "../../lib/results/results.ts";
import { comparisonRow, held, loaded, type Piece, run, storedOf, swept } from "../../lib/testing/fixtures.ts";
import { loadChart, spread, summaryTable } from "./summary.ts";

Deno.test("README.md shows latency against load where a sweep is stored, in few bytes", () => {
  const lines = loadChart(storedOf(swept("epoll", 10_000)));
  assertStringIncludes(lines[0]!, "](results/charts/load.png)");
  assertStringIncludes(lines[1]!, "](results/README.md#latency-against-load)");
  assert(lines.join("\n\n").length < 200);
  assertEquals(loadChart(storedOf()), []);
});

Deno.test("a figure of one run stands alone, several are a median with a range", () => {
  const write = (value: number) => value.toFixed(1);
  assertEquals(spread([], write), "–");
  assertEquals(spread([null, undefined], write), "–");
  assertEquals(spread([7], write), "7.0");
  assertEquals(spread([9, 7, null, 8], write), "8.0 [7.0, 9.0]");
  assertEquals(spread([7.01, 7.02], write), "7.0 [7.0, 7.0]");
});

Deno.test("the table of README.md has the range of runs that repeat each other", () => {
  const known = { commit: null, load: "0badcafe", served: "0ddba11" };
  let lab: Result["lab"] = known;
  const cells = (...pieces: Piece[]) => {
    const { experiments, results } = storedOf(...pieces);
    for (const result of results) result.lab = lab;
    const [row] = summaryTable(shown(experiments, results), { results, compared: [] }).split("\n").filter((line) =>
      line.includes("[epoll]")
    );
    return row!.split("|").map((cell) => cell.trim()).slice(2, 5);
  };
  const cost = (us: number): Piece => loaded("epoll", { cpu_us_per_request: us });
  const memory = { connections: 10_000, user_bytes_per_conn: 2048, kernel_bytes_per_conn: 4096 };
  assertEquals(cells(held("epoll", 10_000, memory), cost(6)), ["≥ 10 000", "2 KiB + 4 KiB", "6.0"]);
  const disturbed: Piece = (into) => {
    cost(99)(into);
    into.results.at(-1)!.findings.push({ server: "epoll", id: "foreign_load", sentence: "." });
  };
  const others: Piece[] = [
    run("epoll", "throughput", { connections: 200 }, { cpu_us_per_request: 50 }), // asked for another number
    run("epoll", "throughput", { connections: 100 }, { cpu_us_per_request: 60 }, true), // quick
    loaded("poll", { cpu_us_per_request: 70 }),
    disturbed,
  ];
  const twice = cells(held("epoll", 9990, memory), held("epoll", 9980, memory), ...others, cost(6), cost(7), cost(6.4));
  assertEquals([twice[0], twice[2]], ["9 985 [9 980, 9 990]", "6.4 [6.0, 7.0]"]);
  assertEquals(cells(held("epoll", 10_000, memory), held("epoll", 9980, memory))[0], "9 990 [9 980, 10 000]"); // one fell short
  for (const unknown of [{ ...known, load: null }, { ...known, served: null }]) {
    lab = unknown; // then no two runs are known to be of the same code
    assertEquals(cells(cost(6), cost(7))[2], "7.0");
  }
  lab = known;
  assertEquals(cells(cost(6), disturbed)[2], "6.0");
  assertEquals(cells(disturbed)[2], "99.0");
});

Deno.test("the table of README.md leaves out what has no figure, names it with the reason, and explains only what it has", () => {
  const { experiments, results } = storedOf(
    held("epoll", 10_000),
    loaded("epoll", { cpu_us_per_request: 6 }),
    held("poll", 0),
  );
  const [epoll, poll] = shown(experiments, results);
  const none = { ...poll!, hold: undefined, throughput: undefined, rate: undefined, holds: [] };
  const of = (all: Result[]) =>
    summaryTable([{ ...epoll!, throughput: all.at(-1) }, none], {
      results: all,
      compared: [
        comparisonRow({ candidate: "poll", rounds: 0, reason: "poll: no such call: ENOSYS; its package is none" }),
      ],
    });
  const once = results.filter(({ experiment }) => experiment === "epoll");
  const text = of(once);
  assert(!text.includes("[poll]"), text);
  assertStringIncludes(text, "No figure: poll: skipped: no such call.");
  assertStringIncludes(text, "Each figure is of a single run");
  assert(!text.includes("brackets"));
  const lab = { commit: null, load: "0badcafe", served: "0ddba11" };
  const twice = [...once, once[1]!].map((run, i) => ({ ...run, lab, id: String(i) }));
  assertStringIncludes(of(twice), "A figure with a range in brackets is the median of several runs");
});

Deno.test("the table of README.md has the CPU time of paired rounds, where they have an interval, before that of a run", () => {
  const { experiments, results } = storedOf(held("epoll", 10_000), loaded("epoll", { cpu_us_per_request: 9 }));
  const cell = (...compared: ReturnType<typeof comparisonRow>[]) => {
    const text = summaryTable(shown(experiments, results), { results, compared });
    assertEquals(text.includes("Each other figure"), text.includes(", × "));
    assertEquals(text.includes("its ratio to c-epoll"), text.includes(", × "));
    return text.split("\n").find((line) => line.includes("[epoll]"))!.split("|")[4]!.trim();
  };
  assertEquals(cell(comparisonRow()), "6.6, × 1.10 [1.05, 1.15]");
  assertEquals(cell(comparisonRow(), comparisonRow({ candidate_value: 7 })), "7.0, × 1.10 [1.05, 1.15]");
  const none: Parameters<typeof comparisonRow>[0][] = [
    ...[{ connections: 1000 }, { reference: "epoll-edge" }, { metric: "p99_us" }, { rounds: 0 }, {
      ratio_low: null,
    }],
    { candidate: "poll" },
    { head: "browser" },
    { server_cores: "0" },
    { findings: [{ server: "epoll", id: "foreign_load" }] },
  ];
  for (const change of none) assertEquals(cell(comparisonRow(change)), "9.0", JSON.stringify(change));
});

Deno.test("README.md says what came out before it shows a sample and the table, and its first chart has a dark variant", () => {
  const readme = Deno.readTextFileSync(new URL("../../README.md", import.meta.url));
  const places = ["<picture>", "findings:begin", "sample:begin", "summary:begin"].map((mark) => readme.indexOf(mark));
  assert(places[0]! > 0);
  assertEquals(places, places.toSorted((a, b) => a - b));
  for (const [, path] of readme.matchAll(/src(?:set)?="([^"]+)"/g)) {
    assert(Deno.statSync(new URL(`../../${path}`, import.meta.url)).isFile, path);
  }
});
