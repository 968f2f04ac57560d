/**
 * Claims about threads: what they need and what they cost.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, written } from "./claim.ts";
import { ABOUT, all, atLeast, exactly, isAbout, MARGIN, once, quotient } from "./figure.ts";
import { type Evidence, NotMeasured } from "./evidence.ts";
import { C10K } from "../results/conventions.ts";

/** A thread for each connection, by whom the thread is made. Those of the operating system alone, then with an isolate. */
const NATIVE = ["c-threads", "python-threads", "java-threads"];
const WORKERS = "thread-per-conn";
const STACK_BYTES = 1e6;
const LARGE_STACK_BYTES = 8e6;
const LARGE_TOTAL_BYTES = 80e9;
const SWITCH_US = 10;
const CEILING = { connections: 2000, bytes: 16e9 };
/** "Steeply": the cost doubles. Under a quarter more it does not rise in a way that anybody would call so. */
const STEEP = { from: 2, flatUnder: 1.25 };

const RESOURCES = "T §Thread-per-connection, resource use";

const stack: Claim = {
  id: "T-stack",
  claim: {
    en: "A thread has a stack of 1 MB, so 1 000 connections need 1 GB of memory and 10 000 need 10 GB.",
    ko: "스레드 하나가 1MB 스택을 차지하므로 연결 1,000개에 1GB, 10,000개에 10GB의 메모리가 필요하다.",
  },
  section: RESOURCES,
  tried: "the address space that a thread reserves and the memory that it touches, for threads of C, Python and Java " +
    "and for Web Workers",
  rule:
    "A kind of thread that reserves or touches half of 1 MB or more is of that size; one that touches less than a " +
    "quarter is not.",
  judge(evidence) {
    const of = (metric: string, names: readonly string[]) =>
      evidence.probes("thread-memory", metric, (name) => names.includes(name));
    const reserved = of("virtual_bytes_per_thread", NATIVE);
    const touched = of("pss_bytes_per_thread", [...NATIVE, WORKERS]);
    const spaces = reserved.map(({ name, value }) => `${name} ${written(value, "bytes")}`).join(", ");
    return judged(touched[0]!.value, "bytes", [
      {
        says: `address space is reserved for each thread: ${spaces}`,
        holds: all(reserved.map(({ value }) => atLeast(value, STACK_BYTES / ABOUT))),
      },
      ...touched.map(({ name, value }) => ({
        says: `a thread of ${name} touches ${written(value, "bytes")}`,
        holds: atLeast(value, STACK_BYTES / ABOUT, STACK_BYTES / 4),
      })),
    ]);
  },
};

const contextSwitch: Claim = {
  id: "T-switch",
  claim: { en: "A context switch takes about 10 µs.", ko: "컨텍스트 스위치 한 번에 약 10μs가 걸린다." },
  section: RESOURCES,
  tried:
    "two threads wake each other over pipes, both on one core; and each on its own, where a core may have to wake up too",
  rule:
    "On one core, where nothing but switches happens: about 10 µs is 5 to 20, a factor of two either way. What two " +
    "cores take is told beside it.",
  judge(evidence) {
    const of = (variant: string) => evidence.probe("context-switch", variant, "switch_us");
    const one = of("pipe one-core");
    const [two] = evidence.host.cores > 1 ? [of("pipe two-cores")] : [];
    const beside = two === undefined ? "" : `; between two cores, with their wake-up, ${written(two, "µs")}`;
    return judged(one, "µs", [{ says: `on one core ${written(one, "µs")}${beside}`, holds: isAbout(one, SWITCH_US) }]);
  },
};

const sched: Claim = {
  id: "T-sched",
  claim: {
    en: "The overhead of scheduling rises steeply with the number of threads.",
    ko: "스레드 수가 늘어나면 스케줄링 오버헤드가 급격히 커진다.",
  },
  section: RESOURCES,
  tried: "CPU time of a request on c-threads at the same rate, with few threads and with many",
  rule:
    "The cost with the most threads is twice that with the fewest, or more: it rises steeply. Under 1.25 times it " +
    "does not.",
  judge(evidence) {
    const sizes = evidence.probes("thread-count", "cpu_us_per_request", (name) => /^c-threads \d+$/.test(name))
      .map(({ name, value: figure }) => ({ threads: Number(name.split(" ")[1]), figure }))
      .toSorted((a, b) => a.threads - b.threads);
    const [few, many] = [sizes[0]!, sizes.at(-1)!];
    if (few === many) throw new NotMeasured("deno task probe thread-count", "deno task probe thread-count --quick");
    const growth = quotient(many.figure, few.figure);
    const says = `a request costs ${written(few.figure, "µs")} with ${count(few.threads)} threads, ` +
      `${written(many.figure, "µs")} with ${count(many.threads)}: ${written(growth, "×")}`;
    return judged(growth, "×", [{ says, holds: atLeast(growth, STEEP.from, STEEP.flatUnder) }]);
  },
};

