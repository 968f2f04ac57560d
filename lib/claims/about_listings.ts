/**
 * Claims that the listings of text C make by what they do, and by the times that stand below them.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, written } from "./claim.ts";
import type { Evidence } from "./evidence.ts";
import { all, atMost, exactly, times } from "./figure.ts";
import { heldAll, needsTuning, settingIn, wouldTake } from "./parts.ts";
import { C10K } from "../results/conventions.ts";

const ASYNCIO_SECONDS = 2.34;
/** The first may fit into the buffers of the kernel, the second does not. */
const LATE_READERS = ["1 MiB", "16 MiB"];
const BEAM_CONNECTIONS = 2e6;
const ARCHITECTURES = ["epoll", "io-uring", "c-threads", "thread-per-conn"];

const figures = (evidence: Evidence, variant: string) => (metric: string) =>
  evidence.probe("listings", variant, metric);

const poolDeadlock: Claim = {
  id: "C-pool-deadlock",
  claim: {
    en: "A connection pool whose acquire and release take the same lock reuses connections safely.",
    ko: "획득과 반환이 같은 락을 쓰는 연결 풀은 연결을 안전하게 재사용한다.",
  },
  section: "C §8.2",
  tried: "a pool with the same locking: all of it in use, one more is asked for, then all are given back",
  rule:
    "Everything is given back and the waiting task gets one (counts: no margin). A pool that gives the lock away while it " +
    "waits stands beside it.",
  judge(evidence) {
    const [bad, good] = [figures(evidence, "pool, lock held"), figures(evidence, "pool, condition")];
    const [released, wanted] = [bad("released"), good("released")];
    return judged(released, "connections", [{
      says: `when the pool is full ${count(released.estimate)} of ${count(wanted.estimate)} are given back in ` +
        `${count(bad("waited_s").estimate, 2)} s: the waiting task holds the lock that giving back needs; ` +
        `a pool that waits without it gets all of them back`,
      holds: released.estimate >= wanted.estimate,
    }]);
  },
};

const select: Claim = {
  id: "C-listing-select",
  claim: {
    en: "An echo server over select, with sendall on sockets that do not block, echoes what it gets.",
    ko: "논블로킹 소켓에 sendall을 쓰는 select 에코 서버는 받은 것을 그대로 돌려준다.",
  },
  section: "C §4.1",
  tried: "the same calls, and a client that sends 1 MiB, and 16 MiB, before it reads",
  rule: "Not a byte of either is lost (a count: no margin).",
  judge(evidence) {
    const of = (size: string, variant: string) => figures(evidence, `late reader ${size}, ${variant}`)("lost_bytes");
    const [small, large] = LATE_READERS.map((size) => of(size, "sendall"));
    const kept = of(LATE_READERS[1]!, "rest kept");
    return judged(large!, "bytes", [{
      says: `of ${LATE_READERS[1]} ${written(large!, "bytes")} are lost, of ${LATE_READERS[0]} ` +
        `${written(small!, "bytes")}; a server that keeps the rest and sends it later loses ${written(kept, "bytes")}`,
      holds: all([atMost(small!, 0), atMost(large!, 0)]),
    }]);
  },
};

const length: Claim = {
  id: "C-listing-length",
  claim: {
    en: "Servers that answer with a status line, an empty line and a body answer HTTP clients.",
    ko: "상태 줄과 빈 줄, 본문만 보내는 서버도 HTTP 클라이언트에 응답한다.",
  },
  section: "C §3.1, §4.2",
  tried:
    "the same answer without Content-Length to a client that keeps its connection: over epoll, where the connection " +
    "stays open, and from a process that closes it",
  rule: "Every request is answered (counts: no margin). The number of connections that this took stands beside it.",
  judge(evidence) {
    const parts = ["epoll, no length", "prefork, no length"].map((variant) => {
      const of = figures(evidence, variant);
      const [requests, answered] = [of("requests"), of("answered")];
      const name = variant.split(",")[0];
      return {
        answered,
        says: `${name} without a length answers ${count(answered.estimate)} of ${count(requests.estimate)} requests, ` +
          `over ${count(of("connects").estimate)} connections; the longest took ${
            count(of("longest_s").estimate, 3)
          } s`,
        holds: answered.estimate >= requests.estimate,
      };
    });
    return judged(parts[0]!.answered, "requests", parts.map(({ says, holds }) => ({ says, holds })));
  },
};

