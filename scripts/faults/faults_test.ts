import { assert, assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type Experiment, find } from "../../lib/catalogue/catalogue.ts";
import { PatchedCopies } from "../../lib/catalogue/patched_copies.ts";
import { ABILITIES } from "../../lib/testing/abilities.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import { OWN_PARSER } from "./by_clients.ts";
import { measureCell, settledCell } from "./cell.ts";
import { coresBetween, type CpuLook } from "./cpu.ts";
import { CannotDo, corpus, demandDescriptors, FAULTS, malformedHeads } from "./faults.ts";
import { heldIn } from "./held.ts";
import { MAX_ALONE } from "../../lib/results/conventions.ts";
import { RULES } from "./judge.ts";

const ignore = Deno.build.os !== "linux";
const REQUIRE_ALL = Deno.args.includes("--require-all");
const SEED = 1;
const { signal } = new AbortController();

const faultOf = (id: string) => {
  const fault = FAULTS.find((one) => one.id === id);
  assert(fault !== undefined, id);
  return fault;
};
const cell = (subject: Experiment, id: string): Promise<FaultRow> => measureCell(subject, faultOf(id), SEED, signal);

const sound = new Map<string, Promise<FaultRow>>();
/** The cell of an experiment as it is, settled once. */
function soundCell(of: string, id: string): Promise<FaultRow> {
  const row = sound.get(`${of} ${id}`) ?? settledCell(find(of), faultOf(id), SEED, signal);
  sound.set(`${of} ${id}`, row);
  return row;
}

// What a cell says of a mutant: how the text of a rule begins.
const ENDED = "the server ended";
const EXIT_CODE = "it does not end with exit code 0";
const LOST = "answers that were owed are lost";
const REFUSES_NEW = "new clients after the fault are not answered";
const NEVER_BACK = "normal clients are not answered in time after the fault";
const UNANSWERED = "less than 99 % of the normal requests";
const LATE = "the p99 of normal clients is above";
const SPINS = "it spins";
const HELD = "it keeps more than 96 MiB";
const DESCRIPTORS = "more than 3 descriptors";
const THREADS = "more than 4 threads";
const MEMORY = "more than 48 MiB of memory are left behind";
const UNSTARTED = "it does not start";

/** A copy of an experiment with something changed, and the fault that must find it. */
interface Mutant {
  name: string;
  fault: string;
  changes: { from: string; to: string }[];
  /** The experiment; default: epoll. */
  of?: string;
  /** How the reason begins that the cell gives; default: the server ended. */
  says?: string;
}

const RECEIVE_FAILED = "else if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);\n  return 0;";
const LAST_OF_LIBC = '__errno_location: { parameters: [], result: "pointer" },\n    }).symbols;';
const INTEREST_SET = "const epoll = must(libc.epoll_create1(EPOLL_CLOEXEC)";
const ACCEPTED = "counts.accepted++;\n      open++;";
const REFUSED = "else countError(status);\n    at += head;";
const TURN = "const turnMs = readClockMs();";
const SEND = "const sent = libc.send(fd, bytes, length, MSG_NOSIGNAL);\n  if (sent === length)";