/** How many connections each kind of thread has held. */
const heldByThreads = (evidence: Evidence) =>
  evidence.each([WORKERS, ...NATIVE], (name) => evidence.held(name)).map(({ name, value }) => ({ name, ...value }));

const c10k: Claim = {
  id: "T-c10k",
  claim: {
    en: "A server with a thread for each connection cannot hold 10 000 of them.",
    ko: "연결마다 스레드를 두는 서버는 연결 10,000개를 감당할 수 없다.",
  },
  section: "T §C10K problem",
  tried: "`hold` with Web Workers and with threads of C, Python and Java, until it breaks",
  rule: "A kind of thread that holds and answers fewer than the 10 000 that were asked for cannot. A count: no margin.",
  judge(evidence) {
    const kinds = heldByThreads(evidence);
    const parts = kinds.map(({ name, answered, reason }) => ({
      says: `${name} held ${count(answered.estimate)}${reason === null ? "" : ` (${reason.replace(/\.$/, "")})`}`,
      holds: answered.estimate < C10K,
    }));
    return judged(kinds[0]!.answered, "connections", parts);
  },
};

const gigabytes: Claim = {
  id: "C-80gb",
  claim: {
    en: "10 000 threads with stacks of 8 MB need 80 GB of memory.",
    ko: "8MB 스택을 가진 스레드 10,000개에는 80GB 메모리가 필요하다.",
  },
  section: "C §Opening, §3.2",
  tried: "the address space of a thread of C, whose stack is 8 MiB, and the memory of 10 000 of them",
  rule: "Half of the 8 MB reserved, or more, is a stack of that size. Half of the 80 GB in use, or more, is what the " +
    "text says; less than a quarter is not.",
  judge(evidence) {
    const stacks = evidence.probes("thread-memory", "virtual_bytes_per_thread", (name) => name.startsWith("c-threads"));
    const reserved = stacks.map(({ value }) => value).toSorted((a, b) => b.estimate - a.estimate)[0]!;
    const { answered } = evidence.held("c-threads");
    const used = evidence.memory("c-threads", "pss_bytes");
    return judged(used, "bytes", [
      {
        says: `a thread reserves ${written(reserved, "bytes")} of address space`,
        holds: atLeast(reserved, LARGE_STACK_BYTES / ABOUT),
      },
      {
        says: `${count(answered.estimate)} threads of c-threads used ${written(used, "bytes")} of memory`,
        holds: answered.estimate < C10K ? null : atLeast(used, LARGE_TOTAL_BYTES / ABOUT, LARGE_TOTAL_BYTES / 4),
      },
    ]);
  },
};

const ceiling: Claim = {
  id: "C-thread-2000",
  claim: {
    en: "A thread for each connection ends at about 2 000 connections, with 16 GB of memory.",
    ko: "연결당 스레드 방식은 약 2,000개 연결, 메모리 16GB에서 한계에 이른다.",
  },
  section: "C §1.3",
  tried: "`hold` with Web Workers and with threads of C, Python and Java, until it breaks",
  rule:
    "About 2 000 is 1 000 to 4 000, about 16 GB is 8 to 32: a factor of two either way, by both, for each kind of " +
    "thread.",
  judge(evidence) {
    const kinds = heldByThreads(evidence);
    const parts = kinds.map(({ name, answered, metrics: { pss_bytes } }) => {
      const used = pss_bytes === null ? null : once(pss_bytes, MARGIN.memory);
      const memory = used === null ? "" : `, with ${written(used, "bytes")}`;
      return {
        says: `${name} held ${count(answered.estimate)}${memory}`,
        holds: all([isAbout(answered, CEILING.connections), used && isAbout(used, CEILING.bytes)]),
      };
    });
    return judged(exactly(kinds[0]!.answered.estimate), "connections", parts);
  },
};

export const THREADS: readonly Claim[] = [stack, contextSwitch, sched, c10k, gigabytes, ceiling];