const sleep: Claim = {
  id: "C-listing-sleep",
  claim: {
    en: "10 000 clients of which each sleeps for 10 s complete in 2.34 s.",
    ko: "각자 10초씩 대기하는 클라이언트 10,000개가 2.34초 만에 끝난다.",
  },
  section: "C §5.2",
  tried: "a program of the same shape with 100 clients, each of which sleeps for 10 s in its connection",
  rule: "Fewer clients cannot take longer: if 100 need more than 2.34 s, so do 10 000.",
  judge(evidence) {
    const took = figures(evidence, "clients, sleep")("took_s");
    const awake = figures(evidence, "clients, no sleep")("took_s");
    return judged(times(exactly(took.estimate), 1e6), "µs", [{
      says: `100 clients that sleep took ${count(took.estimate, 2)} s, without the sleep ${count(awake.estimate, 2)} s`,
      holds: took.estimate <= ASYNCIO_SECONDS,
    }]);
  },
};

const proxy: Claim = {
  id: "C-proxy-40k",
  claim: {
    en: "Four workers with 10 000 worker_connections each make nginx a proxy for 40 000 connections.",
    ko: "worker_connections 10,000인 워커 4개면 nginx 프록시가 40,000개 연결을 처리한다.",
  },
  section: "C §6.1",
  tried: "`hold` of 10 000 on nginx-proxy, one worker with a table of 20 000",
  rule:
    "A worker that holds fewer than 10 000 with a table of twice that size refutes it, unless a setting of the system stopped " +
    "it. More decides nothing: idle clients take one entry, and those that are answered two.",
  judge(evidence) {
    const { answered, reason } = evidence.held("nginx-proxy");
    return judged(answered, "connections", [{
      says: `one worker with 20 000 worker_connections held ${count(answered.estimate)} clients that were idle then; ` +
        `missing is how many are answered at once when worker_connections is 10 000`,
      holds: answered.estimate < C10K && settingIn(reason) === undefined ? false : null,
    }]);
  },
};

const beam: Claim = {
  id: "C-beam",
  claim: {
    en: "With a process of the BEAM for each connection, two million fit on one server.",
    ko: "연결마다 BEAM 프로세스를 두면 한 서버에서 200만 연결을 유지할 수 있다.",
  },
  section: "C §7.3",
  tried: "`hold` of 10 000 on erlang-tcp: memory of the process and of the kernel for each connection",
  rule: "10 000 are answered (a count: no margin). Two million are open: they are only extrapolated.",
  judge(evidence) {
    const each = evidence.memory("erlang-tcp", "user_bytes_per_conn");
    const kernel = evidence.memory("erlang-tcp", "kernel_bytes_per_conn");
    return judged(each, "bytes", [
      heldAll(evidence, "erlang-tcp"),
      wouldTake(evidence, "two million", BEAM_CONNECTIONS, each.estimate + kernel.estimate),
    ]);
  },
};

const defaults: Claim = {
  id: "C-dont-default",
  claim: {
    en: "Do not leave the settings of the operating system at their defaults.",
    ko: "운영체제 설정을 기본값 그대로 두지 말라.",
  },
  section: "C §10",
  tried:
    "`hold` of 10 000 on servers of four architectures with the settings that this host has, and what stopped each",
  rule:
    "A server that holds fewer than 10 000, and names the setting that stopped it, needs another one. One that holds " +
    "10 000 with the usual 1 024 descriptors does not; with more of them it is open. So it is where no setting stopped it.",
  judge(evidence) {
    const kinds = evidence.each(ARCHITECTURES, (name) => evidence.held(name));
    const [fewest] = kinds.toSorted((a, b) => a.value.answered.estimate - b.value.answered.estimate);
    evidence.showFirst(fewest!.value.path);
    return judged(fewest!.value.answered, "connections", kinds.map(({ name, value }) => needsTuning(name, value)));
  },
};

export const LISTINGS: readonly Claim[] = [poolDeadlock, select, length, sleep, proxy, beam, defaults];
