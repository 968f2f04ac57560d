import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { type Experiment, find } from "../../lib/catalogue/catalogue.ts";
import { ABILITIES } from "../../lib/testing/abilities.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import { measureCell } from "./cell.ts";
import { FAULTS, malformedHeads } from "./faults.ts";
import { type Figures, judge, RULES } from "./judge.ts";

const ignore = Deno.build.os !== "linux";
const SEED = 1;
const { signal } = new AbortController();

const faultOf = (id: string) => {
  const fault = FAULTS.find((one) => one.id === id);
  assert(fault !== undefined, id);
  return fault;
};
const cell = (subject: Experiment, id: string): Promise<FaultRow> => measureCell(subject, faultOf(id), SEED, signal);

/** A copy of epoll.ts with one line changed, and the fault that must find it. */
interface Mutant {
  name: string;
  fault: string;
  from: string;
  to: string;
}

const MUTANTS: Mutant[] = [
  {
    name: "ends at EMFILE",
    fault: "descriptors-exhausted",
    from: "countError(getSystemErrorName(-errno[0]!));\n      return false;",
    to: "throw new Error(getSystemErrorName(-errno[0]!));",
  },
  {
    name: "ends at a reset",
    fault: "rst-storm",
    from: "else if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);\n  return 0;",
    to: `else if (errno[0] !== EAGAIN && errno[0] !== EINTR) throw new Error("reset");\n  return 0;`,
  },
  {
    name: "forgets the beginning of a head",
    fault: "fragments",
    from: "partial.size > 0 && partial.has(fd) ? restore(fd) : 0;",
    to: "0;",
  },
  {
    name: "cuts off what the socket does not take",
    fault: "pipelines",
    from: "if (!reserve(fd, length - taken)) return;",
    to: "return dropConnection(fd);",
  },
];

for (const { name, fault, from, to } of MUTANTS) {
  Deno.test({
    name: `${fault}: epoll survives, and a copy that ${name} does not`,
    ignore,
    fn: async () => {
      const epoll = find("epoll");
      const source = Deno.readTextFileSync(epoll.path);
      assertEquals(source.split(from).length, 2, "the line to change stands there once");
      const dir = Deno.makeTempDirSync();
      try {
        const path = join(dir, "epoll.ts");
        Deno.writeTextFileSync(path, source.replace(from, to));
        const row = await cell({ ...epoll, path }, fault);
        assertEquals(row.verdict, "failed", JSON.stringify(row));
      } finally {
        Deno.removeSync(dir, { recursive: true });
      }
      const row = await cell(epoll, fault);
      assertEquals([row.verdict, row.reason, row.lost], ["survived", null, 0], JSON.stringify(row));
    },
  });
}

const GOOD: Figures = {
  answered_share_during: 1,
  p99_ms_before: 1,
  p99_ms_during: 1,
  p99_ms_after: 1,
  recovery_s: 0,
  descriptors_left: 0,
  threads_left: 0,
  memory_left_bytes: 0,
  owed: 100,
  lost: 0,
  ended_early: false,
  exit_code: null,
};

Deno.test("a cell that breaks no rule is survived, and one that breaks a rule is judged by it", () => {
  const fault = faultOf("half-close");
  const broken: Partial<Figures>[] = [
    { ended_early: true },
    { exit_code: 1 },
    { lost: 1 },
    { recovery_s: null },
    { answered_share_during: 0.9 },
    { p99_ms_during: 1000 },
    { descriptors_left: 10 },
    { threads_left: 10 },
    { memory_left_bytes: 2 ** 30 },
  ];
  assertEquals(judge(GOOD, fault, {}), { verdict: "survived", reason: null });
  assertEquals(
    broken.map((change) => judge({ ...GOOD, ...change }, fault, {})),
    RULES.map(({ verdict, says }) => ({ verdict, reason: says })),
  );
});

Deno.test("what an architecture does not promise is shown with its reason", () => {
  const cannot = { "half-close": "It drops the request." };
  assertEquals(judge({ ...GOOD, lost: 1 }, faultOf("half-close"), cannot), {
    verdict: "cannot",
    reason: "half-close: It drops the request.",
  });
  assertEquals(judge({ ...GOOD, lost: 1 }, faultOf("fragments"), cannot).verdict, "failed");
});

Deno.test("a fault names abilities that headers know", () => {
  const known: readonly string[] = ABILITIES;
  for (const { id, abilities } of FAULTS) for (const ability of abilities) assert(known.includes(ability), id);
});

Deno.test("equal seeds make equal heads", () => {
  assertEquals(malformedHeads(7, 20), malformedHeads(7, 20));
  assertNotEquals(malformedHeads(7, 20), malformedHeads(8, 20));
});
