import { assert, assertEquals } from "@std/assert";
import { chartConfig } from "../charts/config.ts";
import { extrapolation, growLive, type Growth, growthChart, total, userMemory, weigh } from "./memory.ts";
import { newResult, type Result } from "../results/results.ts";
import { showing } from "../testing/jupyter.ts";

const points = [
  { connections: 100, userBytes: 5_000_000, kernelBytes: 400_000 },
  { connections: 300, userBytes: 5_800_000, kernelBytes: 1_200_000 },
];

Deno.test("memory of a connection that is less than what a heap differs by is called noise, with the limit", () => {
  const grown = (bytes: number) => [points[0]!, { ...points[1]!, userBytes: points[0]!.userBytes + bytes }];
  assertEquals(userMemory(grown(2 ** 21)), "10.2 KiB");
  assertEquals(userMemory(grown(2 ** 20)), "5.12 KiB: noise, as it is under 10.2 KiB");
  assertEquals(userMemory(grown(-(2 ** 20))).split(": ")[1], "noise, as it is under 10.2 KiB");
  assertEquals(userMemory([points[0]!]), "–");
});

Deno.test("each line begins at nothing, the kernel's is that of the last server that ran, and a gap stays one", () => {
  const disturbed = [...points, { connections: 400, userBytes: 6_000_000, kernelBytes: null }];
  const all: Growth[] = [
    { name: "epoll", points, reason: null },
    { name: "go-net", points: disturbed, reason: null },
    { name: "iocp", points: [], reason: "iocp needs Windows." },
  ];
  const { series } = growthChart(all);
  assertEquals(series.map(({ name, family }) => [name, family]), [
    ["epoll", "readiness"],
    ["go-net", "runtime"],
    ["kernel", "custom"],
  ]);
  assertEquals(series[2]!.points, [{ x: 100, value: 0 }, { x: 300, value: 800_000 }, {
    x: 400,
    value: null,
    note: "the system does not tell, or others closed sockets meanwhile",
  }]);
  assertEquals(growthChart([all[2]!]).series, []);
});

Deno.test("an axis of memory has steps of round KiB or MiB", () => {
  const { y } = chartConfig(growthChart([]), "light").options!.scales as unknown as {
    y: { afterBuildTicks(axis: { min: number; max: number; ticks: { value: number }[] }): void };
  };
  const axis = { min: -1e6, max: 66e6, ticks: [] as { value: number }[] };
  y.afterBuildTicks(axis);
  const MIB = 2 ** 20;
  assertEquals(axis.ticks.map(({ value }) => value / MIB), [0, 16, 32, 48]);
});

const result = (experiment: string, connections: number, user: number | null, kernel: number | null): Result =>
  newResult({
    experiment,
    family: "readiness",
    scenario: "hold",
    parameters: { connections, seconds: 1, warmup_seconds: 0 },
    host: {} as Result["host"],
    metrics: { connections, user_bytes_per_conn: user, kernel_bytes_per_conn: kernel },
    histogram: null,
    findings: [],
    ended: "ok" as const,
    reason: null,
    command: "",
  });

Deno.test("a connection weighs what the largest run says that tells, and a kernel's part that is missing is that of others", () => {
  const results = [
    result("epoll", 1000, 500, 3800),
    result("epoll", 10_000, 70, 3900),
    result("epoll", 20_000, null, null),
    result("threads", 1000, 6e6, null),
  ];
  assertEquals(weigh(["epoll", "threads", "none"], results), [
    { name: "epoll", userBytes: 70, kernelBytes: 3900, isKernelOfOthers: false },
    { name: "threads", userBytes: 6e6, kernelBytes: 3850, isKernelOfOthers: true },
    { name: "none", userBytes: null, kernelBytes: 3850, isKernelOfOthers: true },
  ]);
});

Deno.test("what a connection weighs times its number is held against the machine, and unknown stays unknown", () => {
  const weight = { name: "epoll", userBytes: 1024, kernelBytes: 3072, isKernelOfOthers: false };
  assertEquals(total(weight), 4096);
  assertEquals(total({ ...weight, userBytes: -200 }), 3072);
  assertEquals(total({ ...weight, userBytes: null }), null);
  const column = extrapolation([2 ** 20], 2 ** 31).at(-1)!;
  assertEquals(column.heading, "1 048 576 connections");
  assertEquals(column.cell(weight), "4 GiB = 2.00 machines");
  assertEquals(column.cell({ ...weight, userBytes: null }), "–");
});

Deno.test({
  name: "a server grows with its chart, and one that cannot run here says why in the table",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    let grown: Growth[] = [];
    const shown = await showing(async () => grown = await growLive(["epoll", "iocp"], [5, 10]));
    assertEquals(grown.map(({ points }) => points.map(({ connections }) => connections)), [[5, 10], []]);
    assert(grown[0]!.points[0]!.userBytes > 0);
    assert(/iocp needs Windows/.test(grown[1]!.reason!));
    assertEquals(shown[0]!.type, "display_data");
    assert(shown.slice(1, -1).every(({ type, id }) => type === "update_display_data" && id === shown[0]!.id));
    assert(shown.at(-1)!.data["text/markdown"]!.includes("iocp needs Windows"));
  },
});
