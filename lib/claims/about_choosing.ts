/**
 * Claims about which architecture suits what.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, type Part, written } from "./claim.ts";
import { all, atMost, EFFECT, exactly, favours, type Figure, MARGIN, once, quotient } from "./figure.ts";
import { type Evidence, NotMeasured } from "./evidence.ts";
import { NotTestable } from "./ratio.ts";
import { C10K, connectionsFor, EQUAL_RATE } from "../results/conventions.ts";
import { signOf } from "../tables/runs.ts";
import { boundOfSpeedUp } from "../tables/scaling.ts";
import { atFullLoad, cost, isAsCheap, isUnblocked, needsTuning, usualLimit } from "./parts.ts";

/** An even share of two loops is 0.5; from 0.6 on one has half as many again as the other. */
const EVEN_SHARE = 0.6;
const FEW = 100;
const MANY = 1000;

/** How the light requests fare beside heavy ones: their p99, against that of one event loop or of another server. */
const waits = (evidence: Evidence, of: string, to = "epoll") =>
  evidence.ratio({ scenario: "mixed", connections: FEW, metric: "p99_us", of, to });

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
    "`mixed`: one request of a hundred burns 50 ms of CPU, the p99 of the others: thread-per-conn against epoll; the median " +
    `latency of light requests alone at ${count(EQUAL_RATE)} requests/s: threads against a loop, both in C`,
  rule:
    "Blocked: the p99 of the light requests with threads is at most half of that of the loop; not if it is a tenth less, or " +
    "more. Fast at I/O: at the same rate the median answer takes threads a tenth longer than a loop, or more; a tenth less " +
    "is no, and as long is open, for the text names no size of fast. It is open where the load generator was the limit.",
  sceptic:
    "I sign it for one loop without a pool, and heavy requests that only compute. Speed at I/O is one light load on " +
    "loopback; constant times and more cores are not judged.",
  judge(evidence) {
    const p99 = waits(evidence, "thread-per-conn");
    const ask = { scenario: "rate", connections: FEW, metric: "p50_us", of: "c-threads", to: "c-epoll" } as const;
    const light = evidence.ratio(ask);
    return judged(p99, "×", [
      {
        says: `beside heavy requests the light ones wait, with threads, ${written(p99, "×")} as long as in a loop`,
        holds: isUnblocked(p99),
      },
      light.isVoid
        ? {
          says: "the latency of light requests alone is that of the load generator, which was at its limit",
          holds: null,
        }
        : {
          says: `with light requests alone, ${count(EQUAL_RATE)} a second, the median answer takes threads ` +
            `${written(light, "×")} as long as a loop`,
          holds: favours(light),
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
    "within a quarter of the loop's; half as much again is not. How fast the heavy requests are is open: a comparison " +
    "has the times of the light ones.",
  sceptic:
    "I sign it for the light requests. How long the heavy ones queue is not in it, and a pool that is full of work that " +
    "waits or computes makes clients wait as well.",
  judge(evidence) {
    const p99 = waits(evidence, "reactor-pool");
    const light = cost(evidence, "reactor-pool", "epoll");
    return judged(p99, "×", [
      {
        says: `beside heavy requests the light ones wait ${written(p99, "×")} as long as in a loop`,
        holds: isUnblocked(p99),
      },
      {
        says: `light requests alone need ${written(light, "×")} the CPU${atFullLoad(light)}`,
        holds: isAsCheap(light),
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
    "the share of connections and of requests that the busier of two loops gets, at 10, 100 and 1 000 connections; the share " +
    "of the busiest of as many loops as there are cores",
  rule:
    "Spread evenly: the busier loop has at most 60 % of the connections and of the requests, where 50 % is even; of more " +
    "loops 1.2 times an even share. Of 10 connections six are 60 % by chance: they are shown and decide nothing. The " +
    "kernel deals connections by a hash of their addresses, and not by load: requests spread as well because here all " +
    "ask alike. With fewer than 50 log₂ n connections for each of n loops chance decides, and it is open. The requests/s " +
    "of all cores against one stand beside it and decide nothing: the text says that load spreads, and not what that " +
    "brings.",
  sceptic:
    "I sign it for connections that all ask alike. The kernel deals them once, by a hash: a few busy ones on one loop " +
    "stay there, and this load would not show it.",
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
        scaled(evidence),
      ],
    );
  },
};

/** A busiest loop has at most so many times an even share. */
const BUSIEST = 1.2;

/** How even the shares of a loop for each core are, and beside it what the cores bring; open where that is not measured. */
function scaled(evidence: Evidence): Part {
  try {
    const rows = evidence.scaling("multi-reactor");
    const most = rows.at(-1)!;
    const { cores, shared, shares: [share], connections } = most;
    const speedUp = { estimate: most.speed_up!, low: most.speed_up_low, high: most.speed_up_high };
    const sign = signOf(boundOfSpeedUp(most, rows.find((row) => row.cores === 1)));
    const where = shared ? ", which the load generator shares," : "";
    const beside = `; beside it, on ${cores} cores${where} it answers ${sign}${
      written(speedUp, "×")
    } the requests/s of one`;
    if (share === undefined) return { says: `the shares of ${cores} loops are not known${beside}`, holds: null };
    const enough = connections >= connectionsFor(cores);
    const few = enough ? "" : `; ${count(connections)} connections are too few for ${cores} loops: chance decides`;
    return {
      says: `the busiest of ${cores} loops has ${written(exactly(100 * share), "%")} of the requests${few}${beside}`,
      holds: enough ? atMost(once(share, MARGIN.memory), BUSIEST / cores) : null,
    };
  } catch (error) {
    if (error instanceof NotMeasured) {
      return {
        says: `how even a loop for each core is loaded is not measured yet (\`${error.command}\`)`,
        holds: null,
      };
    }
    if (error instanceof NotTestable) {
      return { says: `how even a loop for each core is loaded: ${error.message}`, holds: null };
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
    "Under 100 is open: 100 are not fewer than 100. Over 1 000 is open as well: 1 000 are not more, and what threads cost " +
    "there is shown and may not carry over. CPU-bound: that light requests wait less beside a few " +
    "heavy ones is open, for no load of heavy ones alone was measured; if they do not wait less, it is no.",
  sceptic:
    "I would sign a no on computing alone: neither fewer than 100 connections nor more than 1 000 were measured, so both " +
    "sizes are open, and CPU time by itself chooses no architecture.",
  judge(evidence) {
    const [few, many] = [FEW, MANY].map((connections) => cost(evidence, "c-threads", "c-epoll", connections));
    const p99 = waits(evidence, "thread-per-conn");
    return judged(many!, "×", [
      {
        says:
          `at ${FEW} connections threads need ${written(few!, "×")} the CPU of a loop${
            atFullLoad(few!)
          }; missing are ` +
          "10 and 30",
        holds: null,
      },
      {
        says: `at ${count(MANY)} they need ${written(many!, "×")}${atFullLoad(many!)}; missing is a size over ${
          count(MANY)
        }`,
        holds: null,
      },
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
    "blocking threads against a loop, both in C, at 100 and at 1 000 connections; `mixed` with threads against a loop with a " +
    "pool; 1 100 clients of epoll with 1 024 descriptors; 10 000 connections on the settings that this host has",
  rule:
    "The text means 10 000 connections. What threads cost at 1 000 is shown, and open, for it may not carry over. They are " +
    "right, and the text wrong, if light requests beside " +
    "heavy ones wait a tenth less than with a loop and a pool, which the other text names. As heavy requests compute, that " +
    "judges no blocking I/O. The usual limit of descriptors must be raised if fewer than all clients are answered; a setting " +
    "that a run with fewer than 10 000 names must be changed if the memory of the machine would do for them. Else it is open.",
  sceptic:
    "I sign the parts on settings. I would sign no yes against threads or blocking I/O, so these are open: nothing at 10 " +
    "000 was compared, and no handler here waits for I/O.",
  judge(evidence) {
    const [few, many] = [FEW, MANY].map((connections) => cost(evidence, "c-threads", "c-epoll", connections));
    const p99 = waits(evidence, "thread-per-conn", "reactor-pool");
    const areRight = !p99.isVoid && atMost(p99, 1 / EFFECT) === true;
    return judged(many!, "×", [
      {
        says: `at ${count(MANY)} connections blocking threads need ${written(many!, "×")} the CPU of a loop` +
          `${atFullLoad(many!)}, at ${FEW} ${written(few!, "×")}${atFullLoad(few!)}; missing are ${count(C10K)}`,
        holds: null,
      },
      {
        says:
          `beside heavy requests the light ones wait, with threads, ${
            written(p99, "×")
          } as long as with a loop and a ` +
          "pool; these requests compute, so that judges no blocking I/O",
        holds: areRight ? false : null,
      },
      usualLimit(evidence),
      needsTuning("epoll", evidence.held("epoll")),
    ]);
  },
};

export const ADVICE: readonly Claim[] = [latency, reactorPool, multiReactor, guide, dont];
