import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { type Experiment, find } from "../../lib/catalogue/catalogue.ts";
import { PatchedCopies } from "../../lib/catalogue/patched_copies.ts";
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

/** A copy of an experiment with something changed, and the fault that must find it. */
interface Mutant {
  name: string;
  fault: string;
  changes: { from: string; to: string }[];
  /** The experiment; default: epoll. */
  of?: string;
  /** What the cell says of the copy; default: failed. */
  verdict?: "failed" | "degraded";
}

const RECEIVE_FAILED = "else if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);\n  return 0;";
const LAST_OF_LIBC = '__errno_location: { parameters: [], result: "pointer" },\n    }).symbols;';
const INTEREST_SET = "const epoll = must(libc.epoll_create1(EPOLL_CLOEXEC)";
const ACCEPTED = "counts.accepted++;\n      open++;";

const MUTANTS: Mutant[] = [
  {
    name: "ends at EMFILE",
    fault: "descriptors-exhausted",
    changes: [{
      from: "countError(getSystemErrorName(-errno[0]!));\n      return false;",
      to: "throw new Error(getSystemErrorName(-errno[0]!));",
    }],
  },
  {
    name: "keeps whatever is sent to it",
    fault: "memory-limited",
    changes: [
      { from: "const MAX_KEPT_BYTES = 64 * 2 ** 20;", to: "const MAX_KEPT_BYTES = 2 ** 40;" },
      { from: "const MAX_HEAD = 8192;", to: "const MAX_HEAD = 2 ** 20;" },
      { from: "const INBOX = 16384;", to: "const INBOX = 2 ** 21;" },
    ],
  },
  {
    name: "starts a thread for each connection and cannot go on without it",
    fault: "processes-exhausted",
    changes: [{ from: ACCEPTED, to: `${ACCEPTED}\n      new Worker("data:text/javascript,", { type: "module" });` }],
  },
  {
    name: "waits for the end of a head for hours",
    fault: "slow-heads",
    changes: [{ from: "const HEAD_MS = 10_000;", to: "const HEAD_MS = 10_000_000;" }],
  },
  {
    name: "drops who has not taken its answers at a tick of the clock",
    fault: "slow-readers",
    changes: [{
      from: "let ended = 0;\n",
      to: 'let ended = 0;\n  for (const fd of [...unsent.keys()]) dropConnection(fd, "slow");\n',
    }],
  },
  {
    name: "tries to send until the client reads",
    fault: "non-readers-pipelined",
    changes: [{
      from: "const sent = libc.send(fd, bytes, length, MSG_NOSIGNAL);\n  if (sent === length)",
      to: "let sent = 0;\n  while (sent < length) {\n    sent += Math.max(0, libc.send(fd, bytes.subarray(sent), " +
        "length - sent, MSG_NOSIGNAL));\n  }\n  if (sent === length)",
    }],
  },
  {
    name: "closes a connection when its peer closes a half",
    fault: "half-close",
    changes: [
      { from: "const EPOLLIN = 0x1,", to: "const EPOLLRDHUP = 0x2000, EPOLLIN = 0x1," },
      { from: "watch(EPOLL_CTL_ADD, fd, EPOLLIN) < 0", to: "watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP) < 0" },
      {
        from: "} else if (unsent.size > 0 && unsent.has(fd)) onWritable(fd);",
        to: "} else if ((events[i * EVENT_WORDS]! & EPOLLRDHUP) !== 0) closeConnection(fd);\n" +
          "      else if (unsent.size > 0 && unsent.has(fd)) onWritable(fd);",
      },
    ],
  },
  {
    name: "ends when a peer has forgotten the connection",
    fault: "half-open",
    changes: [{
      from: RECEIVE_FAILED,
      to: `else if (errno[0] !== EAGAIN && errno[0] !== EINTR) throw new Error("forgotten");\n  return 0;`,
    }],
  },
  {
    name: "ends at a reset",
    fault: "rst-storm",
    changes: [{
      from: RECEIVE_FAILED,
      to: `else if (errno[0] !== EAGAIN && errno[0] !== EINTR) throw new Error("reset");\n  return 0;`,
    }],
  },
  {
    name: "takes each accepted connection for one that lives",
    fault: "aborted-connects",
    changes: [{
      from: ACCEPTED,
      to: `${ACCEPTED}\n      must(libc.send(fd, outbox, 0, MSG_NOSIGNAL), "find a client alive");`,
    }],
  },
  {
    name: "ends when a call is interrupted",
    fault: "eintr-storm",
    changes: [{ from: "if (ready < 0 && errno[0] !== EINTR) must(", to: "if (ready < 0) must(" }],
  },
  {
    name: "forgets the beginning of a head",
    fault: "fragments",
    changes: [{ from: "partial.size > 0 && partial.has(fd) ? restore(fd) : 0;", to: "0;" }],
  },
  {
    name: "accepts nobody any more once a head has come in pieces",
    fault: "fragments",
    changes: [
      {
        from: "function acceptSome(listener: number, bound: number): boolean {\n",
        to: "let isDeaf = false;\nfunction acceptSome(listener: number, bound: number): boolean {\n" +
          "  if (isDeaf) return false;\n",
      },
      { from: "  partial.set(fd, { bytes, length", to: "  isDeaf = true;\n  partial.set(fd, { bytes, length" },
    ],
  },
  {
    name: "ends at a malformed head",
    fault: "malformed-heads",
    changes: [{
      from: "else countError(status);\n    at += head;",
      to: 'else if (status === 400) throw new Error("malformed");\n    else countError(status);\n    at += head;',
    }],
  },
  {
    name: "waits for the end of a head that is too long",
    fault: "oversized-heads",
    changes: [{ from: "blank === 0 ? to - from >= MAX_HEAD :", to: "blank === 0 ? false :" }],
  },
  {
    name: "cuts off what the socket does not take",
    fault: "pipelines",
    changes: [{ from: "if (!reserve(fd, length - taken)) return;", to: "return dropConnection(fd);" }],
  },
  {
    name: "takes a standstill for its end",
    fault: "sigstop-sigcont",
    changes: [{
      from: "if (turnMs - tickMs < TURN_MS) continue;",
      to: 'if (turnMs - tickMs > 1000) throw new Error("stalled");\n    if (turnMs - tickMs < TURN_MS) continue;',
    }],
  },
  {
    name: "measures time by the wall clock",
    fault: "clock-stepped",
    changes: [{
      from: "libc.clock_gettime(CLOCK_MONOTONIC_COARSE, timespec); // fails for an unknown clock only\n",
      to: "if (CLOCK_MONOTONIC_COARSE > 0) return Date.now();\n",
    }],
  },
  {
    name: "ends at once",
    fault: "sigterm-under-load",
    changes: [{ from: "  stopping = true;\n}", to: "  Deno.exit(0);\n}" }],
  },
  {
    name: "has to write a line for each connection",
    fault: "disk-full",
    changes: [
      {
        from: LAST_OF_LIBC,
        to: 'getenv: { parameters: ["buffer"], result: "pointer" },\n' +
          'open: { parameters: ["buffer", "i32", "i32"], result: "i32" },\n' +
          `write: { parameters: ["i32", "buffer", "usize"], result: "isize" },\n${LAST_OF_LIBC}`,
      },
      {
        from: INTEREST_SET,
        to: 'const folder = Deno.UnsafePointerView.getCString(libc.getenv(new TextEncoder().encode("TMPDIR\\0"))!);\n' +
          "const log = libc.open(new TextEncoder().encode(`${folder}/log\\0`), 0o2101, 0o600);\n" + INTEREST_SET,
      },
      { from: ACCEPTED, to: `${ACCEPTED}\n      must(Number(libc.write(log, outbox, 4096n)), "write the log");` },
    ],
  },
  {
    name: "needs a ring and does not say so",
    fault: "io-uring-forbidden",
    changes: [
      {
        from: LAST_OF_LIBC,
        to: `syscall: { parameters: ["i32", "i32", "buffer"], result: "i32" },\n${LAST_OF_LIBC}`,
      },
      {
        from: INTEREST_SET,
        to: `must(libc.syscall(425, 8, new Uint8Array(120)), "open a ring");\n${INTEREST_SET}`,
      },
    ],
  },
  {
    name: "ends with one of its workers",
    of: "prefork",
    fault: "worker-killed",
    changes: [{
      from: "if (waitStatus[0] !== 0) count(ESRCH);",
      to: 'if (waitStatus[0] !== 0) throw new Error("killed");',
    }],
  },
  {
    name: "ends at its five-thousandth connection",
    fault: "thundering-herd",
    changes: [{ from: ACCEPTED, to: `${ACCEPTED}\n      if (open > 5000) throw new Error("too many");` }],
  },
];

