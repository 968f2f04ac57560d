/**
 * Claims about io_uring, about going around the kernel, and about millions of connections.
 *
 * @module
 */
import { bytes, count } from "../text/format.ts";
import { type Claim, judged, notTestable, written } from "./claim.ts";
import { atMost, exactly, isTimes, quotient } from "./figure.ts";
import { type Evidence } from "./evidence.ts";
import { cost, costOverWire } from "./parts.ts";
import { C10K, CROWD, crowdVariant } from "../results/conventions.ts";

/** Half the system calls, or fewer. */
const FEWER = 0.5;
/** "Nearly none": one for ten requests, or fewer. One for two is no such thing. */
const NEARLY_NONE = { to: 0.1, notOver: 0.5 };
/** "Two to three times as fast", and "half the latency", which is twice less of it. */
const FASTER = { from: 2, to: 3 };
const HALVED = 2;
const BYPASS = CROWD.server;
/** What goes around the kernel is compared with the least that goes through it, at these sizes. */
const FLOOR = "c-epoll";
const WIRE_SIZES = [100, 1000];
/** A quarter less; as much is no gain. */
const CHEAPER = { to: 0.75, notOver: 1 };
const MILLION = 1e6;

const CALLS = "system_calls_per_request";
/** The same server over io_uring and over epoll: in C, in TypeScript. */
const PAIRS: readonly [ring: string, loop: string][] = [["c-io-uring", "c-epoll"], ["io-uring", "epoll"]];
/** The rows of the probe with few requests at a time. */
const PART_LOAD = " at 40 000/s";
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
  judge(evidence) {
    const all = ["", PART_LOAD].flatMap((load) =>
      PAIRS.map((pair) => pair.map((name) => `${name}${load}`) as typeof pair)
    );
    const counted = evidence.probes("system-calls", CALLS, (name) => all.flat().includes(name));
    const complete = all.filter((pair) => pair.every((wanted) => counted.some(({ name }) => name === wanted)));
    const pairs = complete.length > 0 ? complete : all; // of which the first that is missing is then told
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
    "to 4.24. Latency: the p99 at the same rate is half of epoll's, within √2: 0.35 to 0.71; any other is open, for at part " +
    "load both wait for the wake-up of a core. Nearly no system calls: at most 0.1 for a " +
    "request, under full load and at part load; over 0.5 is no.",
  judge(evidence) {
    const speed = PAIRS.map(([of, to]) => quotient(exactly(1), cost(evidence, of, to)));
    const ask = { scenario: "rate", connections: 100, metric: "p99_us", of: "c-io-uring", to: "c-epoll" } as const;
    const p99 = evidence.ratio(ask);
    const calls = callsOf(evidence, "io-uring");
    return judged(speed[0]!, "×", [
      ...PAIRS.map(([of, to], i) => ({
        says: `${of} does ${written(speed[i]!, "×")} the work of ${to} for the same CPU time`,
        ...isTimes(speed[i]!, FASTER.from, FASTER.to),
      })),
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
      ...[{ calls, at: "under full load" }, {
        calls: callsOf(evidence, `io-uring${PART_LOAD}`),
        at: "at 40 000 requests/s",
      }]
        .map(({ calls, at }) => ({
          says: `${at} io-uring needs ${written(calls, "calls/request")}`,
          holds: atMost(calls, NEARLY_NONE.to, NEARLY_NONE.notOver),
        })),
    ]);
  },
};

/** What so many connections would take of the kernel and of epoll: extrapolated from one, not measured. */
function extrapolated(evidence: Evidence, connections: number): number {
  const each = ["kernel_bytes_per_conn", "user_bytes_per_conn"] as const;
  return each.reduce((sum, metric) => sum + evidence.memory("epoll", metric).estimate, 0) * connections;
}

const xdp: Claim = {
  id: "T-xdp",
  claim: {
    en: "With eBPF and XDP packets go around the kernel to a protocol stack in user space, which is faster.",
    ko: "eBPF/XDP로 커널을 우회해 사용자 공간 프로토콜 스택에서 패킷을 더 빠르게 처리한다.",
  },
  section: "T §Recent developments, eBPF",
  tried:
    `the experiment ${BYPASS} against ${FLOOR}, which adds the least to the kernel's TCP, both over the same kind of veth ` +
    "pair, with 100 and 1 000 connections: busy time of the server's core per request, since part of the kernel's work " +
    "belongs to no process; the time of the process stands beside it",
  rule:
    `A request costs three quarters of what it costs with ${FLOOR}, or less, in busy time of the server's core, at both ` +
    "sizes; as much, or more, is no.",
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
      return { core: core!, part: { says, holds: atMost(core!, CHEAPER.to, CHEAPER.notOver) } };
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
    "Ten million connections are held at one time and none is lost (a count: no margin). Fewer are open: one machine that " +
    "fails does not show that none can.",
  judge(evidence) {
    const why = evidence.whyNot(BYPASS);
    if (why !== null) {
      const through = extrapolated(evidence, CROWD.connections);
      const says = `Nothing here goes around the kernel: ${why}. Through the kernel ten million would take ` +
        `${bytes(through)}, extrapolated from what epoll takes at ${count(C10K)}; this machine has ` +
        `${bytes(evidence.host.memory_bytes)}.`;
      return notTestable(says, through, "bytes");
    }
    const [held, lost, each] = ["held", "lost", "server_bytes_per_connection"].map((metric) =>
      evidence.probe(CROWD.probe, crowdVariant(), metric)
    );
    const says = `${BYPASS} held ${count(held!.estimate)} connections and lost ${count(lost!.estimate)}, with ` +
      `${bytes(each!.estimate)} of its memory for each`;
    const holds = held!.estimate >= CROWD.connections && lost!.estimate === 0;
    return judged(exactly(held!.estimate), "connections", [{ says, holds: holds || null }]);
  },
};

const c1m: Claim = {
  id: "C-c1m",
  claim: {
    en: "One server has held one to two million connections, with tuning.",
    ko: "튜닝한 서버 한 대가 100만~200만 동시 연결을 유지한 사례가 있다.",
  },
  section: "C §7.3, §10",
  tried:
    "the probe million: one server process, over io_uring with direct descriptors, which the limit of descriptors does not " +
    "count; or `hold` of an experiment at 1 000 000",
  rule:
    "A million connections are held, and all of them answered, at one time (a count: no margin). With the probe the answers " +
    "count that came after a rest. Fewer are open: one machine that fails does not show that none has.",
  judge(evidence) {
    const most = evidence.heldMost(MILLION);
    if (most !== null) {
      return judged(most.answered, "connections", [
        { says: `${most.name} held ${count(most.answered.estimate)} connections`, holds: true },
      ]);
    }
    const answered = evidence.probe("million", `io_uring ${MILLION}`, "answered");
    const says = `one process held ${count(answered.estimate)} connections over io_uring, and answered on each`;
    return judged(answered, "connections", [{ says, holds: answered.estimate >= MILLION || null }]);
  },
};

export const RINGS: readonly Claim[] = [fewest, xdp, twice, c10m, c1m];
