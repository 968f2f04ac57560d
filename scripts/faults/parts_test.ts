import { assert, assertEquals, assertRejects } from "@std/assert";
import type { FaultRow } from "../../lib/results/rows.ts";
import { AnswerCounter } from "./answers.ts";
import { oversizedLengths } from "./faults.ts";
import { changes, describe } from "./report.ts";
import { runCells, type Schedule } from "./schedule.ts";

const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/** Counts answers that come in pieces of `size` characters. */
function countIn(text: string, size: number): AnswerCounter {
  const counter = new AnswerCounter();
  for (let at = 0; at < text.length; at += size) counter.push(text.slice(at, at + size));
  counter.end();
  return counter;
}

Deno.test("answers are counted however they are cut, and whatever their bodies are", () => {
  const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  const empty = "HTTP/1.1 204 No Content\r\n\r\n";
  const refused = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
  const interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
  const endless = "HTTP/1.1 200 OK\r\n\r\nto the end";
  for (const size of [1, 7, 1000]) {
    const counter = countIn(HELLO + chunked + empty + refused + interim + HELLO + endless, size);
    assertEquals([counter.good, counter.bad, counter.closes], [5, 1, true], `pieces of ${size}`);
    assertEquals(countIn(HELLO.slice(0, -1), size).whole, 0);
  }
});

Deno.test("lengths of heads are above the bound, and equal for equal seeds", () => {
  const lengths = oversizedLengths(7, 50);
  assertEquals(lengths, oversizedLengths(7, 50));
  assert(lengths.every((length) => length > 8192 && length <= 257 * 1024), String(lengths));
});

/** Runs cells that are numbers: a negative one is heavy, and an odd one looks bad while another is measured. */
async function runNumbers(cells: number[], change: Partial<Schedule<number, string>> = {}) {
  const [rows, most] = [[] as string[], { light: 0, heavy: 0 }];
  let running = 0;
  await runCells<number, string>(cells, {
    lanes: 3,
    isHeavy: (cell) => cell < 0,
    async measure(cell) {
      running++;
      await Promise.resolve();
      const seen = running;
      const kind = cell < 0 ? "heavy" : "light";
      most[kind] = Math.max(most[kind], seen);
      running--;
      return `${cell} ${cell % 2 !== 0 && seen > 1 ? "bad" : "good"}`;
    },
    isSuspect: (row) => row.endsWith("bad"),
    onStart: () => {},
    onRow: (_, row) => Promise.resolve(void rows.push(row)),
    signal: new AbortController().signal,
    ...change,
  });
  return { rows, most };
}

Deno.test("light cells share the machine, a heavy one has it alone, and what looks bad beside others is measured again", async () => {
  const { rows, most } = await runNumbers([1, 2, -3, 4, 5, -6]);
  assertEquals(most, { light: 3, heavy: 1 });
  assertEquals(rows.toSorted(), ["-3 good", "-6 good", "1 good", "2 good", "4 good", "5 good"]);
  assertEquals(rows.slice(0, 2), ["2 good", "4 good"]);
});

Deno.test("cells that only wait keep no other waiting, and are measured again among themselves", async () => {
  const { promise: othersAreOver, resolve } = Promise.withResolvers<void>();
  const order: number[] = [];
  const { rows } = await runNumbers([101, 103, 105, 2], {
    lanes: 2, // fewer than cells that wait
    isIdle: (cell) => cell > 100,
    async measure(cell) {
      order.push(cell);
      if (cell < 100) resolve();
      else await othersAreOver;
      return `${cell} ${cell === 105 && order.length < 5 ? "bad" : "good"}`;
    },
  });
  assertEquals([order.toSorted((a, b) => a - b), order.at(-1)], [[2, 101, 103, 105, 105], 105]);
  assertEquals([rows.toSorted(), rows.at(-1)], [["101 good", "103 good", "105 good", "2 good"], "105 good"]);
});

Deno.test("an interrupt keeps the rows that are there, and an error is thrown once all cells under way are over", async () => {
  const stop = new AbortController();
  const { rows } = await runNumbers([2, 4, 6, 8, -2], {
    lanes: 1,
    signal: stop.signal,
    measure(cell) {
      if (cell === 6) stop.abort();
      return cell === 6 ? Promise.reject(new Error("interrupted")) : Promise.resolve(`${cell} good`);
    },
  });
  assertEquals(rows, ["2 good", "4 good"]);
  const measure = (cell: number) => cell === 4 ? Promise.reject(new Error("broken")) : Promise.resolve("good");
  await assertRejects(() => runNumbers([2, 4, 6], { measure }), Error, "broken");
});

const ROW: FaultRow = {
  server: "epoll",
  fault: "pipelines",
  seed: 1,
  verdict: "survived",
  reason: null,
  answered_share_during: 1,
  p99_ms_before: 1,
  p99_ms_during: 1,
  p99_ms_after: 1,
  recovery_s: 0,
  cpu_share_during: 0,
  descriptors_left: 0,
  threads_left: 0,
  memory_left_bytes: 0,
  memory_held_bytes: null,
  owed: 100,
  lost: 0,
  outcomes: null,
  ended_early: false,
  exit_code: null,
};

Deno.test("a second run says which verdicts differ from those that were stored last", () => {
  const failed: FaultRow = { ...ROW, verdict: "failed", reason: "answers that were owed are lost", lost: 3 };
  const earlier = [{ time: "2026-01-01T10:00:00.000Z", rows: [failed] }, {
    time: "2026-01-02T10:00:00.000Z",
    rows: [ROW],
  }];
  assertEquals(changes([ROW], []), []);
  assertEquals(changes([ROW], earlier), ["1 of 1 verdict: as in the last run."]);
  assertEquals(changes([failed, { ...ROW, fault: "fragments" }], earlier).slice(1), [
    "Changed",
    "  epoll, pipelines: survived on 2026-01-02 10:00, now failed",
  ]);
});

Deno.test("reasons that servers share stand on one line, and answers that were not promised are not lost", () => {
  const cannot: FaultRow = { ...ROW, verdict: "cannot", reason: "drain: it forgets them", lost: 7 };
  const text = describe([cannot, { ...cannot, server: "poll" }, ROW], 200);
  assert(text.includes("  cannot: epoll, poll, pipelines: drain: it forgets them"), text);
  assert(text.endsWith("1 of 3 cells survived, 2 not promised, 0 skipped; 0 answers lost that were promised."), text);
});
