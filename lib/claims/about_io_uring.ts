/**
 * Claims about io_uring, about going around the kernel, and about millions of connections.
 *
 * @module
 */
import { bytes, count } from "../text/format.ts";
import { type Claim, judged, notTestable, type Part, written } from "./claim.ts";
import { atMost, exactly, isTimes, quotient } from "./figure.ts";
import { type Evidence } from "./evidence.ts";
import { atFullLoad, cost, costOverWire } from "./parts.ts";
import type { Ratio } from "./ratio.ts";
import { C10K, CROWD, crowdVariant } from "../results/conventions.ts";

/** Half the system calls, or fewer. */
const FEWER = 0.5;
/** "Nearly none": one for ten requests, or fewer. */
const NEARLY_NONE = 0.1;
/** "Two to three times as fast", and "half the latency", which is twice less of it. */
const FASTER = { from: 2, to: 3 };
const HALVED = 2;
const BYPASS = CROWD.server;
/** What goes around the kernel is compared with the least that goes through it, at these sizes. */
const FLOOR = "c-epoll";
const WIRE_SIZES = [100, 1000];
/** A quarter less. */
const CHEAPER = 0.75;
const MILLION = 1e6;
/** How often each of ten million connections is asked. */
const ASKS = 2;

const CALLS = "system_calls_per_request";
/** The same server over io_uring and over epoll: in C, in TypeScript. */
const PAIRS: readonly [ring: string, loop: string][] = [["c-io-uring", "c-epoll"], ["io-uring", "epoll"]];
/** The rows of the probe with few requests at a time. */
const PART_LOAD = " at 40 000/s";
/** How much is asked for in the rows of the probe: what their names end in, and in words. */
const LOADS: readonly [ending: string, words: string][] = [["", "under full load"], [
  PART_LOAD,
  "at 40 000 requests/s",
]];
const callsOf = (evidence: Evidence, name: string) => evidence.probe("system-calls", name, CALLS);

const fewest: Claim = {
  id: "T-uring",
  claim: {
    en: "io_uring is truly asynchronous and needs the fewest system calls, by queues for requests and for results.",
    ko: "io_uring은 진정한 비동기 I/O로, 제출·완료 큐를 분리해 시스템 콜을 최소화한다.",
  },
  section: "T §Recent developments, io_uring",
  tried:
    "system calls for a request under the same load, full and at 40 000 requests/s: io-uring against epoll, each in " +
    "TypeScript and in C",
  rule: "Half the system calls of epoll, or fewer; as many or more is no. That the interface is asynchronous is its " +
    "definition, and no figure.",
  sceptic:
    "I sign it for small answers over TCP, against epoll. Fewer calls are not less time, and the fewest of all " +
    "interfaces would need more of them in the comparison.",
  judge(evidence) {
    const all = ["", PART_LOAD].flatMap((load) =>
      PAIRS.map((pair) => pair.map((name) => `${name}${load}`) as typeof pair)
    );
    const counted = evidence.probes("system-calls", CALLS, (name) => all.flat().includes(name));
    const complete = all.filter((pair) => pair.every((wanted) => counted.some(({ name }) => name === wanted)));
    const pairs = complete.length > 0 ? complete : all; // of which the first that is missing is then named
    const parts = pairs.map(([ring, loop]) => {
      const [few, many] = [callsOf(evidence, ring), callsOf(evidence, loop)];
      return {
        says: `${ring} needs ${written(few, "calls/request")}, ${loop} ${written(many, "calls/request")}`,
        holds: atMost(quotient(few, many), FEWER, 1),
      };
    });
    return judged(callsOf(evidence, "io-uring"), "calls/request", parts);
  },
};