/** Whether a cell was measured on this machine: the limits and namespaces of some need root. */
const isMeasured = ({ verdict, reason }: FaultRow) => {
  if (verdict !== "skipped") return true;
  console.error(`Not tried: ${reason}`);
  return false;
};

for (const { name, fault, changes, of = "epoll", verdict = "failed" } of MUTANTS) {
  Deno.test({
    name: `${fault}: ${of} survives, and a copy that ${name} does not`,
    ignore,
    fn: async () => {
      const [first, ...more] = changes.map(({ from, to }) => ({ replace: from, by: to }));
      using copies = new PatchedCopies();
      const mutant = copies.make(of, { name: of, ...first! }, ...more);
      const [broken, sound] = [await cell(mutant, fault), await cell(find(of), fault)];
      if (!isMeasured(sound)) return;
      assertEquals(broken.verdict, verdict, JSON.stringify(broken));
      assertEquals([sound.verdict, sound.reason, sound.lost], ["survived", null, 0], JSON.stringify(sound));
    },
  });
}

Deno.test("each fault with a promise has a copy that breaks it", () => {
  const broken = new Set(MUTANTS.map(({ fault }) => fault));
  assertEquals(FAULTS.map(({ id }) => id).filter((id) => !broken.has(id)), []);
});

const GOOD: Figures = {
  clients: 20,
  requests_during: 500,
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
  lost_after: 0,
  ended_early: false,
  exit_code: null,
};

Deno.test("a cell that breaks no rule is survived, and one that breaks a rule is judged by it", () => {
  const fault = faultOf("half-close");
  const broken: Partial<Figures>[] = [
    { ended_early: true },
    { exit_code: 1 },
    { lost: 1 },
    { lost: 1, lost_after: 1 },
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
