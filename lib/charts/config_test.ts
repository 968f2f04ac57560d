import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  chartConfig,
  type ChartSpec,
  describeChart,
  folded,
  isEmpty,
  type LinesSpec,
  type RankSpec,
} from "./config.ts";
import { atTick, FAMILY, GROUND, type Theme, type Unit, written } from "./theme.ts";
import { catalogue } from "../catalogue/catalogue.ts";

const rank: RankSpec = {
  kind: "dots",
  title: "Cost",
  axis: { label: "ratio to c-epoll", unit: "ratio", scale: "log" },
  items: [
    { name: "epoll", family: "readiness", value: 1.03, low: 1.01, high: 1.09 },
    { name: "nginx", family: "readiness", value: 1.3, bound: "at least" },
    { name: "kqueue", family: "readiness", value: null, note: "skipped: kqueue is not here" },
  ],
};
const lines: LinesSpec = {
  kind: "lines",
  title: "Waits",
  x: { label: "descriptors", unit: "descriptors", scale: "log" },
  y: { label: "CPU", unit: "us", scale: "log" },
  series: [{
    name: "select",
    family: "readiness",
    points: [{ x: 10, value: 1 }, { x: 100, value: null }, { x: 1000, value: 100 }],
  }],
};

/** The ticks that Chart.js would show on the value axis, which ends where its values do if nothing else is said. */
function ticks(unit: Unit, min: number, max: number, last = max): number[] {
  const spec: ChartSpec = { ...rank, axis: { ...rank.axis, unit }, items: [{ ...rank.items[0]!, value: last }] };
  const axis = { min, max, ticks: [] as { value: number }[] };
  const { x } = chartConfig(spec, "light").options!.scales as Record<
    string,
    { afterBuildTicks(of: typeof axis): void }
  >;
  x!.afterBuildTicks(axis);
  return axis.ticks.map(({ value }) => value);
}

Deno.test("a value that is missing is a gap: no number is drawn for it, and its reason stands in the description", () => {
  assertEquals(chartConfig(rank, "light").data.datasets[0]!.data, [1.03, 1.3, null]);
  const [line] = chartConfig(lines, "light").data.datasets;
  assertEquals(line!.data, [{ x: 10, y: 1 }, { x: 100, y: null }, { x: 1000, y: 100 }]);
  assertEquals((line as { spanGaps?: boolean }).spanGaps, false);
  assertStringIncludes(describeChart(rank), "kqueue: skipped: kqueue is not here");
  const sentences = rank.items.map((item) => ({ ...item, value: null, note: "It is not here." }));
  assertEquals(
    describeChart({ ...rank, items: sentences.slice(0, 2) }),
    "Cost. epoll: It is not here. nginx: It is not here.",
  );
});

Deno.test("the description tells every value with its interval, its bound and its unit", () => {
  assertEquals(
    describeChart(rank),
    "Cost. epoll: 1.030 [1.010, 1.090]. nginx: at least 1.300. kqueue: skipped: kqueue is not here.",
  );
  assertEquals(describeChart(lines), "Waits. select: 10: 1 µs; 100: not measured; 1 000: 100 µs.");
});

Deno.test("a bound is drawn hollow, a figure is filled", () => {
  const dots = chartConfig(rank, "light").data.datasets[0] as unknown as { pointBackgroundColor: string[] };
  assertEquals(dots.pointBackgroundColor.slice(0, 2), [FAMILY["readiness"]!.light, GROUND.light.page]);
  const bars = chartConfig({ ...rank, kind: "bars" }, "light").data.datasets[0]!.backgroundColor as string[];
  assertEquals([bars[0], bars[1]!.length], [FAMILY["readiness"]!.light, "#rrggbbaa".length]);
});

Deno.test("a logarithmic axis has plain decades, of bytes powers of 16, and steps between them where they are few", () => {
  assertEquals(ticks("us", 0.5, 2e4), [1, 10, 100, 1000, 10_000]);
  assertEquals(ticks("bytes", 10, 1e6), [16, 256, 4096, 65_536]);
  assertEquals(ticks("ratio", 0.85, 4.2), [1, 1.5, 2, 3, 4]);
  assertEquals(ticks("ratio", 0.88, 1.32), [0.9, 1, 1.1, 1.2, 1.3]);
  assertEquals(
    ticks("bytes", 3700, 6000),
    [3840, 4096, 4352, 4608, 4864, 5120, 5376, 5632, 5888].filter((of) => of % 512 === 0),
  );
  for (let power = -2; power < 7; power += 0.7) {
    for (const factor of [1.5, 4, 30, 5000]) {
      const min = 10 ** power;
      const shown = ticks("us", min, min * factor);
      assert(shown.length >= 1, `${min} to ${min * factor}`);
      assert(shown.every((value, i) => value >= min && value <= min * factor && (i === 0 || value > shown[i - 1]!)));
    }
  }
});

Deno.test("a ratio near 1 has three digits behind the point, and one that is large has none that say nothing", () => {
  assertEquals([0.998, 2, 16.303, 2012.761].map((ratio) => written(ratio, "ratio")), [
    "0.998",
    "2.000",
    "16.3",
    "2 013",
  ]);
});

Deno.test("a linear axis has room for intervals, and no step of bytes is a part of one", () => {
  const linear = { ...rank, axis: { ...rank.axis, scale: "linear" as const } };
  const { x } = chartConfig(linear, "light").options!.scales as Record<string, { suggestedMax?: number }>;
  assertEquals(x!.suggestedMax, 1.3);
  const [first] = linear.items;
  const wide = { ...linear, items: [{ ...first!, high: 9 }] };
  assertEquals((chartConfig(wide, "light").options!.scales!["x"] as { suggestedMax?: number }).suggestedMax, 9);
  assertEquals(ticks("bytes", 1, 1.9), [1]);
});

