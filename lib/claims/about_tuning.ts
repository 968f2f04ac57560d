/**
 * Claims about settings, options and habits.
 *
 * @module
 */
import { count } from "../text/format.ts";
import type { HostFacts } from "../sampling/host.ts";
import { type Claim, judged, type Part, written } from "./claim.ts";
import type { Held } from "./evidence.ts";
import { EFFECT, exactly, gains, quotient } from "./figure.ts";
import { atFullLoad, cost, needsTuning, usualLimit } from "./parts.ts";
import { C10K } from "../results/conventions.ts";
import { NotTestable } from "./ratio.ts";

/** What text C tells to set, of what a host tells: the last number of a setting that has several. */
const ASKED: readonly [name: string, least: number, value: (host: HostFacts) => number | null][] = [
  ["fs.file-max", 2_097_152, ({ sysctls }) => last(sysctls["fs.file-max"])],
  ["net.core.somaxconn", 4096, ({ sysctls }) => last(sysctls["net.core.somaxconn"])],
  ["net.ipv4.tcp_max_syn_backlog", 8192, ({ sysctls }) => last(sysctls["net.ipv4.tcp_max_syn_backlog"])],
  ["net.ipv4.tcp_rmem", 134_217_728, ({ sysctls }) => last(sysctls["net.ipv4.tcp_rmem"])],
  ["net.ipv4.tcp_wmem", 134_217_728, ({ sysctls }) => last(sysctls["net.ipv4.tcp_wmem"])],
  ["net.ipv4.ip_local_port_range", 65_535, ({ sysctls }) => last(sysctls["net.ipv4.ip_local_port_range"])],
  ["descriptors per process", 1_000_000, ({ limits }) => limits.nofile_hard],
];

function last(value: number | number[] | null): number | null {
  return Array.isArray(value) ? value.at(-1) ?? null : value;
}

/** The settings of a host that are below what text C asks for. */
const unmetSettings = (host: HostFacts): string[] =>
  ASKED.filter(([, least, of]) => (of(host) ?? Infinity) < least).map(([name]) => name);

const tuning: Claim = {
  id: "C-tuning",
  claim: {
    en: "For 10 000 connections the settings of the kernel and the limits of a process must be raised.",
    ko: "1만 연결을 처리하려면 커널 설정(sysctl)과 프로세스 한도(ulimit)를 올려야 한다.",
  },
  section: "C §8.1, §10",
  tried:
    "1 100 clients of epoll with 1 024 descriptors, the limit that most systems start a process with; `hold` of 10 000 with " +
    "the settings that its host has; how many connections the kernel completes for a server that does not accept, with a " +
    "queue of 128 and of 4 096",
  rule:
    "The limit of a process must be raised if fewer than all clients are answered, be it by the program itself, which may go " +
    "up to the hard limit. A setting must be raised if it stopped a " +
    "run below 10 000 for which the memory of the machine would do; and need not be, to hold them, if 10 000 are held with " +
    "settings below those of the text. That a longer queue completes more stands beside it and decides nothing: bursts of " +
    "connections were not tried.",
  sceptic:
    "I sign it with a reserve: that 1 024 descriptors hold no 1 100 clients is near to arithmetic, and where the hard " +
    "limit is high a program helps itself without an administrator.",
  judge(evidence) {
    const limit = usualLimit(evidence);
    const completed = (queue: string) => evidence.probe("backlog", queue, "completed");
    const gain = quotient(completed("4096"), completed("128"));
    const held = evidence.held("epoll");
    const { says, holds } = heldBelow("epoll", held);
    return judged(held.answered, "connections", [limit, {
      says:
        `${says}; a queue of 4 096 lets ${
          written(gain, "×")
        } as many through as one of 128, and missing are bursts of ` +
        "connections against both",
      holds,
    }]);
  },
};

/** Whether settings must be raised to hold 10 000: no, where a server holds them on a host that has not. */
function heldBelow(name: string, held: Held): Part {
  if (held.answered.estimate < C10K) return needsTuning(name, held);
  const unmet = unmetSettings(held.host);
  const says = `${name} held ${count(held.answered.estimate)}`;
  return unmet.length === 0
    ? { says: `${says}; missing is a host with settings below those that the text asks for`, holds: null }
    : { says: `${says} with settings below those that the text asks for (${unmet.join(", ")})`, holds: false };
}