const twice: Claim = {
  id: "C-uring-2x",
  claim: {
    en: "io_uring is two to three times as fast as epoll, halves latency and needs nearly no system calls.",
    ko: "io_uring은 epoll보다 2~3배 빠르고 지연은 절반이며 시스템 콜이 거의 없다.",
  },
  section: "C §7.2",
  tried:
    "paired comparisons of the same server over io_uring and over epoll, in C and in TypeScript; system calls for a " +
    "request",
  rule:
    "Two to three times the requests for the same CPU time, within a factor of √2, so that no gain at all is outside: 1.41 " +
    "to 4.24; where the load generator was the limit a no is open. Latency can only be affirmed: the p99 at the same rate is " +
    "half of epoll's, within √2: 0.35 to 0.71. Any other is open, for at part load both wait for the wake-up of a core. " +
    "System calls can only be affirmed too: at most 0.1 for a request, under full load and at part load. More is open, for " +
    "the text names the polling mode beside them, and no ring here uses it.",
  sceptic:
    "I sign it for small answers over loopback, without SQPOLL, registered buffers or files. How much there is to gain " +
    "depends on the work behind each call, which differs elsewhere.",
  judge(evidence) {
    const costs = PAIRS.map(([of, to]) => cost(evidence, of, to));
    const ask = { scenario: "rate", connections: 100, metric: "p99_us", of: "c-io-uring", to: "c-epoll" } as const;
    const p99 = evidence.ratio(ask);
    return judged(quotient(exactly(1), costs[0]!), "×", [
      ...PAIRS.map((pair, i) => speed(pair, costs[i]!)),
      p99.isVoid
        ? { says: "the latency at the same rate is that of the load generator, which was at its limit", holds: null }
        : {
          says:
            `its p99 is ${
              written(p99, "×")
            } that of epoll; at part load that is the wake-up of an idle core, so what is ` +
            `missing is a rate near the capacity of both`,
          holds: isTimes(quotient(exactly(1), p99), HALVED).holds || null,
        },
      ...LOADS.flatMap(([ending, words]) => PAIRS.map(([ring]) => fewCalls(evidence, `${ring}${ending}`, ring, words))),
    ]);
  },
};

/** Whether a ring does two to three times the work. A load generator at its limit refutes nothing: the servers had time left. */
function speed([of, to]: typeof PAIRS[number], cost: Ratio): Part {
  const times = quotient(exactly(1), cost);
  const match = isTimes(times, FASTER.from, FASTER.to);
  return {
    says: `${of} does ${written(times, "×")} the work of ${to} for the same CPU time${atFullLoad(cost)}`,
    ...(cost.limited && match.holds === false ? { holds: null } : match),
  };
}

/** Whether a ring needs nearly no system calls. */
function fewCalls(evidence: Evidence, variant: string, ring: string, load: string): Part {
  const calls = callsOf(evidence, variant);
  return {
    says: `${load} ${ring} needs ${
      written(calls, "calls/request")
    } without the polling mode (SQPOLL) that the text names`,
    holds: atMost(calls, NEARLY_NONE) || null,
  };
}

/** What so many connections would take of the kernel and of epoll: extrapolated from one, not measured. */
function extrapolated(evidence: Evidence, connections: number): number {
  const each = ["kernel_bytes_per_conn", "user_bytes_per_conn"] as const;
  return each.reduce((sum, metric) => sum + evidence.memory("epoll", metric).estimate, 0) * connections;
}

const xdp: Claim = {
  id: "T-xdp",
  claim: {
    en: "With eBPF and XDP packets go around the kernel to a protocol stack in user space, which overcomes limits of " +
      "performance.",
    ko: "eBPF/XDP로 커널을 우회해 사용자 공간 프로토콜 스택에서 패킷을 처리하면 성능 한계를 극복할 수 있다.",
  },
  section: "T §Recent developments, eBPF; §Conclusion",
  tried:
    `the experiment ${BYPASS} against ${FLOOR}, which adds the least to the kernel's TCP, both over the same kind of veth ` +
    "pair, with 100 and 1 000 connections: busy time of the server's core per request, since part of the kernel's work " +
    "belongs to no process; the time of the process stands beside it",
  rule:
    `A request costs three quarters of what it costs with ${FLOOR}, or less, in busy time of the server's core, at both ` +
    "sizes. Any other is open: the experiment copies every frame, on a pair of virtual cards, and refutes nothing of a " +
    "network card whose driver copies none.",
  sceptic:
    "I sign it for this path. A quarter is an arbitrary line, and a TCP that leaves out parts of the kernel's is cheaper " +
    "for that reason too, not only for going around it.",
  judge(evidence) {
    const why = evidence.whyNot(BYPASS);
    if (why !== null) return notTestable(`Nothing here goes around the kernel: ${why}.`);
    const costs = WIRE_SIZES.map((connections) => {
      const [core, own] = (["core_us_per_request", "cpu_us_per_request"] as const).map((metric) =>
        costOverWire(evidence, metric, BYPASS, FLOOR, connections)
      );
      const says =
        `at ${count(connections)} connections the cost of a request to ${BYPASS} is ${written(core!, "×")} that of ` +
        `${FLOOR} by the time of the server's core, and ${written(own!, "×")} by that of the process alone`;
      return { core: core!, part: { says, holds: atMost(core!, CHEAPER) || null } };
    });
    return judged(costs[0]!.core, "×", costs.map(({ part }) => part));
  },
};