Deno.test("a rank chart has a legend of its families that hides nothing, and a line without values says why", () => {
  const { labels, display } = chartConfig(rank, "light").options!.plugins!.legend!;
  const shown = (labels!.generateLabels as () => { text: string; fillStyle: string; pointStyle: string }[])();
  assertEquals(shown.map(({ text, fillStyle, pointStyle }) => [text, fillStyle, pointStyle]), [
    ["readiness", FAMILY["readiness"]!.light, "circle"],
  ]);
  assertEquals([display, chartConfig({ ...rank, items: [] }, "light").options!.plugins!.legend!.display], [
    true,
    false,
  ]);
  const none = { ...lines, series: [{ name: "kqueue", family: "readiness", points: [], note: "skipped" }] };
  assertEquals(describeChart(none), "Waits. kqueue: skipped.");
  assertEquals(describeChart({ ...lines, series: [] }), "Waits. Nothing to show.");
});

Deno.test("a tick is written without exponent and without idle zeros", () => {
  const cases: [number, Unit, string][] = [
    [1e6, "connections", "1 000 000"],
    [1000, "us", "1 ms"],
    [
      1.5,
      "ratio",
      "1.5",
    ],
    [4096, "bytes", "4 KiB"],
    [1e5, "ratio", "100 000"],
    [0.1, "ratio", "0.1"],
    [0.5, "us", "0.5 µs"],
    [
      1e-3,
      "ratio",
      "0.001",
    ],
  ];
  for (const [value, unit, text] of cases) assertEquals(atTick(value, unit), text);
});

/** Relative luminance and contrast, WCAG 2.2, "contrast ratio". */
function contrast(a: string, b: string): number {
  const luminance = (hex: string) => {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
  };
  const [light, dark] = [luminance(a), luminance(b)].sort((one, other) => other - one);
  return (light! + 0.05) / (dark! + 0.05);
}

Deno.test("every family has a colour that stands out from the ground, and a mark of its own", () => {
  for (const family of [...catalogue().map(({ family }) => family), "custom"]) assert(family in FAMILY, family);
  assertEquals(new Set(Object.values(FAMILY).map(({ mark }) => mark)).size, Object.keys(FAMILY).length);
  for (const theme of ["light", "dark"] as Theme[]) {
    const { page, text, faint } = GROUND[theme];
    for (const [family, colour] of Object.entries(FAMILY)) {
      assert(contrast(colour[theme], page) >= 3, `${family} ${theme}`);
    }
    for (const ink of [text, faint]) assert(contrast(ink, page) >= 4.5, `${ink} ${theme}`);
  }
});

Deno.test("the longest name at the end of a line gets room at the right", () => {
  const right = (name: string, scale: "log" | "linear" = "log") => {
    const spec = { ...lines, x: { ...lines.x, scale }, series: [{ ...lines.series[0]!, name }] };
    const { options } = chartConfig(spec, "light");
    return (options!.layout!.padding as { right: number }).right;
  };
  const long = "prefork --workers 2, a long name";
  for (const scale of ["log", "linear"] as const) {
    assert(right("thread-per-conn", scale) > 100);
    assert(right(long, scale) > right("select", scale) + 100);
  }
});

Deno.test("what has no figure takes no row of a chart: a sentence names it with its reason", () => {
  const none = (name: string, note?: string) => ({ name, family: "readiness", value: null, ...(note && { note }) });
  const items = [
    rank.items[0]!,
    none("a", "others used the machine."),
    none("b"),
    none("c", "others used the machine"),
  ];
  const { spec, without } = folded({ ...rank, items });
  assertEquals((spec as RankSpec).items.map(({ name }) => name), ["epoll"]);
  assertEquals(without, "No figure: a, c: others used the machine; b: not measured.");
  assertEquals(folded(lines), { spec: lines, without: null });
  const line = { name: "kqueue", family: "readiness", points: [{ x: 1, value: null, note: "no kqueue" }] };
  const empty = folded({ ...lines, series: [line] });
  assertEquals([isEmpty(empty.spec), empty.without, isEmpty(spec)], [true, "No figure: kqueue: no kqueue.", false]);
});

Deno.test("the ticks end at the first one that no value passes: behind it is only room for text", () => {
  assertEquals(ticks("connections", 1, 2e6, 19_936), [1, 10, 100, 1000, 10_000, 100_000]);
});

Deno.test("an axis names its unit only where its ticks do not, and counts whole things in whole numbers", () => {
  const title = (unit: Unit, label = "what", scale: "log" | "linear" = "log") => {
    const { options } = chartConfig({ ...lines, y: { label, unit, scale } }, "light");
    return (options!.scales!["y"] as unknown as { title: { text: string }; ticks: { precision?: number } });
  };
  for (const unit of ["us", "bytes", "percent", "seconds"] as const) {
    assertEquals(title(unit).title.text, "what, logarithmic");
    assertMatch(atTick(50, unit), / \S+$/);
  }
  assertEquals(title("per_s", "asked").title.text, "asked (/s), logarithmic");
  assertEquals([title("nights").ticks.precision, title("ratio").ticks.precision], [0, undefined]);
});

Deno.test("a title takes as many lines as its chart needs", () => {
  const title = "Where poll and thread-per-conn cross: 90 % of the connections idle";
  const text = chartConfig({ ...rank, title }, "light").options!.plugins!.title!.text as unknown as (
    context: { chart: { width: number } },
  ) => string[];
  assertEquals(text({ chart: { width: 900 } }), [title.replace("90 %", "90\u00a0%")]); // figures stay whole
  const narrow = text({ chart: { width: 356 } });
  assertEquals([narrow.length, narrow.join(" ").replace("\u00a0", " ")], [2, title]);
});
