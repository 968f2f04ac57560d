import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { faulted, type Piece, storedOf } from "../testing/fixtures.ts";
import { cellFigures, faultMatrix, faultsSentence, faultsTable, lostOf } from "./faults.ts";

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

Deno.test("an answer that is not promised is not lost", () => {
  assertEquals(matrix.servers.map(lostOf), [0, 0, 0]);
  assertEquals(faultMatrix(older, []).servers.map(lostOf), [0, 7]);
  assertEquals(
    faultsSentence(matrix),
    "3 servers under 2 faults: 2 of 4 cells survived, 0 answers lost that were promised.",
  );
});

Deno.test("a server has a row with its verdicts and what it did not survive", () => {
  const lines = faultsTable(matrix).split("\n");
  assertEquals(lines.length, 5);
  assertMatch(lines[2]!, /^\| blocking \| 0 of 1 \| 0 \| 0 \| 1 \| 0 \| .*cannot: fragments/);
  assertMatch(lines[3]!, /^\| epoll \| 2 of 2 \|/);
});

Deno.test("a cell has its figures and the command that repeats it", () => {
  const row = matrix.servers[1]!.cells.get("pipelines")!;
  assertEquals(row.command, "deno task faults epoll --fault pipelines --seed 1");
  assertEquals(matrix.servers[2]!.cells.get("fragments")!.command, "deno task made-up");
  const figures = Object.fromEntries(cellFigures(row));
  assertEquals(figures["answers lost"], "0 of 100");
  assertStringIncludes(figures["p99 before, during, after"]!, "1.0 ms, 2.0 ms, 1.0 ms");
  assertEquals(cellFigures({ ...row, verdict: "skipped" }), []);
});
