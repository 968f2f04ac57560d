/**
 * Claims about runtimes: Python's asyncio, Node, Go, Tokio, Java.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, written } from "./claim.ts";
import { about, atLeast, atMost, gains, MARGIN, once, times } from "./figure.ts";
import { type Evidence } from "./evidence.ts";
import { atFullLoad, cost, heldAll, memoryRatio, wouldTake } from "./parts.ts";
import { NotTestable } from "./ratio.ts";
import { C10K } from "../results/conventions.ts";

/** "Little memory": what text C gives asyncio for 10 000 connections. */
const LITTLE_BYTES = 200e6;
const ASYNCIO_SECONDS = 2.34;
const STACK_BYTES = 2000;
const MILLION = 1e6;
/** "As fast as C": a request costs at most a fifth more; half as much again is not. */
const LIKE_C = { to: 1.2, notOver: 1.5 };
/** "Predictable": the p99 is at most three times that of C. */
const PREDICTABLE = 3;
/** "Much more memory": twice as much. */
const MUCH = 2;

/** What a million connections would take: extrapolated from what one takes of the process and of the kernel. */
function millionsPart(evidence: Evidence, name: string) {
  const each = ["user_bytes_per_conn", "kernel_bytes_per_conn"] as const;
  const one = each.reduce((sum, metric) => sum + evidence.memory(name, metric).estimate, 0);
  return wouldTake(evidence, "a million", MILLION, one);
}

const asyncio: Claim = {
  id: "C-asyncio",
  claim: {
    en:
      "asyncio is expected to connect and answer 10 000 of 10 000 clients in 2.34 s (4 274 a second) with about 200 MB.",
    ko: "asyncio 서버는 클라이언트 10,000개를 2.34초 만에(초당 4,274개) 모두 처리하고 약 200MB를 쓸 것으로 예상된다.",
  },
  section: "C §5.2",
  tried: "`hold` of 10 000 on python-asyncio: how many were answered, in what time, with what memory (PSS)",
  rule:
    "All are answered (a count: no margin), in about 2.34 s, with about 200 MB: a factor of two either way. A longer time " +
    "refutes the text, a shorter one is open: in its 2.34 s is a client in Python, and here is another one. More memory " +
    "refutes it too, less is open: its server has a coroutine and streams for each client, this one has neither.",
  sceptic:
    "I sign the count, and what is more than the text says. Less says nothing: this server uses a protocol instead of " +
    "streams and coroutines, and its client is not in Python.",
  judge(evidence) {
    const { metrics: { connect_seconds: seconds } } = evidence.held("python-asyncio");
    const memory = evidence.memory("python-asyncio", "pss_bytes");
    if (seconds === null) throw new NotTestable("the run of python-asyncio has no time of connecting");
    const took = once(seconds, MARGIN.other);
    const time = about(took, ASYNCIO_SECONDS);
    const size = about(memory, LITTLE_BYTES);
    const [isFaster, isSmaller] = [time, size].map(({ side }) => side === "less");
    return judged(times(took, 1e6), "µs", [
      heldAll(evidence, "python-asyncio"),
      {
        says: `they were connected and answered in ${seconds.toFixed(2)} s, ${count(C10K / seconds)} a second` +
          (isFaster ? ", which is less; missing is the client of the text" : ""),
        ...(isFaster ? { holds: null } : time),
      },
      {
        says: `it took ${written(memory, "bytes")}` +
          (isSmaller ? ", which is less; missing is a server with a coroutine and streams for each client" : ""),
        ...(isSmaller ? { holds: null } : size),
      },
    ]);
  },
};

