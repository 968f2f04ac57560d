import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { faulted, type Piece, storedOf } from "../testing/fixtures.ts";
import { cellFigures, faultMatrix, faultsSentence, faultsTable, lostOf, unpromisedOf } from "./faults.ts";

const studiesOf = (...pieces: Piece[]) => storedOf(...pieces).studies.faults;
const older = studiesOf(
  faulted("epoll", "fragments"),
  faulted("epoll", "pipelines", { lost: 7, verdict: "failed", reason: "answers that were owed are lost" }),
  faulted("blocking", "fragments", { lost: 20, verdict: "cannot", reason: "serve-others: one at a time" }),
);
const newer = studiesOf(
  faulted("epoll", "pipelines"),
  faulted("epoll", "fragments", { verdict: "skipped", reason: "no pid", answered_share_during: 0 }),
  faulted("mine", "fragments", { p99_ms_during: null, recovery_s: null, verdict: "degraded", reason: "slow" }),
);
const matrix = faultMatrix([...older, ...newer], ["blocking", "epoll"]);

Deno.test("a matrix has the newest cell of each, in reading order; one that was skipped replaces none", () => {
  assertEquals(matrix.faults, ["fragments", "pipelines"]);
  assertEquals(matrix.servers.map(({ server }) => server), ["blocking", "epoll", "mine"]);
  const [blocking, epoll] = matrix.servers;
  assertEquals(epoll!.cells.get("pipelines")!.verdict, "survived");
  assertEquals(epoll!.cells.get("fragments")!.verdict, "survived");
  assertEquals(blocking!.cells.get("pipelines"), undefined);
});

Deno.test("an answer that is not promised is counted beside those that are", () => {
  assertEquals(matrix.servers.map(lostOf), [0, 0, 0]);
  assertEquals(matrix.servers.map(unpromisedOf), [20, 0, 0]);
  assertEquals(faultMatrix(older, []).servers.map(lostOf), [0, 7]);
  assertEquals(
    faultsSentence(matrix),
    "3 servers under 2 faults: 2 of 4 cells survived, 0 skipped; 0 answers lost that were promised, " +
      "20 lost that are not promised.",
  );
});

/** The row of a server in the table, by the headings. */
function rowOf(...cells: Piece[]): Record<string, string> {
  const words = (line: string) => line.split("|").slice(1, -1).map((word) => word.trim());
  const [heads, _, row] = faultsTable(faultMatrix(studiesOf(...cells), [])).split("\n").map(words);
  return Object.fromEntries(heads!.map((head, i) => [head, row![i]!]));
}

Deno.test("a cell that was skipped is none of those that were survived, nor of those that were to be", () => {
  const skipped = { verdict: "skipped", reason: "no pid", clients: 0, requests_during: 0 } as const;
  const row = rowOf(faulted("xdp", "fragments", skipped), faulted("xdp", "pipelines"));
  assertEquals([row["survived"], row["skipped"]], ["1 of 1", "1"]);
});

Deno.test("a figure that is missing is worse than the greatest, but for a server that was to end or did not start", () => {
  const missing = { p99_ms_during: null, recovery_s: null };
  const worst = (...cells: Piece[]) => {
    const row = rowOf(faulted("epoll", "fragments", { p99_ms_during: 7, recovery_s: 0.5 }), ...cells);
    return [row["worst p99 during, ms"], row["slowest recovery, s"]];
  };
  assertEquals(worst(), ["7.0", "0.50"]);
  assertEquals(worst(faulted("epoll", "pipelines", { ...missing, verdict: "failed" })), ["none", "never"]);
  assertEquals(worst(faulted("epoll", "sigterm-under-load", { ...missing, exit_code: 0 })), ["7.0", "0.50"]);
  assertEquals(worst(faulted("epoll", "disk-full", { ...missing, verdict: "failed", clients: 0 })), ["7.0", "0.50"]);
});

Deno.test("a server has a row with its verdicts and what it did not survive", () => {
  const lines = faultsTable(matrix).split("\n");
  assertEquals(lines.length, 5);
  assertMatch(lines[2]!, /^\| blocking \| 0 of 1 \| 0 \| 0 \| 1 \| 0 \| 0 \| 20 \| .*cannot: fragments/);
  assertMatch(lines[3]!, /^\| epoll \| 2 of 2 \|/);
});

Deno.test("a cell has its figures and the command that repeats it", () => {
  const row = matrix.servers[1]!.cells.get("pipelines")!;
  assertEquals(row.command, "deno task faults epoll --fault pipelines --seed 1");
  assertEquals(matrix.servers[2]!.cells.get("fragments")!.command, "deno task made-up");
  const figures = Object.fromEntries(cellFigures(row));
  assertEquals(figures["answers lost"], "0 of 100");
  assertStringIncludes(figures["p99 before, during, after"]!, "1.0 ms, 2.0 ms, 1.0 ms");
  assertEquals(figures["answered during"], "100.0 % of 500 requests");
  assertEquals(cellFigures({ ...row, verdict: "skipped" }), []);
  assertEquals(cellFigures({ ...row, verdict: "failed", clients: 0 }), []); // it did not start
});

Deno.test("where nobody asked there is no share, and where new clients got no answer they are counted", () => {
  const row = matrix.servers[1]!.cells.get("pipelines")!;
  const names = (change: Partial<typeof row>) => cellFigures({ ...row, ...change }).map(([name]) => name);
  assertEquals(names({ answered_share_during: null, requests_during: 0 }).includes("answered during"), false);
  assertEquals(Object.fromEntries(cellFigures({ ...row, lost: 3, lost_after: 2 }))["of new clients behind it"], "2");
  assertEquals(names({}).includes("of new clients behind it"), false);
});
