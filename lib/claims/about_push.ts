/**
 * Claims about real-time services: servers that send a message of one client to all.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, type Part, written } from "./claim.ts";
import { exactly, favours, type Figure, isTimes, MARGIN, once, quotient } from "./figure.ts";
import { type Evidence } from "./evidence.ts";
import { wouldTake } from "./parts.ts";
import { NotTestable, type Ratio } from "./ratio.ts";
import { C10K } from "../results/conventions.ts";
import type { FindingId } from "../results/findings.ts";

/** The text names over a thousand connections. */
const MANY = 1000;
const SIZES = [100, MANY, C10K];
/** "Two to three times as fast". */
const FASTER = { from: 2, to: 3 };
const LOOP = "ws-epoll", THREADS = "ws-threads", RING = "ws-io-uring";
/** What the text says was held, by which kind of server. */
const HELD: readonly { name: string; what: string; connections: number }[] = [
  { name: "ws-erlang", what: "two million", connections: 2e6 },
  { name: "ws-netty", what: "ten million", connections: 1e7 },
];

/** What a delivery costs, or how long the last listener waits, in one server against another. */
const delivery = (
  evidence: Evidence,
  metric: "cpu_us_per_delivery" | "last_p50_us",
  of: string,
  to: string,
  connections: number,
): Ratio => evidence.ratio({ scenario: "broadcast", connections, metric, of, to });

/** Findings by which a message may be late or lost for no fault of the server. */
const WEAK: readonly FindingId[] = ["client_bound", "shared_core"];

/** Whether each of 10 000 listeners got each message. The share is that of the listeners that the server held. */
function deliveredAll(evidence: Evidence, name: string): Part {
  const { metrics: { delivered_share, connections }, findings } = evidence.broadcast(name);
  const share = delivered_share ?? 0;
  const percent = count(100 * share, share === 1 ? 0 : 2);
  const isWeak = findings.some(({ id }) => WEAK.includes(id));
  return {
    says: `${name} delivered ${percent} % of its messages to ${count(connections)} listeners` +
      (isWeak ? "; the load generator was at its limit, or shared a core" : ""),
    holds: share >= 1 && (connections ?? 0) >= C10K ? true : isWeak ? null : false,
  };
}

const realtime: Claim = {
  id: "T-realtime",
  claim: {
    en: "For real-time communication, as of chat servers, IoT gateways and streams, take an event-driven server.",
    ko: "실시간 통신이 필요한 채팅 서버, IoT 게이트웨이, 스트리밍에는 이벤트 기반 서버가 알맞다.",
  },
  section: "T §Guide to choosing",
  tried:
    `\`broadcast\`: one message to 1 000 listeners, ${THREADS} against ${LOOP}: CPU time of a delivery, and how long the last ` +
    `listener waits; one message to 10 000 on ${LOOP}`,
  rule:
    "Events suit if with a thread for each listener a delivery costs a tenth more, and the last listener waits a tenth " +
    "longer; no if that is a tenth less, and as much is open, for then both suit. 10 000 listeners are held and have " +
    "every message, or not (counts: no margin); where the load generator was at its limit, or shared a core with the " +
    "server, a no is open.",
  sceptic:
    "I sign it for one group of listeners on loopback. One server with threads stands for all, a tenth is a thin line, " +
    "and gateways and streams, which send otherwise, were not tried.",
  judge(evidence) {
    const cpu = delivery(evidence, "cpu_us_per_delivery", THREADS, LOOP, MANY);
    const last = delivery(evidence, "last_p50_us", THREADS, LOOP, MANY);
    return judged(cpu, "×", [
      {
        says: `with threads a delivery to ${count(MANY)} costs ${written(cpu, "×")} the CPU of a loop`,
        holds: cpu.isVoid ? null : favours(cpu),
      },
      {
        says: `with threads the last of ${count(MANY)} listeners waits ${written(last, "×")} as long`,
        holds: last.isVoid ? null : favours(last),
      },
      deliveredAll(evidence, LOOP),
    ]);
  },
};

const fanOut: Claim = {
  id: "C-uring-fanout",
  claim: {
    en:
      "io_uring is two to three times as fast as epoll and needs nearly no system calls (our inference: most of all where " +
      "one message is many sends).",
    ko:
      "io_uring은 epoll보다 2~3배 빠르고 시스템 콜이 거의 없다(우리의 추론: 메시지 하나를 여러 번 보내야 하는 곳에서 특히 그렇다).",
  },
  section: "C §7.2",
  tried: `\`broadcast\` in pairs, ${RING} against ${LOOP}: CPU time of a delivery at 100, 1 000 and 10 000 listeners`,
  rule:
    "Two to three times the deliveries for the same CPU time at every size, within a factor of √2, so that no gain at all " +
    "is outside: 1.41 to 4.24. Below that is less, above it more. It judges the inference from the text: one submission " +
    "takes as many sends as there are listeners.",
  sceptic:
    "I sign it as a verdict on the inference, which the text does not make: a no refutes the inference first. Many sends " +
    "in one submission are the best case for a ring.",
  judge(evidence) {
    const speeds = SIZES.map((connections) => {
      const cpu = delivery(evidence, "cpu_us_per_delivery", RING, LOOP, connections);
      return { connections, isVoid: cpu.isVoid, speed: quotient(exactly(1), cpu) };
    });
    const parts = speeds.map(({ connections, isVoid, speed }) => ({
      says: `to ${count(connections)} listeners ${RING} delivers ${written(speed, "×")} as much for the same CPU time`,
      ...(isVoid ? { holds: null } : isTimes(speed, FASTER.from, FASTER.to)),
    }));
    return judged(speeds[1]!.speed, "×", parts);
  },
};

/** What as many connections as the text names would take of memory: extrapolated from one of 10 000. */
function named(evidence: Evidence, { name, what, connections }: typeof HELD[number]): { each: Figure; part: Part } {
  const { metrics: { user_bytes_per_conn: user, kernel_bytes_per_conn: kernel } } = evidence.broadcast(name);
  if (user === null || kernel === null) throw new NotTestable(`memory of a connection of ${name} is not known`);
  const each = user + kernel;
  return { each: once(each, MARGIN.memory), part: wouldTake(evidence, `${what} on ${name}`, connections, each) };
}

const webSockets: Claim = {
  id: "C-websocket",
  claim: {
    en:
      "One server has held two million WebSocket connections with little memory (Phoenix, on the BEAM), and one even " +
      "ten million (MigratoryData, Java over epoll).",
    ko:
      "서버 한 대가 적은 메모리로 WebSocket 연결 200만 개(Phoenix, BEAM)를, 또 천만 개(MigratoryData, Java와 epoll)를 유지한 사례가 있다.",
  },
  section: "C §7.3",
  tried:
    "`broadcast` to 10 000 listeners on ws-erlang and ws-netty: deliveries, and memory of the process and of the kernel for " +
    "each connection",
  rule:
    "As many as the text names are open: what they would take is only extrapolated, and a machine with too little memory " +
    "refutes nothing. So are the deliveries to 10 000, which neither prove nor refute millions.",
  sceptic:
    "I sign that it stays open, as no figure here can decide it: bytes of an idle connection times millions leave out " +
    "heartbeats, timers and traffic.",
  judge(evidence) {
    const all = HELD.map((one) => ({ one, ...named(evidence, one) }));
    return judged(
      all[0]!.each,
      "bytes",
      all.flatMap(({ one, part }) => [{ says: deliveredAll(evidence, one.name).says, holds: null }, part]),
    );
  },
};

export const PUSHES: readonly Claim[] = [realtime, fanOut, webSockets];