const node: Claim = {
  id: "C-node",
  claim: {
    en: "Node holds 10 000 connections and more on one thread, with little memory and high throughput.",
    ko: "Node.js는 단일 스레드로 1만 개 이상의 연결을 적은 메모리와 높은 처리량으로 처리한다.",
  },
  section: "C §6.2",
  tried: "`hold` of 10 000 on node-http: how many were answered, threads, memory (PSS)",
  rule:
    "All are answered (a count: no margin). No thread belongs to a connection: there is fewer than one for a hundred of " +
    "them. Little memory is the 200 MB that the same text gives asyncio. High throughput is open: the text names no number, " +
    "and nothing that it is higher than.",
  sceptic:
    "I sign the counts. That 200 MB are little is borrowed from another runtime in the same text, the connections are " +
    "idle, and what the kernel holds for them is left out.",
  judge(evidence) {
    const { metrics: { threads } } = evidence.held("node-http");
    const memory = evidence.memory("node-http", "pss_bytes");
    const isFew = threads === null ? null : threads < C10K / 100;
    return judged(memory, "bytes", [
      heldAll(evidence, "node-http"),
      {
        says:
          `its process had ${count(threads)} threads, ${isFew === false ? "not " : ""}fewer than one for a hundred ` +
          "connections; that one of them runs the loop is how Node is built",
        holds: isFew,
      },
      { says: `it took ${written(memory, "bytes")}`, holds: atMost(memory, LITTLE_BYTES) },
      { says: "missing is a throughput that would be high", holds: null },
    ]);
  },
};

const goroutine: Claim = {
  id: "C-goroutine",
  claim: {
    en: "A goroutine has a stack of 2 KB: 10 000 take 20 MB, and millions of connections are possible.",
    ko: "고루틴은 2KB 스택을 써서 10,000개가 20MB면 되고, 수백만 연결도 가능하다.",
  },
  section: "C §6.3",
  tried: "`hold` of 10 000 on go-net: memory of the process for each connection, and in all (PSS)",
  rule:
    "10 000 goroutines, each with its connection, take about 20 MB: 10 to 40, a factor of two either way. Less is no. More " +
    "is open, and so is the stack alone: a connection has a buffer, and the process a runtime, beside the stacks that the " +
    "text counts. A million is open: it is only extrapolated.",
  sceptic:
    "I sign it with little weight: buffers and the runtime are in the total, so a figure near the text's may be near by " +
    "chance, and the stack alone is never judged.",
  judge(evidence) {
    const each = evidence.memory("go-net", "user_bytes_per_conn");
    const whole = evidence.memory("go-net", "pss_bytes");
    const match = about(whole, STACK_BYTES * C10K);
    return judged(whole, "bytes", [
      {
        says:
          `a goroutine and its connection take ${written(each, "bytes")} of the process; missing is the stack alone, ` +
          "which the runtime counts",
        holds: null,
      },
      {
        says: `${count(C10K)} take ${
          written(whole, "bytes")
        } in all, with a buffer for each connection and the runtime`,
        ...(match.side === "more" ? { holds: null } : match),
      },
      millionsPart(evidence, "go-net"),
    ]);
  },
};

const tokio: Claim = {
  id: "C-tokio",
  claim: {
    en: "Tokio is as fast as C, its latency is predictable as it has no garbage collector, and it takes millions of " +
      "connections.",
    ko: "Tokio는 C 수준의 속도에 GC가 없어 지연을 예측할 수 있고, 수백만 연결을 처리한다.",
  },
  section: "C §6.4",
  tried:
    "rust-tokio against c-epoll in paired comparisons: CPU time of a request, p99 at the same rate; memory from `hold`",
  rule:
    "A request costs at most a fifth more than in C; half as much again is no. The p99 at the same rate is at most three " +
    "times that of C, or latency is not predictable; less is open, for servers with a collector reach it too. A million is " +
    "open: it is only extrapolated.",
  sceptic:
    "I sign the cost against one loop in C, which another one may beat. Latency is judged at part load, where a " +
    "collector would hardly show.",
  judge(evidence) {
    const cpu = cost(evidence, "rust-tokio", "c-epoll");
    const ask = { scenario: "rate", connections: 100, metric: "p99_us", of: "rust-tokio", to: "c-epoll" } as const;
    const p99 = evidence.ratio(ask);
    return judged(cpu, "×", [
      {
        says: `a request costs ${written(cpu, "×")} what it does in C${atFullLoad(cpu)}`,
        holds: atMost(cpu, LIKE_C.to, LIKE_C.notOver),
      },
      p99.isVoid
        ? { says: "the latency at the same rate is that of the load generator, which was at its limit", holds: null }
        : {
          says:
            `its p99 is ${
              written(p99, "×")
            } that of C; servers with a collector pass this too, so what is missing is ` +
            `the longest pauses of both kinds over a long run`,
          holds: atMost(p99, PREDICTABLE) === false ? false : null,
        },
      millionsPart(evidence, "rust-tokio"),
    ]);
  },
};

