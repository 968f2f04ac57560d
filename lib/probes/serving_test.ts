/** The probes of those who serve: over loops, over fresh connections, with options. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { manifestOf } from "../server/manifest.ts";
import { measureBandwidth } from "./bandwidth.ts";
import { PatchedCopies, replaced } from "../catalogue/patched_copies.ts";
import { largestShare, measureLoops, RATES, SHARES } from "./loops.ts";
import { measurePooling } from "./pooling.ts";
import type { ProbeRow } from "./probe.ts";
import { Rig } from "./rig.ts";
import type { ComparisonRow } from "../results/rows.ts";
import { comparisonRow, found } from "../testing/fixtures.ts";
import { measureOptions, OPTIONS, ratioRows } from "./socket_options.ts";

const ignore = Deno.build.os !== "linux";
const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
const valueIn = (rows: ProbeRow[]) => (variant: string, metric: string) =>
  rows.find((row) => row.variant === variant && row.metric === metric)?.value ?? NaN;

Deno.test("the largest share is one half where all is even, and one where one has all", () => {
  assertEquals([largestShare([5, 5]), largestShare([0, 3]), largestShare([1, 3])], [0.5, 1, 0.75]);
});

Deno.test({
  name: "each of twelve connections belongs to one of two loops, and both sides' cores are known",
  ignore,
  fn: async () => {
    const rows = await measureLoops({ sizes: [12], runs: 1, loops: 2, seconds: 0.5 }, plan);
    const value = valueIn(rows);
    const [connections, requests] = SHARES.map((metric) => value("12", metric));
    assert(Math.abs(connections! * 12 - Math.round(connections! * 12)) < 1e-9, `a share of ${connections}`); // all of them, and no answer, are counted
    for (const share of [connections!, requests!]) assert(share >= 0.5 && share <= 1, `a share of ${share}`);
    for (const variant of ["1 loop", "2 loops"]) {
      assert(value(variant, RATES[0]) > 100, `${variant}: requests a second, not a millisecond`);
      assert(value(variant, RATES[1]) > 0 && value(variant, RATES[1]) < 3, `${variant}: cores of the server`); // loops and main
      assert(value(variant, RATES[2]) > 0 && value(variant, RATES[2]) < 1.1, `${variant}: cores of a single thread`);
    }
  },
});

Deno.test({
  name: "a fresh connection for each request costs the server more than one that is kept",
  ignore,
  fn: async () => {
    const value = valueIn(await measurePooling({ connections: 4, runs: 1, seconds: 1 }, plan));
    for (const metric of ["requests_per_s", "cpu_us_per_request", "p50_us"]) {
      const ratio = value("fresh", metric) / value("pooled", metric);
      assert(Math.abs(value("fresh / pooled", `${metric}_ratio`) / ratio - 1) < 1e-9, metric);
    }
    assert(value("fresh / pooled", "cpu_us_per_request_ratio") > 1);
  },
});

Deno.test({
  name: "bytes are those of the answers, each connection has its part of them",
  ignore,
  fn: async () => {
    const rows = await measureBandwidth({ connections: 8, runs: 1, seconds: 1 }, plan);
    const value = valueIn(rows);
    const all = value("epoll 8", "bytes_per_s");
    assert(all > 0 && all < 1e9, `${all} bytes/s`);
    assertEquals(value("epoll 8", "bytes_per_s_per_conn"), all / 8);
    const answer = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
    assertEquals(rows[0]!.note, `answers of ${answer.length} bytes, over 8 connections`);
  },
});

Deno.test("a change that finds its line nowhere, or twice, is an error that names the file", () => {
  const change = { name: "x", replace: "a\n", by: "$&" };
  assertEquals(replaced("a\nb\n", change, "f.ts"), "$&b\n");
  assertThrows(() => replaced("b\n", change, "f.ts"), Error, 'Cannot make x: "a\\n" stands 0 times in f.ts');
  assertThrows(() => replaced("a\na\n", change, "f.ts"), Error, "stands 2 times");
});

/** Whether a timer of SO_KEEPALIVE runs on the server's end of a connection: `tr` is 2, see proc_net_tcp in the kernel's documentation. */
function isKeptAlive(port: number): boolean {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  // A busy machine has more sockets in that file than fit into the buffer of this project's reader.
  const { stdout } = new Deno.Command("grep", { args: ["-F", local, "/proc/net/tcp"] }).outputSync();
  const lines = new TextDecoder().decode(stdout).split("\n");
  const own = lines.map((line) => line.trim().split(/\s+/)).filter((words) => `${words[1]} `.endsWith(local));
  return own.some(([, , , state, , timer]) => state === "01" && timer!.startsWith("02:"));
}

