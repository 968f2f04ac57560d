import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { ProbeRow } from "../probe.ts";
import { listings, listingsObstacle, measureListings } from "./listings.ts";

const ignore = await listings.obstacle() !== null;
const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
const EXTENT = {
  pool: { size: 3, waitS: 0.2 },
  lateReader: { mebibytes: [1, 32] },
  length: { requests: 2, waitS: 0.2 },
  sleep: { clients: 10, pauseS: 0.3 },
  runs: 1,
};

Deno.test({
  name: "each listing shows its fault by counts, and its cure does not have it",
  ignore,
  fn: async () => {
    const rows = await measureListings(EXTENT, plan);
    const of = (variant: string, metric: string): ProbeRow["value"] =>
      rows.find((row) => row.variant === variant && row.metric === metric)!.value;

    assertEquals([of("pool, lock held", "acquired"), of("pool, lock held", "released")], [3, 0]);
    assertEquals([of("pool, condition", "acquired"), of("pool, condition", "released")], [4, 3]);

    const late = "late reader 32 MiB";
    assert(of(`${late}, sendall`, "lost_bytes")! > 0);
    assert(of(`${late}, sendall`, "right_bytes")! < 32 * 2 ** 20);
    assertEquals([of(`${late}, rest kept`, "lost_bytes"), of(`${late}, rest kept`, "right_bytes")], [0, 32 * 2 ** 20]);

    assertEquals([of("epoll, no length", "answered"), of("epoll, no length", "connects")], [0, 2]);
    assertEquals([of("epoll, length", "answered"), of("epoll, length", "connects")], [2, 1]);
    assertEquals([of("prefork, no length", "answered"), of("prefork, no length", "connects")], [2, 2]);

    assertEquals([of("clients, sleep", "answered"), of("clients, no sleep", "answered")], [10, 10]);
    assert(of("clients, sleep", "took_s")! >= 0.3);
  },
});

Deno.test({
  name: "a median is over the runs of a listing, and its note says how it was measured",
  ignore,
  fn: async () => {
    const rows = await measureListings({ ...EXTENT, lateReader: { mebibytes: [] }, runs: 2 }, plan);
    const runsOf = (variant: string) => rows.find((row) => row.variant === variant)!.runs;
    assertEquals([runsOf("pool, condition"), runsOf("clients, sleep")], [2, 1]);
    assertEquals(rows[0]!.note, "3 of 3 are in use; one more is asked for, then all are given back");
  },
});

Deno.test({
  name: "listings end when they are interrupted",
  ignore,
  fn: async () => {
    const controller = new AbortController();
    const measuring = measureListings({ ...EXTENT, pool: { size: 3, waitS: 60 } }, {
      ...plan,
      signal: controller.signal,
      onProgress: () => queueMicrotask(() => controller.abort(new Error("interrupted"))),
    });
    await assertRejects(() => measuring, Error);
    assert(controller.signal.aborted);
  },
});

Deno.test("without Python the listings are skipped with the line that installs it", async () => {
  const reason = await listingsObstacle("/nonexistent/python3");
  if (Deno.build.os !== "linux") return assertMatch(reason!, /needs Linux/);
  assertMatch(reason!, /^It needs \/nonexistent\/python3: apt-get install -y python3/);
});