const options: Claim = {
  id: "C-nodelay",
  claim: {
    en: "TCP_NODELAY lowers latency, and larger socket buffers help.",
    ko: "TCP_NODELAY는 지연을 줄이고, 더 큰 소켓 버퍼는 성능을 높인다.",
  },
  section: "C §8.2",
  tried: "the same server with one option changed, in pairs: ratios of the median latency",
  rule:
    "Without TCP_NODELAY the median latency is a tenth higher, or more; with buffers of 256 KiB, where the text asks for " +
    "1 MiB, a tenth lower, or more. Less is open: Nagle's algorithm delays no answer of one write. Keepalive and the reuse of " +
    "addresses and ports are not judged.",
  sceptic:
    "I sign it, as it can only affirm. With one small write for each answer and no delay on the wire neither option has " +
    "work to do, so expect it to stay open.",
  judge(evidence) {
    const of = (variant: string) => evidence.probe("socket-options", variant, "p50_us_ratio");
    const [without, large] = [of("no-nodelay"), of("large-buffers")];
    const better = quotient(exactly(1), large);
    return judged(without, "×", [
      { says: `without TCP_NODELAY the median latency is ${written(without, "×")}`, holds: gains(without) || null },
      {
        says:
          `with buffers of 256 KiB it is ${
            written(large, "×")
          }; answers of one write and 11 bytes give neither option ` +
          `anything to do, so what is missing is answers of several writes, and large ones`,
        holds: gains(better) || null,
      },
    ]);
  },
};

const pooling: Claim = {
  id: "C-pooling",
  claim: {
    en: "A pool of connections to a backend saves what making new ones costs.",
    ko: "백엔드 연결을 풀로 재사용하면 새로 만드는 비용을 아낀다.",
  },
  section: "C §8.2",
  tried:
    "the same requests on connections that stay, and each on a new one; nginx as a proxy that connects to its backend for " +
    "each request, against one with a pool",
  rule:
    `CPU time of a request is higher without connections that stay, by a tenth (× ${EFFECT}) or more, and so it is for a ` +
    "proxy without a pool; less is no. So is the median latency; less is open, for under full load it follows from throughput.",
  sceptic:
    "I sign it for plain TCP on loopback, which understates it: a distant backend adds a round trip, TLS a handshake. " +
    "The CPU time is that of servers; clients pay as well.",
  judge(evidence) {
    const gain = (metric: string) => evidence.probe("pooling", "fresh / pooled", metric);
    const [cpu, wait] = [gain("cpu_us_per_request_ratio"), gain("p50_us_ratio")];
    const proxy = cost(evidence, "nginx-proxy", "nginx-proxy-keepalive");
    return judged(cpu, "×", [
      {
        says: `a new connection for each request costs ${written(cpu, "×")} the CPU of one that stays`,
        holds: gains(cpu),
      },
      {
        says: `its answer takes ${written(wait, "×")} as long at full load, where that follows from throughput`,
        holds: gains(wait) || null,
      },
      {
        says: `a proxy that connects for each request needs ${written(proxy, "×")} the CPU of one with a pool` +
          atFullLoad(proxy),
        holds: gains(proxy),
      },
    ]);
  },
};

/** What counts show that do not agree. */
const FAULT = "which is a fault of this project and refutes no advice";

const metrics: Claim = {
  id: "C-metrics",
  claim: {
    en: "A server should count its connections, requests and bytes: what it counts shows what it does.",
    ko: "서버는 연결·요청·바이트 수를 직접 세어 상태를 관찰할 수 있어야 한다.",
  },
  section: "C §8.3",
  tried: "the requests that a server counted, against the answers that its clients counted",
  rule:
    "Open, whatever is counted: advice is not proved by counts that are right, and counts that are wrong are a fault of this " +
    "project. With the load generator, which waits for every answer, both should be the same number in every round; with " +
    "other clients, which leave before, the server's should never be the smaller. Bytes are not counted here, for all " +
    "answers are alike.",
  sceptic:
    "I sign that it stays open: right counts prove no advice. They test the bookkeeping of this project, and no operator " +
    "who had to find a fault by them.",
  judge(evidence) {
    const rows = evidence.crosscheck();
    const own = rows.filter(({ client }) => client === "lab");
    if (own.length === 0) throw new NotTestable("in the crosscheck the load generator of this project has no round");
    const apart = Math.max(...own.map(({ served, answered }) => Math.abs(served - answered)));
    const short = rows.filter(({ served, answered }) => served < answered).length;
    return judged(exactly(apart), "requests", [
      {
        says: `in ${own.length} rounds server and load generator were at most ${count(apart)} requests apart, ` +
          (apart === 0 ? "which shows that both count, not that a server should" : FAULT),
        holds: null,
      },
      {
        says: `the server counted less than its client in ${short} of ${rows.length} rounds` +
          (short === 0 ? "" : `, ${FAULT}`),
        holds: null,
      },
    ]);
  },
};

export const PRACTICE: readonly Claim[] = [tuning, options, pooling, metrics];