Deno.test({
  name: "each changed copy differs in its option, as the kernel tells of its sockets, and in no other",
  ignore,
  fn: async () => {
    using changed = new PatchedCopies();
    const seen = new Map<string, { nodelay: boolean | null; backlog: number | null; large: boolean; kept: boolean }>();
    for (
      const change of [...OPTIONS, { name: "none", replace: "const BACKLOG = 4096;", by: "const BACKLOG = 4096;" }]
    ) {
      const server = changed.make("epoll", change);
      await using rig = await Rig.start({ server, signal: plan.signal });
      await rig.climber()(1);
      const { nodelay, backlog, receive_buffer_bytes } = await manifestOf(server, rig.server);
      const large = receive_buffer_bytes! > 2 * 131_072; // what tcp_rmem gives at first
      seen.set(change.name, { nodelay, backlog, large, kept: isKeptAlive(rig.server.port) });
    }
    const none = { nodelay: true, backlog: 4096, large: false, kept: true };
    assertEquals(Object.fromEntries(seen), {
      "no-nodelay": { ...none, nodelay: false },
      "no-keepalive": { ...none, kept: false },
      "large-buffers": { ...none, large: true },
      "backlog-128": { ...none, backlog: 128 },
      none,
    });
  },
});

Deno.test({
  name: "an option is compared in pairs: a ratio of latencies and of CPU time",
  ignore,
  fn: async () => {
    const extent = { connections: 4, rounds: 1, slices: 2, seconds: 1, settleSeconds: 0.5 };
    const rows = await measureOptions({ ...extent, options: OPTIONS.slice(0, 1) }, plan);
    assertEquals(rows.map(({ variant, metric }) => `${variant} ${metric}`).sort(), [
      "no-nodelay cpu_us_per_request_ratio",
      "no-nodelay p50_us_ratio",
      "no-nodelay p99_us_ratio",
    ]);
    for (const { metric, value, runs, low, note } of rows) {
      assertEquals([runs, low], [value === null ? 0 : 1, null]);
      if (value === null) assertMatch(note!, /limit|shared|others/); // a busy machine has bounds in place of latencies
      else assert(value > 0.01 && value < 100, `${metric} ${value}`);
    }
  },
});

Deno.test("an option has no ratio where the load generator was the limit, or the option could not be compared", () => {
  const row = comparisonRow({ candidate: "no-nodelay", reference: "epoll", metric: "p50_us", scenario: "rate" });
  const of = (change: Partial<ComparisonRow>) =>
    ratioRows({ ...row, ...change }).map(({ metric, value, low, high, note }) => [metric, value, low, high, note]);
  const note = "option / none, at half of what the slower reaches; 1: no difference";
  assertEquals(of({}), [["p50_us_ratio", 1.1, 1.05, 1.15, note]]);
  const missing = (why: string, name = "p50_us_ratio") => [[name, null, null, null, why]];
  const bound = [found("epoll", "client_bound")];
  assertEquals(of({ findings: bound }), missing("the load generator was the limit"));
  assertEquals(of({ findings: bound, metric: "cpu_us_per_request" })[0]![1], 1.1);
  assertEquals(of({ findings: [found("epoll", "shared_core")] }), missing("server and load generator shared a core"));
  assertEquals(of({ ratio: null, reason: "no-nodelay: no connection" }), missing("no connection"));
  assertEquals(of({ metric: "requests_per_s" }), []);
});
