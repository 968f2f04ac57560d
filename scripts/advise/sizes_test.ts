import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { collect } from "../../lib/advice/facts.ts";
import { type Load, outOf, weigh } from "../../lib/advice/model.ts";
import type { Stored } from "../../lib/results/stored.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { machineOf } from "../../lib/results/machine.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import {
  by,
  call,
  compared,
  held,
  heldQuickly,
  loaded,
  type Piece,
  probed,
  storedOf,
} from "../../lib/testing/fixtures.ts";
import { folder } from "../../lib/testing/folder.ts";
import { advise, describeAdvice, type Here } from "./answer.ts";
import { checkOf, coverage, describeUncounted, makersOf } from "./commands.ts";
import { evidenceOf } from "./evidence.ts";

const load = (more: Partial<Load>): Load => ({ connections: 200_000, cpuUs: 0, idlePercent: 0, ...more });
const GIB = 2 ** 30;
const HERE: Here = {
  memoryBytes: 24 * GIB,
  limits: [{
    what: "descriptors per process",
    value: "20 000",
    connections: 19_936,
    raise: "sudo prlimit --pid $$ --nofile=1048576",
  }],
};

/** What an architecture takes. */
interface Taken {
  process: number;
  connection: number;
  cpuUs?: number;
}

/** Runs of one that was stopped: few connections, and as many as it held. */
const stopped = (name: string, most: number, { process, connection, cpuUs = 10 }: Taken) => {
  const sizes = { user_bytes_per_conn: connection, kernel_bytes_per_conn: 4000 };
  return [
    held(name, 10, { connections: 10, pss_bytes: process + 10 * connection, ...sizes }, 10),
    held(name, most, { connections: most, pss_bytes: process + most * connection, ...sizes }, 20_000),
    loaded(name, { cpu_us_per_request: cpuUs }),
  ];
};

/** The same results with other reasons why they ended. */
const because = (stored: Stored, reasons: Record<string, string>): Stored => ({
  ...stored,
  results: stored.results.map((result) =>
    result.reason === null ? result : { ...result, reason: reasons[result.experiment] ?? result.reason }
  ),
});

const LOOP = { process: 20e6, connection: 100 };
const DESCRIPTORS = "stopped at 19 936 of 20 000: descriptors, limit 20 000 per process";
const MAPPINGS = "stopped at 1 627 of 20 000: mapped areas of memory, 34 a connection, and a process may have 65 530";
const stored = because(
  storedOf(
    ...stopped("epoll", 19_936, LOOP),
    ...stopped("poll", 19_936, LOOP),
    ...stopped("thread-per-conn", 1627, { process: 24e6, connection: 6e6, cpuUs: 30 }),
    ...stopped("select", 999, LOOP),
    ...[call("poll", 100, 10), call("poll", 10_000, 1000)],
  ),
  { epoll: DESCRIPTORS, poll: DESCRIPTORS.replace("limit", "the limit is"), "thread-per-conn": MAPPINGS },
);
const { known } = collect(stored);

Deno.test("what a setting of the host stopped may hold as many as memory takes, and what it is itself stopped no more", () => {
  const of = (name: string) => known.find((facts) => facts.name === name)!;
  assertEquals(["epoll", "poll", "thread-per-conn", "select"].map((name) => of(name).setting), [
    "descriptors per process",
    "descriptors per process",
    "vm.max_map_count",
    null,
  ]);
  assertEquals(of("epoll").memory, { processBytes: 20e6, connectionBytes: 100, kernelBytes: 4000 });
  assert(of("epoll").reach > 1e6, String(of("epoll").reach)); // 70 % of 24 GiB by 4 100 bytes
  assert(of("thread-per-conn").reach > 2000 && of("thread-per-conn").reach < 4000);
  assertEquals(of("select").reach, 999);
  assertEquals(weigh(known, load({})).map(({ name }) => name), ["epoll", "poll"]);
  assertEquals(weigh(known, load({ connections: 2000 })).map(({ name, setting }) => [name, setting]), [
    ["epoll", null],
    ["poll", null],
    ["thread-per-conn", "vm.max_map_count"],
  ]);
});

