/**
 * Claims about which architecture suits what.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, type Part, written } from "./claim.ts";
import { all, atLeast, atMost, EFFECT, exactly, type Figure, gains, quotient } from "./figure.ts";
import { type Evidence, NotMeasured } from "./evidence.ts";
import { NotTestable, type Ratio } from "./ratio.ts";
import { connectionsFor } from "../results/conventions.ts";
import type { ScalingRow } from "../results/rows.ts";
import { isLimited } from "../tables/scaling.ts";
import { cost, needsTuning } from "./parts.ts";

/** Who does not block: its light requests wait half as long as those of a blocked loop, or less. */
const UNBLOCKED = 0.5;
/** "As cheap": within a quarter; half as much again is not. */
const AS_CHEAP = { to: 1.25, notOver: 1.5 };
/** An even share of two loops is 0.5; from 0.6 on one has half as many again as the other. */
const EVEN_SHARE = 0.6;
const FEW = 100;
const MANY = 1000;

/** How the light requests fare beside heavy ones: their p99, against that of one event loop. */
const waits = (evidence: Evidence, of: string) =>
  evidence.ratio({ scenario: "mixed", connections: FEW, metric: "p99_us", of, to: "epoll" });
const isUnblocked = (p99: Ratio) => p99.isVoid ? null : atMost(p99, UNBLOCKED, 1 / EFFECT);

const latency: Claim = {
  id: "T-latency",
  claim: {
    en:
      "With a thread for each connection answers take constant time and CPU work goes better, but waiting wastes it; an " +
      "event loop answers I/O fast, but a task that computes blocks everybody.",
    ko:
      "연결당 스레드는 응답 시간이 일정하고 CPU 작업에 강하지만 I/O 대기 중에는 비효율적이고, 이벤트 루프는 I/O에는 " +
      "빠르지만 CPU 작업이 전체를 막는다.",
  },
  section: "T §Response times",
  tried:
    "`mixed`: one request of a hundred burns 50 ms of CPU, the p99 of the others; CPU time of a light request under " +
    "full load: thread-per-conn against epoll",
  rule:
    "Blocked: the p99 of the light requests with threads is at most half of that of the loop; not if it is a tenth less, or " +
    "more. Fast at I/O: a light request costs the loop a tenth less, or less still.",
  judge(evidence) {
    const p99 = waits(evidence, "thread-per-conn");
    const light = cost(evidence, "thread-per-conn", "epoll");
    return judged(p99, "×", [
      {
        says: `beside heavy requests the light ones wait, with threads, ${written(p99, "×")} as long as in a loop`,
        holds: isUnblocked(p99),
      },
      {
        says: `with light requests alone the threads need ${written(light, "×")} the CPU of the loop`,
        holds: gains(light),
      },
      { says: "constant times of answers, and CPU work on more than one core, were not measured", holds: null },
    ]);
  },
};

const reactorPool: Claim = {
  id: "T-reactor-pool",
  claim: {
    en: "An event loop with a pool of threads does both I/O and CPU work well, and nobody is blocked.",
    ko: "이벤트 루프에 스레드 풀을 더하면 I/O와 CPU 작업을 모두 효율적으로 처리하고 블로킹을 막는다.",
  },
  section: "T §Hybrids, reactor and thread pool",
  tried: "reactor-pool against epoll: `mixed`, and CPU time of a request under full load",
  rule:
    "The p99 of the light requests beside heavy ones is at most half of that of the loop. CPU time of a light request is " +
    "within a quarter of the loop's; half as much again is not. How fast the heavy requests are is open: a comparison has the " +
    "times of the light ones.",
  judge(evidence) {
    const p99 = waits(evidence, "reactor-pool");
    const light = cost(evidence, "reactor-pool", "epoll");
    return judged(p99, "×", [
      {
        says: `beside heavy requests the light ones wait ${written(p99, "×")} as long as in a loop`,
        holds: isUnblocked(p99),
      },
      {
        says: `light requests alone need ${written(light, "×")} the CPU`,
        holds: atMost(light, AS_CHEAP.to, AS_CHEAP.notOver),
      },
      { says: "missing are the times of the heavy requests, against one loop and against threads alone", holds: null },
    ]);
  },
};