const MUTANTS: Mutant[] = [
  {
    name: "ends at EMFILE",
    fault: "descriptors-exhausted",
    changes: [{
      from: "countError(getSystemErrorName(-errno[0]!));\n",
      to: "throw new Error(getSystemErrorName(-errno[0]!));\n",
    }],
  },
  {
    name: "asks again and again for connections that it has no descriptors for",
    fault: "descriptors-exhausted",
    says: SPINS,
    changes: [{ from: "watch(EPOLL_CTL_MOD, listener, 0); //", to: "//" }],
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
    says: LOST,
    changes: [{ from: "const HEAD_MS = 10_000;", to: "const HEAD_MS = 10_000_000;" }],
  },
  {
    name: "drops each twentieth client while many heads are not complete",
    fault: "slow-heads",
    says: UNANSWERED,
    changes: [{
      from: SEND,
      to: `if (partial.size > 20 && counts.served % 20 === 0) return dropConnection(fd, "moody");\n  ${SEND}`,
    }],
  },
  {
    name: "drops who has not taken its answers at a tick of the clock",
    fault: "slow-readers",
    says: LOST,
    changes: [{
      from: "let ended = 0;\n",
      to: 'let ended = 0;\n  for (const fd of [...unsent.keys()]) dropConnection(fd, "slow");\n',
    }],
  },
  {
    name: "sleeps for 400 ms each second while a client is slow",
    fault: "slow-readers",
    says: LATE,
    changes: [
      { from: INTEREST_SET, to: `let sleptMs = 0;\n${INTEREST_SET}` },
      {
        from: TURN,
        to: `${TURN}\n    if (unsent.size > 0 && turnMs - sleptMs > 1000) {\n` +
          "      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);\n" +
          "      sleptMs = readClockMs();\n    }",
      },
    ],
  },
  {
    name: "reads on while answers are unsent, and keeps all of them",
    fault: "non-readers-pipelined",
    says: HELD,
    changes: [
      {
        from: "const unsent = new Map<number, Unsent>();",
        to: "const unsent = new Map<number, Unsent>();\nconst hoard = new Map<number, Uint8Array[]>();",
      },
      { from: "  unsent.delete(fd);\n}", to: "  unsent.delete(fd);\n  hoard.delete(fd);\n}" },
      {
        from: "  const { bytes, length, isLast } = reply;\n",
        to: "  const { bytes, length, isLast } = reply;\n" +
          "  if (unsent.has(fd)) {\n    if (!hoard.has(fd)) hoard.set(fd, []);\n" +
          "    hoard.get(fd)!.push(bytes.slice(0, length));\n    return;\n  }\n",
      },
      { from: "watch(EPOLL_CTL_MOD, fd, EPOLLOUT); //", to: "watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT); //" },
      {
        from: "else if (unsent.size > 0 && unsent.has(fd)) onWritable(fd);",
        to: "else if (unsent.has(fd) && (events[i * EVENT_WORDS]! & EPOLLIN) === 0) onWritable(fd);",
      },
    ],
  },
  {
    name: "tries to send until the client reads",
    fault: "non-readers-pipelined",
    says: REFUSES_NEW,
    changes: [{
      from: SEND,
      to: "let sent = 0;\n  while (sent < length) {\n    sent += Math.max(0, libc.send(fd, bytes.subarray(sent), " +
        "length - sent, MSG_NOSIGNAL));\n  }\n  if (sent === length)",
    }],
  },
  {
    name: "closes a connection when its peer closes a half",
    fault: "half-close",
    says: LOST,
    changes: [
      { from: "const EPOLLIN = 0x1,", to: "const EPOLLRDHUP = 0x2000, EPOLLIN = 0x1," },
      { from: "watch(EPOLL_CTL_ADD, fd, EPOLLIN) < 0", to: "watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP) < 0" },
      {
        from: "else if (unsent.size > 0 && unsent.has(fd)) onWritable(fd);",
        to: "else if ((events[i * EVENT_WORDS]! & EPOLLRDHUP) !== 0) closeConnection(fd);\n" +
          "      else if (unsent.size > 0 && unsent.has(fd)) onWritable(fd);",
      },
    ],
  },
  {
    name: "opens a descriptor for each connection and forgets it",
    fault: "half-close",
    says: DESCRIPTORS,
    changes: [{ from: ACCEPTED, to: `${ACCEPTED}\n      libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);` }],
  },
  {
    name: "waits for each peer that has not acknowledged its last answer",
    fault: "half-open",
    says: LATE,
    changes: [
      { from: LAST_OF_LIBC, to: `ioctl: { parameters: ["i32", "i32", "buffer"], result: "i32" },\n${LAST_OF_LIBC}` },
      {
        from: "|| ended++ === ENDS) break;\n",
        to:
          "|| ended++ === ENDS) break;\n    const left = new Int32Array(1);\n    libc.ioctl(fd, 0x5411, left); // SIOCOUTQ\n" +
          "    if (left[0]! > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);\n",
      },
    ],
  },
  {
    name: "sets no time limit for what a peer acknowledges and takes",
    fault: "peers-gone",
    says: LOST,
    changes: [{ from: "const USER_TIMEOUT_MS = 30_000;", to: "const USER_TIMEOUT_MS = 0;" }],
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
    name: "gives the next connection of a number what is left of the last one",
    fault: "rst-storm",
    says: LOST,
    changes: [{
      from: "function closeConnection(fd: number): void {\n  forgetPartial(fd);\n",
      to: "function closeConnection(fd: number): void {\n",
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
    name: "takes an interrupted recv for the end of the connection",
    fault: "eintr-storm",
    says: LOST,
    changes: [{ from: RECEIVE_FAILED, to: "else if (errno[0] !== EAGAIN) dropConnection(fd);\n  return 0;" }],
  },
  {
    name: "pauses at each error of accept",
    fault: "accept-errors",
    says: LOST,
    changes: [{
      from: "const PASSING_ERRORS = [EINTR, ECONNABORTED, ...NETWORK_ERRORS];",
      to: "const PASSING_ERRORS: number[] = [];",
    }],
  },
  {
    name: "forgets the beginning of a head",
    fault: "fragments",
    says: LOST,
    changes: [{ from: "partial.size > 0 && partial.has(fd) ? restore(fd) : 0;", to: "0;" }],
  },
  {
    name: "leaves a thread behind for each connection",
    of: "thread-per-conn",
    fault: "fragments",
    says: THREADS,
    changes: [{
      from: "room--;",
      to: "room--;\n  libc.pthread_create(new BigUint64Array(1), null, libc.nap, 60_000_000n);",
    }],
  },
  {
    name: "accepts nobody any more once a head has come in pieces",
    fault: "fragments",
    says: REFUSES_NEW,
    changes: [
      {
        from: "function acceptSome(listener: number, bound: number): void {\n",
        to: "let isDeaf = false;\nfunction acceptSome(listener: number, bound: number): void {\n" +
          "  if (isDeaf) return void watch(EPOLL_CTL_MOD, listener, 0);\n",
      },
      { from: "  partial.set(fd, { bytes, length", to: "  isDeaf = true;\n  partial.set(fd, { bytes, length" },
    ],
  },
  {
    name: "ends at a malformed head",
    fault: "malformed-heads",
    changes: [{
      from: REFUSED,
      to: 'else if (status === 400) throw new Error("malformed");\n    else countError(status);\n    at += head;',
    }],
  },
  {
    name: "closes at once behind its last answer",
    fault: "malformed-heads",
    says: LOST,
    changes: [{ from: "  lingering.set(fd, readClockMs() + LINGER_MS);\n", to: "  return closeConnection(fd);\n" }],
  },
  {
    name: "keeps 1 MiB of each head that it refuses",
    fault: "malformed-heads",
    says: MEMORY,
    changes: [
      { from: INTEREST_SET, to: `const hoard: Uint8Array[] = [];\n${INTEREST_SET}` },
      {
        from: REFUSED,
        to:
          "else {\n      countError(status);\n      hoard.push(new Uint8Array(2 ** 20).fill(1));\n    }\n    at += head;",
      },
    ],
  },
  {
    name: "waits for the end of a head that is too long",
    fault: "oversized-heads",
    says: LOST,
    changes: [{ from: "blank === 0 ? to - from >= MAX_HEAD :", to: "blank === 0 ? false :" }],
  },
  {
    name: "cuts off what the socket does not take",
    fault: "pipelines",
    says: LOST,
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
    name: "is slow for good once it has stood still",
    fault: "sigstop-sigcont",
    says: NEVER_BACK,
    changes: [
      { from: INTEREST_SET, to: `let isSlow = false;\n${INTEREST_SET}` },
      {
        from: "if (turnMs - tickMs < TURN_MS) continue;",
        to: "if (turnMs - tickMs > 1000) isSlow = true;\n    if (turnMs - tickMs < TURN_MS) continue;",
      },
      {
        from: "  const taken = libc.recv(",
        to:
          "  if (isSlow) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);\n  const taken = libc.recv(",
      },
    ],
  },
  {
    name: "measures time by the coarse wall clock of libc",
    fault: "clock-stepped",
    says: LOST,
    changes: [{ from: "CLOCK_MONOTONIC_COARSE = 6;", to: "CLOCK_MONOTONIC_COARSE = 5;" }],
  },
  {
    name: "measures time by the wall clock of libc",
    fault: "clock-stepped",
    says: LOST,
    changes: [{ from: "CLOCK_MONOTONIC_COARSE = 6;", to: "CLOCK_MONOTONIC_COARSE = 0;" }],
  },
  {
    name: "measures time by the wall clock of its runtime",
    fault: "clock-stepped",
    says: LOST,
    changes: [{
      from: "libc.clock_gettime(CLOCK_MONOTONIC_COARSE, timespec); // fails for an unknown clock only\n",
      to: "if (CLOCK_MONOTONIC_COARSE > 0) return Date.now();\n",
    }],
  },
  {
    name: "ends at once",
    fault: "sigterm-under-load",
    says: LOST,
    changes: [{ from: "  stopping = true;\n}", to: "  Deno.exit(0);\n}" }],
  },
  {
    name: "ends in order, but with an exit code of errors",
    fault: "sigterm-under-load",
    says: EXIT_CODE,
    changes: [{
      from: 'show({ event: "stopped", ...counts });\n  Deno.exit(0);',
      to: 'show({ event: "stopped", ...counts });\n  Deno.exit(3);',
    }],
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
    says: UNSTARTED,
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
function isMeasured({ verdict, reason }: FaultRow): boolean {
  if (verdict !== "skipped") return true;
  assert(!REQUIRE_ALL, `Not tried: ${reason}`);
  console.error(`Not tried: ${reason}`);
  return false;
}

/**
 * Whether a cell catches a mutant, which has to serve before the fault comes. On a busy machine it may break a graver rule too:
 * the one that is meant must be broken.
 */
function isCaught(row: FaultRow, { fault, says = ENDED }: Mutant): boolean {
  const rule = RULES.find((one) => one.says.startsWith(says));
  const isMeant = rule?.isBroken(row, faultOf(fault)) ?? row.reason?.startsWith(says) ?? false;
  const hasServed = says === UNSTARTED || row.p99_ms_before !== null;
  return isMeant && hasServed && (row.verdict === "failed" || row.verdict === "degraded");
}

/** The rules that a cell breaks, but for that about lateness: a busy machine makes every server late. */
function brokenRules(row: FaultRow): string[] {
  return RULES.filter(({ id, isBroken }) => id !== "p99" && isBroken(row, faultOf(row.fault))).map(({ id }) => id);
}

/**
 * The cell of a mutant. One that does not catch it may be the fault of a busy machine, as in a run: of three the majority
 * counts. Where the fault does nothing but wait, the cell of the original is measured meanwhile.
 */
async function brokenCell(mutant: Mutant): Promise<FaultRow> {
  const { of = "epoll", fault, changes } = mutant;
  const [first, ...more] = changes.map(({ from, to }) => ({ replace: from, by: to }));
  using copies = new PatchedCopies();
  const copy = copies.make(of, { name: of, ...first! }, ...more);
  if (faultOf(fault).isIdle) void soundCell(of, fault).catch(() => {}); // awaited by the test
  const row = await cell(copy, fault);
  if (row.verdict === "skipped" || isCaught(row, mutant)) return row;
  const again = [await cell(copy, fault)];
  while (again.length + 1 < MAX_ALONE && isCaught(again.at(-1)!, mutant)) again.push(await cell(copy, fault));
  return again.at(-1)!;
}

for (const mutant of MUTANTS) {
  const { name, fault, of = "epoll", says = ENDED } = mutant;
  Deno.test({
    name: `${fault}: ${of} survives, and a copy that ${name} does not`,
    ignore,
    fn: async () => {
      const broken = await brokenCell(mutant);
      const whole = await soundCell(of, fault);
      if (!isMeasured(whole)) return;
      assert(isCaught(broken, mutant), JSON.stringify(broken));
      assertEquals(broken.reason?.startsWith(UNSTARTED), says === UNSTARTED, "It must start before the fault comes.");
      assertEquals([brokenRules(whole), whole.lost], [[], 0], JSON.stringify(whole));
      if (says === LATE) {
        assert((broken.p99_ms_during ?? Infinity) > whole.p99_ms_during!, JSON.stringify([broken, whole]));
      }
    },
  });
}

Deno.test("a mutant is caught by a rule that there is, and each rule catches one", () => {
  const broken = MUTANTS.map(({ says = ENDED }) => says).filter((says) => says !== UNSTARTED);
  assertEquals(broken.filter((says) => !RULES.some((rule) => rule.says.startsWith(says))), []);
  const idle = RULES.filter((rule) => !broken.some((says) => rule.says.startsWith(says)));
  assertEquals(idle.map(({ says }) => says), []);
});

Deno.test("each fault with a promise has a copy that breaks it", () => {
  const broken = new Set(MUTANTS.map(({ fault }) => fault));
  assertEquals(FAULTS.map(({ id }) => id).filter((id) => !broken.has(id)), []);
});

Deno.test("a fault names, and asks for, abilities that headers know", () => {
  const known: readonly string[] = ABILITIES;
  const named = [...FAULTS.flatMap(({ abilities }) => abilities), ...OWN_PARSER];
  assertEquals(named.filter((ability) => !known.includes(ability)), []);
});

Deno.test("equal seeds make equal heads", () => {
  assertEquals(malformedHeads(7, 20), malformedHeads(7, 20));
  assertNotEquals(malformedHeads(7, 20), malformedHeads(8, 20));
});

Deno.test("the collection of heads says what each is owed, and has the kinds that servers stumble over", () => {
  const heads = corpus();
  assertEquals([...new Set(heads.map(({ status }) => status))].toSorted(), [200, 400, 431, 505]);
  const texts = heads.map(({ bytes }) => new TextDecoder("latin1").decode(bytes));
  for (const part of ["PRI * HTTP/2.0", "HTTP/9.9", "SSH-2.0", "\x16\x03\x01", "\0\0\0", "\r\n: ", ": +1", "\xff"]) {
    assert(texts.some((text) => text.includes(part)), JSON.stringify(part));
  }
  assert(texts.includes("") && texts.some((text) => /[^\r]\n/.test(text)), "no bytes at all, and a bare LF");
  // With 64 KiB behind it a head is malformed, rather than too long, only if it has an end.
  for (const [i, { status }] of heads.entries()) assertEquals(texts[i]!.includes("\r\n\r\n"), status !== 431, texts[i]);
});

Deno.test("with too few descriptors a crowd is not made smaller, and the reason says how many it takes", () => {
  demandDescriptors(10_000, 11_000);
  const { message } = assertThrows(() => demandDescriptors(10_000, 1024), CannotDo);
  assertStringIncludes(message, "it needs 11000 descriptors, and this process may have 1024");
});

/** A look at threads: what each had of the CPU, and how long it waited for it, in seconds. */
const lookOf = (atS: number, threads: Record<string, [ranS: number, waitedS: number]>): CpuLook => ({
  atUs: atS * 1e6,
  threads: new Map(
    Object.entries(threads).map(([id, [ran, waited]]) => [id, { ranUs: ran * 1e6, waitedUs: waited * 1e6 }]),
  ),
});

Deno.test("one that spins has a core of its own, also where others leave it little", () => {
  const from = lookOf(10, { "1": [5, 1], "2": [1, 0] });
  assertEquals(coresBetween(from, lookOf(12, { "1": [7, 1], "2": [1, 0] })), 1); // alone
  assertEquals(coresBetween(from, lookOf(12, { "1": [5.25, 2.75], "2": [1, 0] })), 1); // an eighth, and a wait for the rest
  assertEquals(coresBetween(from, lookOf(12, { "1": [5.25, 2], "2": [1.5, 0] })), 0.5); // both sleep
  assertEquals(coresBetween(from, lookOf(12, { "1": [5.01, 2.99], "3": [1, 1] })), 0.1 + 1); // hardly run; a new thread
  assertEquals([coresBetween(null, from), coresBetween(from, null)], [null, null]);
});

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100097F:C001 01 00000031:00000000 01:00000014 00000003     0        0 1002 2 0 20 4 30 10 -1
   2: 0100007F:1F90 0100097F:C002 04 00000031:00000000 01:00000014 00000003     0        0 0 2 0 20 4 30 10 -1
   3: 0100007F:1F90 0200097F:C001 01 00000031:00000000 04:00000014 00000000     0        3 1003 2 0 20 4 30 10 -1
   4: 0100007F:1F91 0100097F:C003 01 00000000:00000000 00:00000000 00000000     0        0 1004 2 0 20 4 30 10 -1
   5: 0100007F:C003 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 1005 2 0 20 4 30 10 -1
`;
const V6 = "0000000000000000FFFF0000";

Deno.test("a connection is held as long as a process has its socket", () => {
  assertEquals(heldIn(TCP, 8080, ["127.9.0.1"]), 1);
  assertEquals(heldIn(TCP, 8080, ["127.9.0.1", "127.9.0.2"]), 2);
  assertEquals(heldIn(TCP.replaceAll(/\b(0[012]00\w{3}F):/g, `${V6}$1:`), 8080, ["127.9.0.1"]), 1);
  assertEquals(heldIn("", 8080, ["127.9.0.1"]), 0);
  const twice = `${TCP}${TCP.split("\n").slice(1).join("\n")}`;
  assertEquals(heldIn(twice, 8080, ["127.9.0.1", "127.9.0.2"]), 2);
});
