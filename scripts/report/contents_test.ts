import { assert, assertEquals, assertMatch } from "@std/assert";
import { catalogue } from "../../lib/catalogue/catalogue.ts";
import { FINDING_IDS } from "../../lib/results/findings.ts";
import { hostFacts, SYSCTLS } from "../../lib/sampling/host.ts";
import { newResult, type Result, type Run } from "../../lib/results/results.ts";
import type { Study } from "../../lib/results/studies.ts";
import { toCsv } from "./csv.ts";
import { chosen, readContents } from "./contents.ts";
import { newestRuns } from "./runs.ts";
import { brokenBy, heldText, whyMissing } from "./servers.ts";
import { highlighted, sourcesOf, systemCalls } from "./source.ts";
import { shown } from "../../lib/results/choose.ts";
import { comparisonRow as row, studyOf } from "../../lib/testing/fixtures.ts";

const linux = { ...hostFacts(), os: "linux", kernel: "6.18.1" };
const run = (change: Partial<Run>, time = "2026-01-01T00:00:00Z"): Result =>
  newResult({
    experiment: "epoll",
    family: "readiness",
    scenario: "hold",
    host: linux,
    histogram: null,
    findings: [],
    parameters: { connections: 10, seconds: 1, warmup_seconds: 1 },
    metrics: {},
    ended: "ok",
    reason: null,
    command: "deno task exp epoll",
    ...change,
  }, new Date(time));
const NOTHING = { results: [], comparisons: [] };
const of = (name: string, results: Result[]) => shown(catalogue().filter((one) => one.name === name), results)[0]!;

Deno.test("the report says what every finding and every fact of a host means", async () => {
  const { meanings } = await readContents();
  for (const name of [...FINDING_IDS, ...SYSCTLS, "cpu", "cores", "nofile_hard"]) {
    assertMatch(meanings.get(name) ?? "", /\w+ \w+/, name);
  }
});

Deno.test("of several references the one with the most candidates is shown, for each scenario and number", () => {
  const study = (rows: Study<"comparison">["rows"]) => studyOf("comparison", rows);
  const tables = chosen([
    study([row({ reference: "epoll", candidate: "poll" })]),
    study([row(), row({ candidate: "nginx" })]),
    study([row({ connections: 10, reference: "epoll", candidate: "poll" }), row({ scenario: "rate", rounds: 2 })]),
  ]);
  assertEquals(
    tables.map(({ rows }) =>
      rows.map(({ connections, reference, candidate }) => [
        connections,
        reference,
        candidate,
      ])
    ),
    [[[10, "epoll", "poll"]], [[100, "c-epoll", "epoll"], [100, "c-epoll", "nginx"]]],
  );
});

Deno.test("what holds all that it was asked for has a lower bound, what stopped says why", () => {
  const metrics = { answered: 10 };
  const all = of("epoll", [run({ metrics })]);
  assertEquals([heldText(all), brokenBy(all, NOTHING)], ["≥ 10", "nothing: it was asked for 10 and answered all"]);
  const stopped = of("epoll", [run({ metrics, ended: "limited", reason: "stopped at 10" })]);
  assertEquals([heldText(stopped), brokenBy(stopped, NOTHING)], ["10", "limited: stopped at 10"]);
});

Deno.test("what has no figure says whether it was skipped, or only not measured", () => {
  assertEquals(heldText(of("epoll", [])), "–");
  assertMatch(whyMissing(of("epoll", []), { ...NOTHING, results: [run({ experiment: "poll" })] }), /^not measured/);
  assertMatch(
    whyMissing(of("iocp", []), { ...NOTHING, results: [run({})] }),
    /^skipped: iocp needs Windows; this is Linux 6\.18\.1/,
  );
  const rows = [row({ candidate: "kqueue", rounds: 0, ratio: null, reason: "kqueue: no libkqueue" })];
  const compared = { results: [], comparisons: [{ study: {} as Study<"comparison">, hosts: [], rows }] };
  assertEquals(whyMissing(of("kqueue", []), compared), "skipped: no libkqueue");
  const skipped = run({ ended: "skipped", reason: "no such call here" });
  assertEquals(whyMissing(of("epoll", [skipped]), { ...NOTHING, results: [skipped] }), "skipped: no such call here");
});

Deno.test("a page shows the newest full run of each kind, and a quick one only where there is no other", () => {
  const results = [
    run({ reason: "old" }, "2026-01-01T00:00:00Z"),
    run({ reason: "new" }, "2026-01-02T00:00:00Z"),
    run({ reason: "quick", quick: true }, "2026-01-03T00:00:00Z"),
    run({ reason: "only", quick: true, parameters: { connections: 9, seconds: 1, warmup_seconds: 0 } }),
    run({ experiment: "poll" }),
  ];
  const { runs, others } = newestRuns(results, "epoll");
  assertEquals([runs.map(({ reason }) => reason), others], [["only", "new"], 2]);
});

Deno.test("CSV quotes what needs it, leaves missing values empty, and has a column for every key of any row", () => {
  const csv = toCsv([{ name: 'a "b", c', n: 1 }, { name: "two\nlines", n: null, more: 0 }]);
  assertEquals(csv, 'name,n,more\r\n"a ""b"", c",1,\r\n"two\nlines",,0\r\n');
});

Deno.test("the sources of a peer are those that its launcher names, and what these import", async () => {
  const files = async (name: string) => {
    const sources = await sourcesOf(catalogue().find((one) => one.name === name)!);
    return sources.map(({ path, language }) => `${path} ${language}`);
  };
  assertEquals(await files("epoll"), ["epoll.ts typescript"]);
  assertEquals(await files("c-epoll"), ["c/c-epoll.c c", "c/lab.h c", "c-epoll.ts typescript"]);
  assertEquals(await files("go-net"), ["go/net/main.go go", "go/lab/lab.go go", "go-net.ts typescript"]);
  assertEquals(await files("nginx"), ["nginx/nginx.conf nginx", "nginx/site.conf nginx", "nginx.ts typescript"]);
  assertEquals(await files("python-threads"), [
    "python/threads_server.py python",
    "python/lab.py python",
    "python-threads.ts typescript",
  ]);
  for (const { name, peer } of catalogue()) if (peer) assert((await files(name)).length > 1, name);
});

Deno.test("system calls through libc are marked and named, other calls are not, and the text stays the same", () => {
  const text =
    'const got = libc.recv(fd, inbox); if (libc.__errno_location() < "a") libc._exit(libc.abs(1)); // recv(2)';
  const file = { path: "x.ts", language: "typescript", text };
  assertEquals(systemCalls(file), ["recv", "_exit"]);
  const html = highlighted(file);
  assertEquals(
    [...html.matchAll(/<mark [^>]*title="system call (\w+)"[^>]*>(\w+)<\/mark>\(/g)].map((m) => m.slice(1)),
    [
      ["recv", "recv"],
      ["_exit", "_exit"],
    ],
  );
  const entities: Record<string, string> = { lt: "<", gt: ">", quot: '"', amp: "&" };
  assertEquals(html.replace(/<[^>]*>/g, "").replace(/&(\w+);/g, (_, name) => entities[name]!), text);
});

Deno.test("every experiment of this project that is not a runtime's own server makes system calls that are marked", async () => {
  for (const experiment of catalogue().filter(({ peer, family }) => !peer && family !== "runtime")) {
    const [source] = await sourcesOf(experiment);
    if (source!.text.includes("Deno.serve(")) continue;
    assert(systemCalls(source!).length >= 5, experiment.name);
    assertEquals(highlighted(source!).includes('<mark class="call"'), true, experiment.name);
  }
});