const multiReactor: Claim = {
  id: "T-multi-reactor",
  claim: {
    en: "With an event loop a core on one port (SO_REUSEPORT) the load spreads by itself.",
    ko: "코어마다 이벤트 루프를 두고 SO_REUSEPORT로 포트를 공유하면 부하가 자동으로 분산된다.",
  },
  section: "T §Hybrids, multi-reactor",
  tried:
    "the share of connections and of requests that the busier of two loops gets, at 10, 100 and 1 000 connections; requests/s " +
    "of a loop for each core against one loop, and the share of its busiest loop",
  rule:
    "Spread evenly: the busier loop has at most 60 % of the connections and of the requests, where 50 % is even; of more loops " +
    "1.2 times an even share. Of 10 connections six are 60 % by chance: they are shown and decide nothing. The load is spread " +
    "to some effect: on all cores it answers at least 0.75 times as many requests/s as there are cores, against one. Where " +
    "the load generator shares the cores, only a gain under 10 % refutes that; where it was the limit, nothing does. With " +
    "fewer than 50 log₂ n connections for each of n loops chance decides, and both are open.",
  judge(evidence) {
    const sizes = evidence.probes("loops", "largest_share_of_connections", (name) => /^\d+$/.test(name))
      .map(({ name, value }) => ({
        connections: name,
        shares: [value, evidence.probe("loops", name, "largest_share_of_requests")] as const,
      }));
    const percent = (share: Figure) => written(quotient(share, { estimate: 0.01, low: 0.01, high: 0.01 }), "%");
    const parts = sizes.map(({ connections, shares }) => ({
      says:
        `of ${count(Number(connections))} connections the busier loop has ${percent(shares[0])}, and ${
          percent(shares[1])
        } of ` +
        "the requests",
      holds: all(shares.map((share) => atMost(share, EVEN_SHARE))),
      decides: Number(connections) >= FEW,
    }));
    const told = parts.filter(({ decides }) => !decides).map(({ says }) => `; ${says}`).join("");
    const most = sizes.at(-1)!.shares[0];
    const judging = parts.filter(({ decides }) => decides);
    return judged(
      quotient(most, { estimate: 0.01, low: 0.01, high: 0.01 }),
      "%",
      [
        ...judging.map(({ says, holds }, i) => ({ says: i === judging.length - 1 ? says + told : says, holds })),
        ...scaled(evidence),
      ],
    );
  },
};

/** A busiest loop has at most so many times an even share. */
const BUSIEST = 1.2;
/** A core more brings at least so much of what the first one does. */
const EFFICIENCY = 0.75;

/**
 * Whether more cores bring enough. Requests/s that the load limited show nothing on one core, and refute nothing on many. Load
 * that shares the cores takes more of them from the many: so it is refuted there by no gain at all.
 */
function gainsCores(speedUp: Figure, many: ScalingRow, one: ScalingRow | undefined): boolean | null {
  const wanted = EFFICIENCY * many.cores;
  const holds = atLeast(speedUp, wanted, many.shared ? EFFECT : wanted);
  if (holds === true && one !== undefined && isLimited(one)) return null;
  if (holds === false && isLimited(many)) return null;
  return holds;
}

