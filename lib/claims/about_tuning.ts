/**
 * Claims about settings, options and habits.
 *
 * @module
 */
import { count } from "../text/format.ts";
import type { HostFacts } from "../sampling/host.ts";
import { type Claim, judged, written } from "./claim.ts";
import { EFFECT, exactly, gains, quotient } from "./figure.ts";
import { needsTuning } from "./parts.ts";
import { NotTestable } from "./ratio.ts";

/** What text C tells to set, of what a host tells: the last number of a setting that has several. */
const ASKED: readonly [name: string, least: number, value: (host: HostFacts) => number | null][] = [
  ["fs.file-max", 2_097_152, ({ sysctls }) => last(sysctls["fs.file-max"])],
  ["net.core.somaxconn", 4096, ({ sysctls }) => last(sysctls["net.core.somaxconn"])],
  ["net.ipv4.tcp_max_syn_backlog", 8192, ({ sysctls }) => last(sysctls["net.ipv4.tcp_max_syn_backlog"])],
  ["net.ipv4.tcp_rmem", 134_217_728, ({ sysctls }) => last(sysctls["net.ipv4.tcp_rmem"])],
  ["net.ipv4.tcp_wmem", 134_217_728, ({ sysctls }) => last(sysctls["net.ipv4.tcp_wmem"])],
  ["net.ipv4.ip_local_port_range", 65_535, ({ sysctls }) => last(sysctls["net.ipv4.ip_local_port_range"])],
  ["descriptors a process", 1_000_000, ({ limits }) => limits.nofile_hard],
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
  section: "C §8.1",
  tried:
    "how many connections the kernel completes for a server that does not accept, with a queue of 128 and of 4 096; `hold` of " +
    "10 000 with the settings that this host has",
  rule:
    "The queue that was set is what completes: open. Fewer than 10 000 held, stopped by a setting, is yes. 10 000 held with " +
    "the limit of descriptors that most systems start with, 1 024, is no; with a higher limit it is open.",
  judge(evidence) {
    const completed = (queue: string) => evidence.probe("backlog", queue, "completed");
    const gain = quotient(completed("4096"), completed("128"));
    const { says, holds } = needsTuning("epoll", evidence.held("epoll"));
    const unmet = unmetSettings(evidence.host);
    return judged(gain, "×", [
      { says: `a queue of 4 096 lets ${written(gain, "×")} as many through as one of 128`, holds: null },
      {
        says: `${says}; below what the text asks for are ${unmet.join(", ") || "no settings"}; missing as well are ` +
          "bursts of connections against both queues",
        holds,
      },
    ]);
  },
};

const options: Claim = {
  id: "C-nodelay",
  claim: {
    en: "TCP_NODELAY lowers latency, and larger socket buffers help.",
    ko: "TCP_NODELAY는 지연을 줄이고, 더 큰 소켓 버퍼는 성능을 높인다.",
  },
  section: "C §8.2",
  tried: "the same server with one option changed, in pairs: ratios of the median latency",
  rule:
    "Without TCP_NODELAY the median latency is a tenth higher, or more; with large buffers a tenth lower, or more. " +
    "Less is open: Nagle's algorithm delays no answer of one write.",
  judge(evidence) {
    const of = (variant: string) => evidence.probe("socket-options", variant, "p50_us_ratio");
    const [without, large] = [of("no-nodelay"), of("large-buffers")];
    const better = quotient(exactly(1), large);
    return judged(without, "×", [
      { says: `without TCP_NODELAY the median latency is ${written(without, "×")}`, holds: gains(without) || null },
      {
        says:
          `with large buffers it is ${written(large, "×")}; answers of one write and 11 bytes give neither option ` +
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
  tried: "the same requests on connections that stay, and each on a new one",
  rule:
    `Both CPU time of a request and its median latency are higher without the pool, by a tenth (× ${EFFECT}) or more.`,
  judge(evidence) {
    const gain = (metric: string) => evidence.probe("pooling", "fresh / pooled", metric);
    const [cpu, wait] = [gain("cpu_us_per_request_ratio"), gain("p50_us_ratio")];
    return judged(cpu, "×", [
      {
        says: `a new connection for each request costs ${written(cpu, "×")} the CPU of one that stays`,
        holds: gains(cpu),
      },
      { says: `its answer takes ${written(wait, "×")} as long`, holds: gains(wait) },
    ]);
  },
};

const metrics: Claim = {
  id: "C-metrics",
  claim: {
    en: "A server should count its connections, requests and bytes: what it counts shows what it does.",
    ko: "서버는 연결·요청·바이트 수를 직접 세어 상태를 관찰할 수 있어야 한다.",
  },
  section: "C §8.3",
  tried: "the requests that a server counted, against the answers that its clients counted",
  rule: "With the load generator, which waits for every answer, both are the same number in every round; with other " +
    "clients, which leave before, the server's is never the smaller. Else its counts are of no use. Counts: no margin. Advice is not proved by that. Bytes are not counted here, for " +
    "all answers are alike.",
  judge(evidence) {
    const rows = evidence.crosscheck();
    const own = rows.filter(({ client }) => client === "lab");
    if (own.length === 0) throw new NotTestable("in the crosscheck the load generator of this project has no round");
    const apart = Math.max(...own.map(({ served, answered }) => Math.abs(served - answered)));
    const short = rows.filter(({ served, answered }) => served < answered).length;
    return judged(exactly(apart), "requests", [
      {
        says: `in ${own.length} rounds server and load generator were at most ${
          count(apart)
        } requests apart, which shows that both count, not that a server should`,
        holds: apart === 0 ? null : false,
      },
      {
        says: `the server counted less than its client in ${short} of ${rows.length} rounds`,
        holds: short === 0 ? null : false,
      },
    ]);
  },
};

export const PRACTICE: readonly Claim[] = [tuning, options, pooling, metrics];
