import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  check,
  metricChart,
  runEach,
  showC,
  showFootprints,
  showSource,
  showVisits,
  showWaits,
  slopes,
} from "./lesson.ts";
import { describeChart } from "../charts/config.ts";
import { run, storedOf } from "../testing/fixtures.ts";
import { showing } from "../testing/jupyter.ts";

const ignore = Deno.build.os !== "linux";
const noWindows = Deno.build.os === "windows"; // there iocp is not skipped
const last = (shown: { data: Record<string, string> }[]) => shown.at(-1)!.data["text/plain"]!;

Deno.test("a prediction is held against what came out; none, or nothing that came out, is said", async () => {
  const said = async (predicted: number | null, measured: number | null) =>
    last(await showing(() => check("It", predicted, measured, "us")));
  assertEquals(await said(4, 10), "It: you predicted 4 µs, it was **10 µs**, 2.5 times what you predicted.");
  assertEquals(await said(1, 4200), "It: you predicted 1 µs, it was **4.2 ms**, 4 200 times what you predicted.");
  assertEquals(await said(10, 10.01), "It: you predicted 10 µs, it was **10.0 µs**, as you predicted.");
  for (const none of [0, -4]) {
    assertEquals(await said(none, 10), `It: you predicted ${none === 0 ? "0" : "−4"} µs, it was **10 µs**.`);
  }
  assertEquals(await said(4, -10), "It: you predicted 4 µs, it was **−10 µs**.");
  assertEquals(await said(null, 10), "It: you predicted nothing, it was **10 µs**.");
  assertEquals(await said(4, null), "It: you predicted 4 µs, there is no figure of it here.");
  const bound = await showing(() => check("It", 4, 10, "us", "at most"));
  assertEquals(last(bound), "It: you predicted 4 µs, it was at most **10 µs**, at most 2.5 times what you predicted.");
});

Deno.test("source is shown with its file, its line and its language", async () => {
  const shown = last(await showing(() => showSource("peers/c/c-threads.c", "static void start_thread")));
  assert(
    /^experiments\/peers\/c\/c-threads\.c, line \d+:\n\n```c\nstatic void start_thread[^]*\n}\n```$/.test(shown),
    shown,
  );
});

Deno.test({
  name: "visits are one line for each server; one that cannot run here is a gap with its reason, and has no visits",
  ignore: ignore || noWindows,
  fn: async () => {
    const shown = await showing(async () => {
      const servers = [{ name: "iocp" }, { name: "prefork", args: ["--workers", "1"] }];
      const [none, visits] = await showVisits(servers, { clients: 2, staySeconds: 0.05 });
      assertEquals([none!.length, visits!.length], [0, 2]);
    });
    assertEquals(shown.map(({ type }) => type), ["display_data", "update_display_data", "display_data"]);
    const chart = shown[1]!.data["text/plain"]!;
    assert(/iocp: skipped: iocp needs Windows[^.]*[^]*[^.]\. prefork --workers 1: 1: .* s; 2: .* s/.test(chart), chart);
    assert(/- iocp: skipped: .*\n- prefork --workers 1: steps: 2$/.test(last(shown)), last(shown));
  },
});

Deno.test({
  name: "footprints are drawn while they come; a server that cannot run here is named below",
  ignore: ignore || noWindows,
  fn: async () => {
    const shown = await showing(async () => {
      const found = await showFootprints([["iocp", "pss_bytes"], ["epoll", "pss_bytes"]], [1, 3]);
      assertEquals(found.iocp, []);
      assertEquals(found.epoll!.map(({ connections }) => connections), [1, 3]);
    });
    assertStringIncludes(last(shown), "- iocp: skipped: iocp needs Windows");
    assertEquals(shown.filter(({ type }) => type === "display_data").length, 2);
  },
});

Deno.test({
  name: "one scenario runs on each, and the chart says why one has no value",
  ignore: ignore || noWindows,
  fn: async () => {
    const axis = { metric: "p99_us", title: "T", label: "l", unit: "us", scale: "log" } as const;
    const parameters = { connections: 2, seconds: 0.1, warmup_seconds: 0 };
    const shown = await showing(() => runEach(["iocp", "epoll"], "throughput", parameters, axis));
    assert(
      /^T\. epoll: .*s\. iocp: iocp needs Windows/.test(shown[1]!.data["text/plain"]!),
      shown[1]!.data["text/plain"],
    );
    assertStringIncludes(last(shown), "- iocp: skipped, iocp needs Windows");
  },
});

Deno.test("a server that held fewer connections than asked for says in the chart how many", () => {
  const connections = 30_000;
  const { results } = storedOf(
    run("epoll", "rate", { connections }, { connections: 19_936, cpu_us_per_request: 9 }),
    run("poll", "rate", { connections }, { connections, cpu_us_per_request: 40 }),
  );
  const axis = { metric: "cpu_us_per_request", title: "T", label: "l", unit: "us", scale: "log" } as const;
  assertEquals(describeChart(metricChart(results, axis)), "T. epoll, held 19 936: 9 µs. poll: 40 µs.");
});

Deno.test({
  name: "wait calls are drawn size by size",
  ignore,
  fn: async () => {
    const shown = await showing(async () => assertEquals((await showWaits([2, 4])).length, 6));
    assertEquals(shown.map(({ type }) => type), ["display_data", "update_display_data"]);
  },
});

Deno.test("a cost that follows N has slope 1, one that does not has 0, without a sign", () => {
  const row = (call: "poll" | "epoll_wait", descriptors: number, wait_us: number) => ({
    call,
    descriptors,
    wait_us,
    wait_us_low: 0,
    wait_us_high: 0,
    turn_us: 0,
    turn_us_low: 0,
    turn_us_high: 0,
  });
  const rows = [row("poll", 10, 2), row("poll", 1000, 200), row("epoll_wait", 10, 1), row("epoll_wait", 1000, 0.999)];
  assertEquals(slopes(rows), { poll: 1, epoll_wait: 0 });
});

Deno.test("a C program is shown with how it ended, or with what it needs", async () => {
  const shown = last(await showing(() => showC("int main(void) { return 4; }")));
  assert(/ended with \*\*exit code 4\*\*|C needs gcc: /.test(shown), shown);
});

Deno.test({
  name: "broadcasts run on each, and the table is of deliveries",
  ignore,
  fn: async () => {
    const axis = { metric: "cpu_us_per_delivery", title: "T", label: "l", unit: "us", scale: "log" } as const;
    const parameters = { connections: 5, seconds: 0.4, warmup_seconds: 0, rate_per_s: 20, message_bytes: 128 };
    const shown = await showing(() => runEach(["ws-epoll"], "broadcast", parameters, axis));
    assert(/^T\. ws-epoll: .*µs\.$/.test(shown[0]!.data["text/plain"]!), shown[0]!.data["text/plain"]);
    assertStringIncludes(last(shown), "| ws-epoll | 5 | 20 | 100 % |");
    assertStringIncludes(last(shown), "CPU-µs/delivery");
  },
});
