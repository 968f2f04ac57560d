import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { CannotCompare } from "../compare/side.ts";
import { type Candidate, lostRounds, measurePairs, measureRounds, outcomeOf, validLogs } from "./rounds.ts";
import type { Found } from "../results/findings.ts";
import type { RoundFound } from "../results/rows.ts";
import { found } from "../testing/fixtures.ts";

const never = new AbortController().signal;
const measured = (log: number | null, findings: Found[] = []): RoundFound => ({
  log_ratio: log,
  rate_per_s: 5000,
  reference_cpu_us_per_request: 10,
  candidate_cpu_us_per_request: 11,
  findings,
  failure: null,
});
const candidate = (name = "event-loop", baseline: number[][] | null = [Array(30).fill(0)]): Candidate => ({
  subject: find(name),
  connections: 10,
  ratePerS: "half",
  baseline,
  rounds: [],
});

/** Runs rounds that answer what `answer` says; what was asked is returned in order. */
async function run(candidates: Candidate[], answer: (n: number, name: string) => RoundFound, signal = never) {
  const asked: { name: string; ratePerS: Candidate["ratePerS"] }[] = [];
  const kept: string[] = [];
  await measureRounds(candidates, {
    rounds: 30,
    confirm: true,
    signal,
    measure: ({ name }, _, ratePerS) => {
      asked.push({ name, ratePerS });
      try {
        return Promise.resolve(answer(asked.filter((each) => each.name === name).length, name));
      } catch (error) {
        return Promise.reject(error);
      }
    },
    keep: (of, round) => Promise.resolve(void kept.push(`${of.subject.name} ${round.phase}`)),
  });
  return { asked, kept };
}
const verdict = (of: Candidate) => {
  const outcome = outcomeOf(of, { rounds: 30 });
  return outcome.ended === "decided" ? outcome.decision.verdict : outcome.ended;
};

Deno.test("what is not slower by its first rounds has as many rounds as were wanted; each is kept; all but the first have its rate", async () => {
  const one = candidate();
  const { asked, kept } = await run([one], () => measured(0));
  assertEquals(kept, Array(30).fill("event-loop first"));
  assertEquals(asked.map(({ ratePerS }) => ratePerS), ["half", ...Array(29).fill(5000)]);
  assertEquals(verdict(one), "not_slower");
});

Deno.test("what is not shown to be not slower gets as many fresh rounds, and all of them decide", async () => {
  const [slow, lucky, same] = [candidate("event-loop"), candidate("select"), candidate("poll")];
  const { kept } = await run([slow, lucky, same], (n, name) => {
    return measured(name === "event-loop" || (name === "select" && n <= 30) ? 0.1 : 0);
  });
  assertEquals([slow, lucky, same].map(verdict), ["slower", "inconclusive", "not_slower"]);
  const fresh = (name: string) => kept.filter((each) => each === `${name} confirmation`).length;
  assertEquals([fresh("event-loop"), fresh("select"), fresh("poll")], [30, 30, 0]);
});

Deno.test("candidates take turns: none has a second round before each has its first", async () => {
  const { asked } = await run([candidate("event-loop"), candidate("select"), candidate("poll")], () => measured(0));
  for (let i = 0; i < asked.length; i += 3) {
    assertEquals(new Set(asked.slice(i, i + 3).map(({ name }) => name)).size, 3);
  }
});

Deno.test("rounds that are there are not measured again, those of a confirmation either", async () => {
  const one = candidate();
  one.rounds = [
    ...Array.from({ length: 30 }, () => ({ experiment: "event-loop", phase: "first" as const, ...measured(0.1) })),
    ...Array.from(
      { length: 20 },
      () => ({ experiment: "event-loop", phase: "confirmation" as const, ...measured(0.1) }),
    ),
  ];
  const { kept } = await run([one], () => measured(0.1));
  assertEquals(kept, Array(10).fill("event-loop confirmation"));
  assertEquals(verdict(one), "slower");
});