const c10m: Claim = {
  id: "C-c10m",
  claim: {
    en: "Going around the kernel brings ten million connections to one server.",
    ko: "커널 우회 기술로 서버 한 대에서 천만 연결을 달성한다.",
  },
  section: "C §7.2, §10",
  tried:
    `\`deno task c10m\`: ten million connections to the experiment ${BYPASS} over a veth pair, held at one time, each asked ` +
    "twice; what as many would take through the kernel is extrapolated from what one takes",
  rule:
    "Ten million connections are held at one time, each is answered twice, and none is lost (counts: no margin). Fewer are " +
    "open: one machine that fails does not show that none can.",
  sceptic:
    "I sign it as a proof that it exists, for idle connections that are asked twice. Real traffic, a network card and " +
    "distant clients are missing, and may be the harder part.",
  judge(evidence) {
    const why = evidence.whyNot(BYPASS);
    if (why !== null) {
      const through = extrapolated(evidence, CROWD.connections);
      const says = `Nothing here goes around the kernel: ${why}. Through the kernel ten million would take ` +
        `${bytes(through)}, extrapolated from what epoll takes at ${count(C10K)}; this machine has ` +
        `${bytes(evidence.host.memory_bytes)}.`;
      return notTestable(says, through, "bytes");
    }
    const [held, answered, lost, each] = ["held", "answered", "lost", "server_bytes_per_connection"].map((metric) =>
      evidence.probe(CROWD.probe, crowdVariant(), metric)
    );
    const says =
      `${BYPASS} held ${count(held!.estimate)} connections, gave ${count(answered!.estimate)} answers and lost ` +
      `${count(lost!.estimate)}, with ${
        bytes(each!.estimate)
      } of its memory for each: over a veth pair, without a network ` +
      "card, and with its clients on the same machine";
    const isWhole = held!.estimate >= CROWD.connections && answered!.estimate >= ASKS * CROWD.connections;
    const holds = isWhole && lost!.estimate === 0;
    return judged(exactly(held!.estimate), "connections", [{ says, holds: holds || null }]);
  },
};

const c1m: Claim = {
  id: "C-c1m",
  claim: {
    en: "With special hardware and tuning one server holds a million connections, and one has held two million.",
    ko: "특수 하드웨어와 튜닝을 쓰면 서버 한 대가 100만 연결을 유지할 수 있고, 200만 연결을 유지한 사례도 있다.",
  },
  section: "C §7.3, §10",
  tried:
    "the probe million: one server process, over io_uring with direct descriptors, which the limit of descriptors does not " +
    "count; or `hold` of an experiment at 1 000 000",
  rule:
    "A million connections are held, and all of them answered, at one time, and two million (counts: no margin). With the " +
    "probe the answers count that came after a rest. Fewer are open: one machine that fails does not show that none has. " +
    "So is what special hardware adds: there is none here.",
  sceptic:
    "I sign it as a proof that it exists: idle connections over loopback say nothing of their traffic, and the special " +
    "hardware that the text names has no part in it.",
  judge(evidence) {
    const most = evidence.heldMost(MILLION);
    const answered = most?.answered ?? evidence.probe("million", `io_uring ${MILLION}`, "answered");
    const says = most === null
      ? `one process held ${
        count(answered.estimate)
      } connections over io_uring, and answered on each, with both ends on ` +
        "one machine"
      : `${most.name} held ${count(most.answered.estimate)} connections`;
    const twice = answered.estimate >= 2 * MILLION;
    return judged(answered, "connections", [
      { says, holds: answered.estimate >= MILLION || null },
      { says: twice ? "these are two million" : "missing is a run with two million", holds: twice || null },
    ]);
  },
};

export const RINGS: readonly Claim[] = [fewest, xdp, twice, c10m, c1m];