Deno.test("the answer on a condition names the setting, its line, several processes and extrapolated memory in its parts", () => {
  const text = describeAdvice(advise(known, [], load({ idlePercent: 99 }), [], HERE), 1000);
  assertStringIncludes(text, "of CPU: epoll, on a condition\n");
  assertStringIncludes(
    text,
    "  epoll, poll: descriptors per process (RLIMIT_NOFILE) stopped the run at 19 936 connections. That is a setting of the " +
      "host and no limit of the architecture; 200 064 are needed, here it is 20 000. Or 11 processes share the 200 000 " +
      "connections, with the setting as it was. Beyond 19 936 connections memory is extrapolated from its slope, and CPU time " +
      "was not measured. This line raises the setting; deno task doctor says who may type it:\n" +
      "    sudo prlimit --pid $$ --nofile=1048576\n",
  );
  assertStringIncludes(
    text,
    "Memory of epoll with 200 000 connections: process 19.1 MiB + connections 19.1 MiB + kernel 763 MiB = about 801 MiB, " +
      "extrapolated beyond the 19 936 that it held.",
  );
  assertMatch(text, /^epoll +19\.1 MiB +19\.1 MiB +763 MiB +801 MiB +19 936$/m);
  assertStringIncludes(
    text,
    "\nThis takes at most about 28 min. Put your own rate in place of 200. Raise the setting first.\n",
  );
  const enough = { ...HERE, limits: [{ ...HERE.limits[0]!, value: "1 048 576", connections: 1_048_512 }] };
  const raised = describeAdvice(advise(known, [], load({}), [], enough), 1000);
  assertStringIncludes(raised, "here it is 1 048 576, which is enough.");
  assert(!/prlimit|Raise the setting/.test(raised), raised);
});

Deno.test("beyond the largest measured number a call that looks at all connections goes on along its line", () => {
  const [, poll] = weigh(known, load({ idlePercent: 99 }));
  assertEquals([poll!.name, Math.round(poll!.idleUs)], ["poll", 19_800]); // 0.1 µs for each of 198 000
});

Deno.test("memory without the process or the kernel says so, and no sum hides it", () => {
  const only = storedOf(
    held("process-per-conn", 8000, { connections: 8000, pss_bytes: 4e9, user_bytes_per_conn: 540_000 }, 8000),
    loaded("process-per-conn", { cpu_us_per_request: 20 }),
  );
  const facts = collect(only).known;
  const text = describeAdvice(advise(facts, [], load({ connections: 1000 })), 1000);
  assertStringIncludes(text, "connections 515 MiB = about 515 MiB, without process and kernel, not measured.");
});

Deno.test("what the memory of this machine cannot hold is not asked for, in no command", () => {
  const untested = storedOf(
    held("process-per-conn", 8000, { connections: 8000, pss_bytes: 4e9, user_bytes_per_conn: 540_000 }, 8000),
    loaded("process-per-conn", { cpu_us_per_request: 20 }),
  );
  const facts = collect(untested).known;
  const [out] = outOf(facts, load({}), 24 * GIB);
  assertEquals([out!.why, out!.command], [
    "never tested beyond 8 000 connections; 200 000 would need 101 GiB of memory",
    null,
  ]);
  const [fits] = outOf(facts, load({ connections: 9000 }), 24 * GIB);
  assertEquals(fits!.command, "deno task exp process-per-conn --scenario hold --connections 9000");
  const [threads] = outOf(known, load({}), 24 * GIB);
  assertStringIncludes(threads!.why, "it holds 1 627: stopped at 1 627");
  assertStringIncludes(threads!.why, "; 200 000 would need 1.09 TiB of memory");
  const pair = weigh(known, load({ connections: 1e6 }));
  assertEquals(checkOf(pair, load({ connections: 1e6 }), 8 * GIB), null); // both ends are 7.7 GiB
  assert(checkOf(pair, load({ connections: 1e6 }), 24 * GIB) !== null);
});

Deno.test("costs that cross at sizes of which nobody asked are no part of the answer", () => {
  const pairs = (more: Partial<Load>) => advise(known, [], load({ idlePercent: 90, ...more }), [], HERE).pairs;
  assertEquals(pairs({}), []);
  assertEquals(
    pairs({ connections: 5000 }).flatMap(({ before, after }) => [before.name, after.name]).includes("thread-per-conn"),
    false,
  );
  assert(pairs({ connections: 1000 }).length > 0);
});