/** What a loop for each core brings, and how even their shares are; one open part where that is not measured. */
function scaled(evidence: Evidence): Part[] {
  try {
    const rows = evidence.scaling("multi-reactor");
    const most = rows.at(-1)!;
    const { cores, shared, shares, connections } = most;
    const speedUp = { estimate: most.speed_up!, low: most.speed_up_low, high: most.speed_up_high };
    const busiest = exactly(shares[0] ?? NaN);
    const where = shared ? ", which the load generator shares" : "";
    const enough = connections >= connectionsFor(cores);
    const few = enough ? "" : `; ${count(connections)} connections are too few for ${cores} loops: chance decides`;
    return [{
      says: `on ${cores} cores${where} it answers ${written(speedUp, "×")} the requests/s of one${few}`,
      holds: enough ? gainsCores(speedUp, most, rows.find((row) => row.cores === 1)) : null,
    }, {
      says: `there the busiest of ${cores} loops has ${written(quotient(busiest, exactly(0.01)), "%")} of the requests`,
      holds: enough && !Number.isNaN(busiest.estimate) ? atMost(busiest, BUSIEST / cores) : null,
    }];
  } catch (error) {
    if (error instanceof NotMeasured) {
      return [{ says: `what a loop for each core brings is not measured yet (\`${error.command}\`)`, holds: null }];
    }
    if (error instanceof NotTestable) {
      return [{ says: `what a loop for each core brings: ${error.message}`, holds: null }];
    }
    throw error;
  }
}

const guide: Claim = {
  id: "T-guide",
  claim: {
    en: "Under 100 connections, or for CPU-bound work, take threads; over 1 000 connections take events.",
    ko: "동시 연결이 100 미만이거나 CPU 집약적이면 스레드, 1,000을 넘으면 이벤트 기반이 알맞다.",
  },
  section: "T §Guide to choosing",
  tried: "CPU time of a request with a thread each against a loop, both in C, at 100 and at 1 000 connections; `mixed`",
  rule:
    "Under 100 is open: 100 are not fewer than 100. Events suit at 1 000 if the threads cost a tenth more there. CPU-bound: " +
    "that light requests wait less beside a few heavy ones is open, for no load of heavy ones alone was measured; if they do " +
    "not wait less, it is no.",
  judge(evidence) {
    const [few, many] = [FEW, MANY].map((connections) => cost(evidence, "c-threads", "c-epoll", connections));
    const p99 = waits(evidence, "thread-per-conn");
    return judged(many!, "×", [
      {
        says: `at ${FEW} connections threads need ${written(few!, "×")} the CPU of a loop; missing are 10 and 30`,
        holds: null,
      },
      { says: `at ${count(MANY)} they need ${written(many!, "×")}`, holds: many!.isVoid ? null : gains(many!) },
      {
        says:
          `beside heavy requests the light ones wait, with threads, ${
            written(p99, "×")
          } as long as in a loop; missing ` +
          "is a load in which every request computes",
        holds: isUnblocked(p99) === false ? false : null,
      },
    ]);
  },
};

const dont: Claim = {
  id: "C-dont",
  claim: {
    en: "Use no thread for each connection, no blocking I/O, and not the default settings of the system.",
    ko: "연결당 스레드, 블로킹 I/O, OS 기본 설정을 그대로 쓰지 말라.",
  },
  section: "C §10",
  tried:
    "blocking threads against a loop, both in C, and in `mixed`; 10 000 connections on the settings that this host has",
  rule:
    "Threads are wrong where they cost a tenth more than a loop, and right where light requests beside heavy ones " +
    "wait at most half as long. Settings must be changed if one of them stops a server below 10 000, and need not be if " +
    "10 000 are held with the usual 1 024 descriptors; with more descriptors it is open.",
  judge(evidence) {
    const few = cost(evidence, "c-threads", "c-epoll");
    const p99 = waits(evidence, "thread-per-conn");
    const spared = isUnblocked(p99);
    return judged(few, "×", [
      { says: `at ${FEW} connections blocking threads need ${written(few, "×")} the CPU of a loop`, holds: gains(few) },
      {
        says: `but beside heavy requests the light ones wait ${written(p99, "×")} as long with threads`,
        holds: spared === null ? null : !spared,
      },
      needsTuning("epoll", evidence.held("epoll")),
    ]);
  },
};

export const ADVICE: readonly Claim[] = [latency, reactorPool, multiReactor, guide, dont];