Deno.test("rounds with load from outside do not count, and with too many of them nothing is decided", async () => {
  const noisy = (often: number) => (n: number) =>
    measured(n <= often ? 0.5 : 0, n <= often ? [found("epoll", "foreign_load")] : []);
  const some = candidate();
  const most = candidate();
  const late = candidate();
  await run([some], noisy(10));
  assertEquals([validLogs(some, "first").length, verdict(some)], [20, "not_slower"]);
  assertEquals(
    lostRounds(some),
    "10 of 30 rounds do not count: foreign_load (other processes used the cores of server or load generator)",
  );
  await run([most], noisy(11));
  assertEquals(verdict(most), "inconclusive");
  const outcome = outcomeOf(most, { rounds: 30 });
  assertEquals(outcome.ended === "decided" && outcome.decision.reason, "others used the machine");
  const short = candidate();
  await run([short], (n) => measured(0, n > 19 ? [] : [found("epoll", n === 1 ? "foreign_load" : "short_run")]));
  const reason = outcomeOf(short, { rounds: 30 });
  assertMatch(reason.ended === "decided" ? reason.decision.reason! : "", /^too few/);
  await run([late], () => measured(0, [found("event-loop", "late_sends"), found("epoll", "client_bound")])); // these say nothing of CPU time
  assertEquals([verdict(late), lostRounds(late)], ["not_slower", null]);
});

Deno.test("a server that fails once loses a round, twice it is broken, and the rest is spared", async () => {
  const fails = (...rounds: number[]) => (n: number): RoundFound => {
    if (rounds.includes(n)) throw new CannotCompare(find("event-loop"), "event-loop: 3 connections lost", "crashed");
    return measured(0);
  };
  const once = candidate();
  const twice = candidate();
  await run([once], fails(3));
  assertEquals([verdict(once), once.rounds.length], ["not_slower", 30]);
  assertEquals(lostRounds(once), "1 of 30 rounds do not count: event-loop: 3 connections lost");
  await run([twice], fails(3, 5));
  assertEquals([verdict(twice), twice.rounds.length], ["broken", 5]);
  // Also if the reference fails, or a limit of the machine was in the way: but then nobody knows whose fault it is.
  for (
    const error of [
      new CannotCompare(find("epoll"), "epoll: 3 connections lost", "crashed"),
      new CannotCompare(find("event-loop"), "event-loop: no memory is left", "limited"),
    ]
  ) {
    const other = candidate();
    await run([other], () => {
      throw error;
    });
    assertEquals([verdict(other), other.rounds.length], ["inconclusive", 2]);
  }
  const outcome = outcomeOf(twice, { rounds: 30 });
  assertMatch(outcome.ended === "broken" ? outcome.reason : "", /^event-loop: 3 connections lost$/);
});

Deno.test("what cannot run here is skipped at once with its reason, and is no failure", async () => {
  const one = candidate("kqueue");
  const { asked } = await run([one], () => {
    throw new CannotCompare(find("kqueue"), "kqueue needs macOS.", "skipped");
  });
  assertEquals([asked.length, outcomeOf(one, { rounds: 30 })], [1, {
    ended: "skipped",
    reason: "kqueue needs macOS.",
  }]);
});

Deno.test("what has run before cannot say that it cannot run: its rounds count, and it is tried again", async () => {
  const one = candidate();
  await run([one], (n) => {
    if (n === 7) throw new CannotCompare(find("event-loop"), "This system does not report the CPU time.", "skipped");
    return measured(0);
  });
  assertEquals([verdict(one), one.rounds.length, validLogs(one, "first").length], ["not_slower", 30, 29]);
});

Deno.test("an error that is no server's fault ends the run, and so does an abort, after the rounds before it were kept", async () => {
  const one = candidate();
  await assertRejects(() =>
    run([one], (n) => {
      if (n === 3) throw new TypeError("the generator broke");
      return measured(0);
    }), TypeError);
  assertEquals(one.rounds.length, 2);
  const abort = new AbortController();
  await assertRejects(() => run([one], () => (abort.abort(), measured(0)), abort.signal), DOMException);
  assertEquals(one.rounds.length, 3);
});

Deno.test({
  name:
    "a round of real servers gives the ratio of their CPU time at the rate that was asked for, and says what failed",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const measure = measurePairs(find("epoll"), { slices: 2, seconds: 0.1, settleSeconds: 0.5, signal: never });
    const { log_ratio, rate_per_s, candidate_cpu_us_per_request, findings, failure } = await measure(
      ...[find("event-loop"), 2, 500] as const,
    );
    assert(Number.isFinite(log_ratio) && candidate_cpu_us_per_request! > 0);
    assertEquals([rate_per_s, failure], [500, null]);
    const short = found("event-loop", "short_run");
    assert(findings.some(({ server, id }) => server === short.server && id === short.id)); // 0.2 s: nobody may judge by it
    const absent = await assertRejects(() => measure(find("iocp"), 2, 500), CannotCompare);
    assertEquals([absent.subject.name, absent.ended], ["iocp", "skipped"]);
  },
});