/** Requests that burn make the light ones wait, in the pool a tenth as long. */
const waiting = storedOf(
  ...stopped("epoll", 19_936, LOOP),
  ...stopped("reactor-pool", 19_936, { ...LOOP, cpuUs: 20 }),
  ...[0, 50_000].flatMap((heavy_us) => [
    compared(["mixed", 100, "p99_us"], ["reactor-pool", "epoll"], heavy_us === 0 ? [1, 1, 1] : [0.1, 0.1, 0.1], {
      reference_value: 100 + heavy_us,
      heavy_us,
    }),
    compared(["mixed", 100, "cpu_us_per_request"], ["reactor-pool", "epoll"], [1.1, 1.1, 1.1], { heavy_us }),
  ]),
);

Deno.test("on one connection no request waits for another, and nothing crosses by what heavy ones burn", () => {
  const facts = collect(waiting).known;
  const of = (connections: number) => advise(facts, [], load({ connections, cpuUs: 50_000 }));
  assertEquals(of(100).choices[0]!.name, "reactor-pool");
  const alone = of(1);
  assertEquals(alone.choices.map(({ waitUs }) => waitUs), [0, 0]);
  assertEquals([alone.crossings.cpuUs, alone.pairs], [[], []]);
  const text = describeAdvice(alone, 1000);
  assertStringIncludes(text, "1 connection, 0 % of them idle");
  assertStringIncludes(text, "  on one connection no request waits for another: what heavy ones burn does not change");
  assert(!/mixed|1 connections/.test(text), text);
});

Deno.test("a sum of CPU time and waits is not called a cost", () => {
  const text = describeAdvice(advise(collect(waiting).known, [], load({ connections: 100, cpuUs: 50_000 })), 1000);
  assertMatch(
    text,
    /CPU time of a request and wait of the light ones \(p99\) add up to less in reactor-pool than in epoll from /,
  );
  assert(!text.includes("costs less"), text);
});

Deno.test("what is stored here and does not count is named, and only commands that can change the answer are listed", () => {
  const own = storedOf(heldQuickly("epoll", 10_000), heldQuickly("poll", 10_000));
  assertEquals(describeUncounted(own), [
    "Of this machine 2 quick results are stored, which do not count for an answer.",
  ]);
  assertEquals(describeUncounted(storedOf(by("deno task compare --quick"), call("poll", 10, 1))), [
    "Of this machine 1 quick result is stored, which does not count for an answer.",
  ]);
  assertEquals(describeUncounted(stored), []);
  const three = storedOf(...["epoll", "reactor-pool", "thread-per-conn"].map((name) => heldQuickly(name, 100)));
  const commands = (connections: number) =>
    makersOf(three, load({ connections }), stored).lines.map((line) => line.split(" ")[3]);
  assertEquals(commands(200_000), ["epoll", "reactor-pool"]);
  assertEquals(commands(1000), ["epoll", "reactor-pool", "thread-per-conn"]);
  assertEquals(coverage(stored, load({}), stored), ["figures of epoll"]);
});

Deno.test("measurements of very many connections are evidence, the nearest of each server", async () => {
  using dir = folder();
  const rows = (...pieces: Piece[]) => storedOf(...pieces).studies.probe[0]!.rows;
  const store = (command: string, ...pieces: Piece[]) =>
    writeStudy("probe", rows(...pieces), { command, quick: false, dir: dir.path });
  await store("deno task probe million", probed("million", "io_uring 1000000", "answered", 1_008_000));
  await store("deno task c10m --connections 100000000", probed("c10m", "100000000 connections", "held", 1e8));
  await store("deno task c10m", probed("c10m", "10000000 connections", "held", 1e7));
  const machine = machineOf(hostFacts());
  const shown = (await evidenceOf(200_000, dir.path)).map((
    { server, connections, command, machine },
  ) => [server, connections, command, machine]);
  assertEquals(shown, [
    ["io-uring-direct", 1_008_000, "deno task probe million", machine],
    ["xdp", 1e7, "deno task c10m", machine],
  ]);
  assertEquals((await evidenceOf(2e6, dir.path)).map(({ server }) => server), ["xdp"]);
  const text = describeAdvice({ ...advise(known, [], load({})), evidence: await evidenceOf(200_000, dir.path) }, 1000);
  assertStringIncludes(text, `  io-uring-direct held 1 008 000 on ${machine} (deno task probe million)\n`);
});
