/**
 * Claims that the listings of text C make by what they do, and by the times that stand below them.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, written } from "./claim.ts";
import type { Evidence } from "./evidence.ts";
import { all, atMost, exactly, times } from "./figure.ts";
import { heldAll, needsTuning, usualLimit, wouldTake } from "./parts.ts";
import { POOL_SIZE, PROXY } from "../results/conventions.ts";

const ASYNCIO_SECONDS = 2.34;
/** The first may fit into the buffers of the kernel, the second does not. */
const LATE_READERS = ["1 MiB", "16 MiB"];
const BEAM_CONNECTIONS = 2e6;
/** Of clients whose number is that of worker_connections: how many are answered if each takes two places, and if it takes one. */
const TWO_PLACES = 0.6;
const ONE_PLACE = 0.95;
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
  sceptic:
    "I sign it: one deadlock is enough. It needs a pool that is in use to the last while somebody asks, so a pool that " +
    "is large enough hides the fault.",
  judge(evidence) {
    const [bad, good] = [figures(evidence, "pool, lock held"), figures(evidence, "pool, condition")];
    const outcome = (of: typeof bad) => {
      const [released, acquired] = [of("released").estimate, of("acquired").estimate];
      const holds = released >= POOL_SIZE && acquired > POOL_SIZE;
      return { holds, says: `${count(released)} of ${POOL_SIZE} are given back and ${count(acquired)} are got` };
    };
    const [held, free] = [outcome(bad), outcome(good)];
    return judged(bad("released"), "connections", [{
      says: `when one more than ${POOL_SIZE} is asked for ${held.says} in ${count(bad("waited_s").estimate, 2)} s` +
        (held.holds ? "" : ": the waiting task holds the lock that giving back needs") +
        `; in a pool that waits without it ${free.says}`,
      holds: held.holds,
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
  rule:
    "Not a byte of either is lost (a count: no margin). The client reads late, so that the buffers of the kernel fill up and " +
    "sendall has a rest.",
  sceptic:
    "I sign it: one lost byte is enough. A client that reads at once never fills the buffers, so the listing looks right " +
    "in every test that does not read late.",
  judge(evidence) {
    const of = (size: string, variant: string) => figures(evidence, `late reader ${size}, ${variant}`)("lost_bytes");
    const [small, large] = LATE_READERS.map((size) => of(size, "sendall"));
    const kept = of(LATE_READERS[1]!, "rest kept");
    return judged(large!, "bytes", [{
      says:
        `to a client that reads when it has sent all ${written(large!, "bytes")} of ${LATE_READERS[1]} are lost, of ` +
        `${LATE_READERS[0]} ${written(small!, "bytes")}; a server that keeps the rest and sends it later loses ${
          written(kept, "bytes")
        }`,
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
  sceptic:
    "I sign it for a client that keeps its connection, as most do. An answer that ends with its connection is legal " +
    "HTTP, so only the server that keeps it open is at fault.",
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
  rule:
    "Fewer clients cannot take longer: if 100 need more than 2.34 s, so do 10 000. Less is open, for more clients can.",
  sceptic:
    "I sign a no, for which arithmetic would do: nobody who sleeps 10 s is done before. Fewer clients in less time would " +
    "affirm nothing, and are open.",
  judge(evidence) {
    const took = figures(evidence, "clients, sleep")("took_s");
    const awake = figures(evidence, "clients, no sleep")("took_s");
    return judged(times(exactly(took.estimate), 1e6), "µs", [{
      says: `100 clients that sleep took ${count(took.estimate, 2)} s, without the sleep ${count(awake.estimate, 2)} s`,
      holds: took.estimate > ASYNCIO_SECONDS ? false : null,
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
  tried:
    "the probe proxy: one worker of nginx with 1 000 worker_connections, a backend that answers late, and 1 000 clients that " +
    "ask at one time",
  rule:
    "The connections are those of clients. At most 60 % of as many as worker_connections says are answered: no, for each " +
    "takes a place for its own connection and one for that to the backend. 95 % or more: yes. Between the two it is open. " +
    "Counts have no margin, and one worker stands for each of four.",
  sceptic:
    "I sign it: nginx counts both sides of a proxied connection in one table. Clients that are idle or answered from a " +
    "cache take one place, so the number needs its load.",
  judge(evidence) {
    const answered = evidence.probe(PROXY.probe, String(PROXY.connections), "answered");
    const share = answered.estimate / PROXY.connections;
    const each = share <= TWO_PLACES ? ": each takes two places, one of them for its connection to the backend" : "";
    return judged(exactly(answered.estimate), "connections", [{
      says: `one worker with ${count(PROXY.connections)} worker_connections answers ${count(answered.estimate)} of ` +
        `${count(PROXY.connections)} clients that ask at one time${each}`,
      holds: share <= TWO_PLACES ? false : share >= ONE_PLACE || null,
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
  rule:
    "Two million are open: what they would take is only extrapolated, and 10 000 neither prove nor refute them. The figure is " +
    "the memory of a connection.",
  sceptic:
    "I sign that it stays open: 10 000 are half a percent of two million. State of each process, and the collector's " +
    "work for millions of them, are not in the figure.",
  judge(evidence) {
    const each = evidence.memory("erlang-tcp", "user_bytes_per_conn");
    const kernel = evidence.memory("erlang-tcp", "kernel_bytes_per_conn");
    return judged(each, "bytes", [
      { ...heldAll(evidence, "erlang-tcp"), holds: null },
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
    "1 100 clients of epoll with 1 024 descriptors, the limit that most systems start a process with; `hold` of 10 000 on " +
    "servers of four architectures with the settings that this host has, and what stopped each",
  rule:
    "The usual limit of descriptors needs another one if fewer than all clients are answered, be it set by the program itself, " +
    "which may go up to the hard limit. So does the setting that a run " +
    "with fewer than 10 000 names, if the memory of the machine would do for 10 000. Where memory would not do either, where " +
    "no setting stopped the server, and where 10 000 are held it is open.",
  sceptic:
    "I sign it with a reserve: most hard limits are above 1 024, so a program that raises its own soft limit leaves the " +
    "system's defaults as they are, and needs no advice.",
  judge(evidence) {
    const kinds = evidence.each(ARCHITECTURES, (name) => evidence.held(name));
    const [fewest] = kinds.toSorted((a, b) => a.value.answered.estimate - b.value.answered.estimate);
    evidence.showFirst(fewest!.value.path);
    const parts = kinds.map(({ name, value }) => needsTuning(name, value));
    return judged(fewest!.value.answered, "connections", [usualLimit(evidence), ...parts]);
  },
};

export const LISTINGS: readonly Claim[] = [poolDeadlock, select, length, sleep, proxy, beam, defaults];
