import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { catalogue, find, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import { sample } from "../../lib/sampling/sampler.ts";
import { faultRow } from "../../lib/testing/fixtures.ts";
import { folder } from "../../lib/testing/folder.ts";
import { AnswerCounter } from "./answers.ts";
import { measureCell } from "./cell.ts";
import { CLIENTS, crowdOf, normalClients } from "./crowd.ts";
import { FAULTS, oversizedLengths, takesBack } from "./faults.ts";
import { figuresOf, type Trial } from "./figures.ts";
import type { Asked } from "./normal_clients.ts";
import { HarnessErrors } from "./harness_errors.ts";
import { openJournal } from "./keeping.ts";
import { lastLook } from "./leaving.ts";
import { allServers } from "./left_out.ts";
import { changes, contradicted, describe, fold } from "./report.ts";
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
    settle: (beside, alone) => alone.at(-1) ?? (beside!.endsWith("bad") ? null : beside),
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

Deno.test("a cell is measured alone until a row counts, and one that was never beside others says so", async () => {
  const seen: string[] = [];
  const settle = (beside: string | null, alone: readonly string[]) => {
    seen.push(`${beside} ${alone.length}`);
    return alone.length === 3 ? alone[2]! : null;
  };
  const { rows } = await runNumbers([2, 4, -6], { settle });
  const thrice = (beside: string) => [1, 2, 3].map((length) => `${beside} ${length}`);
  assertEquals(seen, ["2 good 0", "4 good 0", ...thrice("null"), ...thrice("2 good"), ...thrice("4 good")]);
  assertEquals(rows, ["-6 good", "2 good", "4 good"]);
  seen.length = 0;
  await runNumbers([2], { settle, lanes: 1 });
  assertEquals(seen, thrice("null"));
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

const ROW = faultRow();

Deno.test("a second run says whether its verdicts are those that were stored last, and which are not", () => {
  const failed: FaultRow = { ...ROW, verdict: "failed", reason: "answers that were owed are lost", lost: 3 };
  const earlier = [{ time: "2026-01-01T10:00:00.000Z", rows: [failed] }, {
    time: "2026-01-02T10:00:00.000Z",
    rows: [ROW],
  }];
  assertEquals(changes([ROW], []), []);
  assertEquals(changes([ROW], earlier), ["The verdict is as in the last run."]);
  assertEquals(changes([failed, { ...ROW, fault: "fragments" }], earlier), [
    "1 of 1 verdict differs from the last run:",
    "  epoll, pipelines: survived on 2026-01-02 10:00, now failed",
    "1 cell was not measured before.",
  ]);
  const matrix = FAULTS.map(({ id }) => ({ ...ROW, fault: id }));
  const stored = [{ time: "2026-01-03T10:00:00.000Z", rows: matrix }];
  assertEquals(changes(matrix, stored), [`All ${matrix.length} verdicts are as in the last run.`]);
  const worse = matrix.map((row, i): FaultRow => i < 2 ? { ...row, verdict: "degraded", reason: "late" } : row);
  assertEquals(changes(worse, stored), [
    `2 of ${matrix.length} verdicts differ from the last run:`,
    ...FAULTS.slice(0, 2).map(({ id }) => `  epoll, ${id}: survived on 2026-01-03 10:00, now degraded`),
  ]);
});

Deno.test("reasons that servers share stand on one line, and answers that were not promised are counted apart", () => {
  const cannot: FaultRow = { ...ROW, verdict: "cannot", reason: "drain: it forgets them", lost: 7 };
  const skipped: FaultRow = { ...ROW, verdict: "skipped", reason: "no pid", clients: 0, requests_during: 0 };
  const text = describe([cannot, { ...cannot, server: "poll" }, ROW, skipped], 200);
  assertStringIncludes(text, "  cannot: epoll, poll, pipelines: drain: it forgets them");
  const answer = "1 of 3 cells survived, 2 not promised, 1 skipped; 0 answers lost that were promised, " +
    "14 lost that are not promised.";
  assert(text.endsWith(answer), text);
});

Deno.test("what a server keeps by its header stands on one line, with all faults that it was seen behind", () => {
  const kept = (fault: string): FaultRow => ({ ...ROW, fault, reason: "return-memory: The heap grows." });
  const text = describe([kept("pipelines"), kept("fragments")], 120);
  assertStringIncludes(text, `  survived: ${ROW.server}, pipelines, fragments: return-memory: The heap grows.\n`);
});

Deno.test("no line is wider than the terminal, and what goes on stands to the right of where it began", () => {
  const reason = "half-close: once the client has closed its half, a request whose answer is not ready is dropped";
  const rows: FaultRow[] = [{ ...ROW, verdict: "cannot", reason, lost: 7 }, { ...ROW, server: "poll" }];
  const remarks = {
    leftOut: ["ws-epoll speaks WebSocket, and the clients of faults speak HTTP."],
    contradicted: null,
  };
  for (const width of [60, 80]) {
    const lines = describe(rows, width, remarks).split("\n");
    assertEquals(lines.filter((line) => line.length > width), []);
  }
  assertEquals(fold("  cannot: epoll: it forgets what it got", 24), [
    "  cannot: epoll: it",
    "    forgets what it got",
  ]);
  assertEquals(fold("one two three", 9), ["one two", "three"]);
});

Deno.test("a server that is left out has one line with the reason", () => {
  const leftOut = ["ws-epoll speaks WebSocket.", "kqueue needs macOS."];
  const text = describe([ROW], 80, { leftOut });
  assertStringIncludes(text, "\n  skipped: ws-epoll speaks WebSocket.\n  skipped: kqueue needs macOS.\n");
  assertEquals(
    describe([], 80, { leftOut: ["kqueue needs macOS."] }),
    "  skipped: kqueue needs macOS.\nNothing was measured.",
  );
});

Deno.test("each server of the catalogue is put under faults, or has a sentence that says why not", async () => {
  const all = catalogue();
  const obstacle = ({ name }: { name: string }) => Promise.resolve(name === "iocp" ? "iocp needs Windows." : null);
  const { here, leftOut } = await allServers(all, obstacle);
  const outside = all.filter((one) => !here.includes(one)).map(({ name }) => name);
  assertEquals(
    outside.toSorted(),
    ["iocp", ...all.filter((one) => !speaksHttp(one)).map(({ name }) => name)].toSorted(),
  );
  assertEquals(leftOut.length, outside.length);
  for (const [i, name] of outside.entries()) assert(leftOut[i]!.startsWith(`${name} `) && leftOut[i]!.endsWith("."));
});

Deno.test("a header that says of what it survives that it cannot is contradicted, once all its faults are survived", () => {
  const faults = [
    { id: "pipelines", abilities: ["drain", "late-reader"] },
    { id: "non-readers", abilities: ["drain"] },
  ];
  const servers = [{
    name: "epoll",
    cannot: { drain: "It forgets.", "late-reader": "It cuts.", linger: "It closes." },
  }];
  const rowsOf = (verdict: FaultRow["verdict"]): FaultRow[] => [ROW, { ...ROW, fault: "non-readers", verdict }];
  const start = "Survived although the header says it cannot: ";
  assertEquals(contradicted(rowsOf("survived"), servers, faults), `${start}epoll: drain, late-reader`);
  assertEquals(contradicted(rowsOf("cannot"), servers, faults), `${start}epoll: late-reader`);
  assertEquals(contradicted(rowsOf("skipped"), servers, faults), `${start}epoll: late-reader`);
  assertEquals(contradicted([ROW], servers, faults), `${start}epoll: late-reader`);
  assertEquals(contradicted([], servers, faults), null);
  const others = [{ name: "epoll", cannot: { "serve-others": "One at a time." } }];
  assertEquals(contradicted(rowsOf("cannot"), others, faults), null); // it is about all faults
  assertEquals(contradicted(rowsOf("survived"), others, faults), `${start}epoll: serve-others`);
  const loose = faults.map((fault) => ({ ...fault, loose: ["late-reader"] })); // less was demanded of it
  assertEquals(contradicted(rowsOf("survived"), servers, loose), `${start}epoll: drain`);
  assertEquals(contradicted([ROW], servers, loose), null);
  assertStringIncludes(describe([ROW], 200, { contradicted: `${start}epoll: drain` }), `\n${start}epoll: drain\n`);
});

Deno.test("a header that says of memory that it is kept is contradicted where none is, once all faults were tried", () => {
  const faults = ["pipelines", "fragments"].map((id) => ({ id, abilities: [] }));
  const servers = [{ name: ROW.server, cannot: { "return-memory": "It grows.", "return-threads": "By chance." } }];
  const rowsOf = (bytes: number): FaultRow[] =>
    faults.map(({ id }) => ({ ...ROW, fault: id, memory_left_bytes: id === "pipelines" ? bytes : 0 }));
  const never = `Survived although the header says it cannot: ${ROW.server}: return-memory`;
  assertEquals(contradicted(rowsOf(1000), servers, faults), never);
  assertEquals(contradicted(rowsOf(200 * 2 ** 20), servers, faults), null);
  assertEquals(contradicted(rowsOf(1000).slice(1), servers, faults), null);
});

Deno.test("an interrupt waits for what stops or limits the processes of a server", () => {
  const waitedFor = FAULTS.filter(takesBack).map(({ id }) => id);
  assertEquals(FAULTS.filter(({ needsPid }) => needsPid).filter(({ id }) => !waitedFor.includes(id)), []);
  assert(waitedFor.includes("aborted-connects"), "it stops a server that it knows the process of");
  assert(!waitedFor.includes("slow-heads"), "it takes long, and changes nothing");
});

Deno.test("only where each worker keeps one connection there are few clients", () => {
  const crowds = ["epoll", "multi-reactor", "reactor-pool", "nginx", "thread-per-conn", "c-threads"].map(find).map(
    crowdOf,
  );
  assertEquals(crowds.map(({ clients }) => clients), Array(6).fill(CLIENTS));
  assertEquals(crowds.map(({ room }) => room), Array(6).fill(Infinity));
  assertEquals(crowds.map(({ args }) => args.length > 0), [false, true, true, true, false, false]);
  const pools = ["prefork", "worker-pool", "apache-prefork", "python-prefork"].map(find).map(crowdOf);
  for (const pool of pools) assertEquals(pool, { clients: 2, args: ["--workers", "4"], room: 2 });
  assertEquals(crowdOf(find("blocking")), { clients: 1, args: [], room: 0 });
});

/** A cell whose fault lasts from 0 to `until` ms, with a request of 1 ms each 100 ms from -1 s to 3 s, and some without answer. */
function trialOf(until: number, unanswered: number[], change: Partial<Trial> = {}): Trial {
  const dues = Array.from({ length: 40 }, (_, i) => i * 100 - 1000);
  const none = { owed: 0, came: 0 };
  return {
    clients: 20,
    asked: dues.map((due) => [due, unanswered.includes(due) ? null : 1]),
    ...{ from: 0, until, ends: false, seen: none, after: none, had: null, left: null, endedEarly: false },
    cpu: { calm: null, from: null, until: null },
    ...change,
  };
}

Deno.test("requests count as those during a fault for a second at least, but not behind the end of a server", () => {
  const share = (...of: Parameters<typeof trialOf>) => {
    const { requests_during, answered_share_during } = figuresOf(trialOf(...of));
    return [requests_during, answered_share_during];
  };
  assertEquals(share(200, [500]), [10, 0.9]);
  assertEquals(share(200, [1000]), [10, 1]);
  assertEquals(share(2000, [1500]), [20, 0.95]);
  assertEquals(share(200, [100, 500], { ends: true }), [2, 0.5]);
  assertEquals(share(200, [], { asked: [] }), [0, null]);
});

Deno.test("what was under way when a fault came is no request of before", () => {
  assertEquals(figuresOf(trialOf(200, [-100])).p99_ms_before, 1);
  const late = trialOf(200, []).asked.map(([due]): Asked => [due, due === -100 ? 150 : 1]);
  assertEquals(figuresOf(trialOf(200, [], { asked: late })).p99_ms_before, 1);
  assertEquals(figuresOf(trialOf(200, [-500, -400, -300, -200, -100])).p99_ms_before, null); // it has answered nothing
});

Deno.test("recovery counts from the end of a fault, however short that was", () => {
  assertEquals(figuresOf(trialOf(200, [200, 300, 400])).recovery_s, 0.3);
  assertEquals(figuresOf(trialOf(200, [])).recovery_s, 0);
});

Deno.test("what new clients behind a fault are owed is added, and what they lost stands beside", () => {
  const { owed, lost, lost_after } = figuresOf(
    trialOf(200, [], { seen: { owed: 50, came: 48 }, after: { owed: 20, came: 15 } }),
  );
  assertEquals([owed, lost, lost_after], [70, 7, 5]);
});

const FRAGMENTS = FAULTS.filter(({ id }) => id === "fragments" || id === "pipelines");
const cellsOf = (name: string, faults = FRAGMENTS) => faults.map((fault) => ({ subject: find(name), fault }));

Deno.test("a run of one fault neither takes nor removes what a run of all has kept, and the same run takes it", async () => {
  using dir = folder();
  const options = { seed: 1, machine: "m", path: join(dir.path, "run.jsonl") };
  const cells = cellsOf("epoll");
  const open = (which: typeof cells, change: Partial<typeof options> = {}) =>
    openJournal(which, { ...options, ...change });
  const rowOf = ({ fault }: typeof cells[number]): FaultRow => ({ ...ROW, fault: fault.id });
  {
    using all = await open(cells);
    await all.keep(cells[0]!, rowOf(cells[0]!));
  }
  {
    using one = await open([cells[0]!]);
    assertEquals(one.kept, []);
    await one.keep(cells[0]!, { ...rowOf(cells[0]!), lost: 5 });
    await one.close();
  }
  const others = [
    () => open([...cells, ...cellsOf("poll")]),
    () => open(cells, { seed: 2 }),
    () => open(cells, { machine: "n" }),
  ];
  for (const other of others) {
    using another = await other();
    assertEquals(another.kept, []);
    await another.close();
  }
  using again = await open(cells.toReversed());
  assertEquals(again.kept, [rowOf(cells[0]!)]);
  await again.close();
  assertEquals([...Deno.readDirSync(dir.path)].map(({ name }) => name), ["run.jsonl.lock"]);
});

Deno.test("a cell in which this program fails is skipped with the reason, and once more measured alone", async () => {
  const [broken, sound] = cellsOf("epoll");
  const { signal } = new AbortController();
  const errors = new HarnessErrors((_, { id }) =>
    id === broken!.fault.id ? Promise.reject(new Error("out of luck")) : Promise.resolve(ROW)
  );
  const row = await errors.measure(broken!, 1, signal);
  const { server, fault, verdict, reason, runs } = row;
  assertEquals([server, fault, verdict, reason], [
    "epoll",
    broken!.fault.id,
    "skipped",
    "this program failed: out of luck",
  ]);
  assertEquals(runs, ["skipped"]);
  assertEquals(await errors.measure(sound!, 1, signal), ROW);
  assertEquals([errors.has(row), errors.has(ROW)], [true, false]);
  const failed: FaultRow = { ...ROW, verdict: "failed" };
  const skipped: FaultRow = { ...ROW, verdict: "skipped" };
  const degraded: FaultRow = { ...ROW, verdict: "degraded" };
  const excused: FaultRow = { ...ROW, verdict: "cannot" };
  const cases = [[ROW, skipped], [ROW, excused], [skipped], [ROW, failed], [ROW, degraded], [ROW, failed, row]];
  assertEquals(cases.map((rows) => errors.exitOf(rows)), [0, 0, 69, 1, 1, 70]);
  assertEquals([errors.settle(row, []), errors.settle(row, [row]), errors.settle(ROW, [])], [null, row, ROW]);
});

Deno.test("an interrupt is no failure of this program", async () => {
  const errors = new HarnessErrors(() => Promise.reject(new Error("ended")));
  const signal = AbortSignal.abort(new Error("interrupted"));
  await assertRejects(() => errors.measure(cellsOf("epoll")[0]!, 1, signal), Error, "interrupted");
});

Deno.test({
  name: "a cell that takes too long is stopped, and is an error",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const { signal } = new AbortController();
    await assertRejects(
      () => measureCell(find("epoll"), { id: "fragments" }, 1, signal, 1),
      Error,
      "The cell was not over after 0.001 s.",
    );
  },
});

Deno.test("a thread of normal clients that says nothing is an error, and is not waited for", async () => {
  await assertRejects(() => normalClients(1, 1, 0), Error, "was silent for 0 s");
});

/** A port on which nobody accepts, with a queue that one connection fills: the next SYN is dropped. */
function fullPort(): { port: number } & Disposable {
  const libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    listen: { parameters: ["i32", "i32"], result: "i32" },
    getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const { socket, bind, listen, getsockname, close } = libc.symbols;
  const [AF_INET, SOCK_STREAM] = [2, 1];
  const address = new Uint8Array([AF_INET, 0, 0, 0, 127, 0, 0, 1, ...new Uint8Array(8)]);
  const fd = socket(AF_INET, SOCK_STREAM, 0);
  const results = [bind(fd, address, 16), listen(fd, 0), getsockname(fd, address, new Uint32Array([16]))];
  assertEquals(results, [0, 0, 0]);
  return {
    port: address[2]! << 8 | address[3]!,
    [Symbol.dispose]() {
      close(fd);
      libc.close();
    },
  };
}

Deno.test({
  name: "a normal client that cannot connect has no answer once its patience is over",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using full = fullPort();
    using _first = await Deno.connect({ hostname: "127.0.0.1", port: full.port });
    using normal = await normalClients(full.port, 1);
    const asked = await normal.look();
    assert(asked.length > 0 && asked.every(([, ms]) => ms === null), JSON.stringify(asked));
  },
});

Deno.test({
  name: "what is left is waited for as long as threads or descriptors end, and no longer",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const own = sample(Deno.pid)!;
    const isTooMuch = (left: typeof own | null) => left!.threads > 1;
    const { signal } = new AbortController();
    let threads = 5;
    const ending = await lastLook(() => ({ ...own, threads: threads-- }), isTooMuch, signal, 1); // less than between two looks
    let looks = 0;
    const staying = await lastLook(() => ({ ...own, threads: Math.max(4, 5 - looks++) }), isTooMuch, signal, 1);
    assertEquals([ending!.threads, staying!.threads], [1, 4]);
  },
});