const nio: Claim = {
  id: "C-nio",
  claim: {
    en: "asyncio takes little memory and is fast; Java NIO takes much and is very fast.",
    ko: "asyncio는 메모리를 적게 쓰고 빠르며, Java NIO는 메모리를 많이 쓰지만 매우 빠르다.",
  },
  section: "C §9.1",
  tried: "`hold` of 10 000 on python-asyncio and java-nio: memory (PSS); CPU time of a request under full load",
  rule:
    "Little is 200 MB or less. Much is twice that of asyncio; less is open, for the virtual machine here is started with a " +
    "small young generation and the collector for one core. Faster is a tenth less CPU time for a request, or more. That " +
    "asyncio is fast is open: the text names nothing that it is faster than.",
  sceptic:
    "I sign the order of the two by CPU time, but no 'very fast', which has no measure. Memory of a JVM is what it is " +
    "started with, so only much of it counts.",
  judge(evidence) {
    const faster = cost(evidence, "python-asyncio", "java-nio");
    const more = memoryRatio(evidence, "pss_bytes", "java-nio", "python-asyncio");
    const [python, java] = ["python-asyncio", "java-nio"].map((name) => evidence.memory(name, "pss_bytes"));
    const isMuch = atLeast(more, MUCH) === true;
    return judged(faster, "×", [
      { says: `asyncio took ${written(python!, "bytes")}`, holds: atMost(python!, LITTLE_BYTES) },
      {
        says: `Java NIO took ${written(java!, "bytes")}, ${written(more, "×")} as much` +
          (isMuch ? "" : "; missing is a JVM with its defaults"),
        holds: isMuch || null,
      },
      {
        says: `a request costs asyncio ${written(faster, "×")} the CPU time of Java NIO${atFullLoad(faster)}`,
        holds: gains(faster),
      },
      { says: "missing is what asyncio would be faster than", holds: null },
    ]);
  },
};

const netty: Claim = {
  id: "C-netty",
  claim: {
    en: "Netty performs highly, by zero-copy and pooled buffers.",
    ko: "Netty는 제로 카피와 버퍼 풀링으로 높은 성능을 낸다.",
  },
  section: "C §9.2",
  tried: "java-netty against java-nio: CPU time of a request under full load, memory of a connection from `hold`",
  rule:
    "Open, whatever a request costs: an answer of 11 bytes gives zero-copy nothing to save, so that less CPU time than with " +
    "plain NIO would have another cause, and more refutes nothing. The memory of a connection is open: one that is idle has " +
    "no buffer that a pool could keep.",
  sceptic:
    "I would sign neither a yes nor a no, so all is open: small answers give zero-copy nothing to save, and one plain " +
    "NIO server of this project is no measure of high performance.",
  judge(evidence) {
    const cpu = cost(evidence, "java-netty", "java-nio");
    const own = evidence.memory("java-netty", "user_bytes_per_conn");
    const memory = memoryRatio(evidence, "user_bytes_per_conn", "java-netty", "java-nio");
    return judged(cpu, "×", [
      {
        says:
          `an answer of 11 bytes costs ${written(cpu, "×")} the CPU time of plain NIO${
            atFullLoad(cpu)
          }; zero-copy has ` +
          `nothing to save there, and what is missing is answers of many kilobytes`,
        holds: null,
      },
      {
        says: `an idle connection takes ${written(own, "bytes")} of the process, ${written(memory, "×")} as much`,
        holds: null,
      },
    ]);
  },
};

export const RUNTIMES: readonly Claim[] = [asyncio, node, goroutine, tokio, nio, netty];
