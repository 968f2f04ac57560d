/**
 * Claims about threads: what they need and what they cost.
 *
 * @module
 */
import { bytes, count } from "../text/format.ts";
import { type Claim, judged, type Part, written } from "./claim.ts";
import { about, atLeast, type Figure, MARGIN, once, quotient, times } from "./figure.ts";
import { type Evidence, type Held, NotMeasured } from "./evidence.ts";
import { ceilingOf, endOf, isOfResources, type Whole, withKernel } from "./parts.ts";
import { NotTestable } from "./ratio.ts";
import { C10K } from "../results/conventions.ts";

/** A thread for each connection, by whom the thread is made. Those of the operating system alone, then with an isolate. */
const NATIVE = ["c-threads", "python-threads", "java-threads"];
const WORKERS = "thread-per-conn";
const STACK_BYTES = 1e6;
const LARGE_TOTAL_BYTES = 80e9;
const SWITCH_US = 10;
const CEILING = { connections: 2000, bytes: 16e9 };
/** "Steeply": the cost doubles. */
const STEEP = 2;

const RESOURCES = "T §Thread-per-connection, resource use";

const stack: Claim = {
  id: "T-stack",
  claim: {
    en: "A thread has a stack of 1 MB, so 1 000 connections need 1 GB of memory and 10 000 need 10 GB.",
    ko: "스레드 하나가 1MB 스택을 차지하므로 연결 1,000개에 1GB, 10,000개에 10GB의 메모리가 필요하다.",
  },
  section: RESOURCES,
  tried:
    "the address space that a thread reserves, the memory that it touches and what the kernel holds for it, for threads of " +
    "C, Python and Java and for Web Workers",
  rule:
    "A stack of 1 MB: the address space that a thread reserves by default is about 1 MB. 1 GB of memory for 1 000: what a " +
    "thread touches, with its stack in the kernel and its page tables, is about 1 MB as well. About 1 MB is 0.5 to 2, a " +
    "factor of two either way. The isolate of a Web Worker is shown beside it, and decides nothing.",
  sceptic:
    "I sign it for idle threads: deep calls and large frames touch more. What C and Python reserve is the host's ulimit " +
    "-s, so that half judges a setting as much as a thread.",
  judge(evidence) {
    const of = (metric: string, names: readonly string[]) =>
      evidence.probes("thread-memory", metric, (name) => names.includes(name));
    const reserved = of("virtual_bytes_per_thread", NATIVE);
    const touched = of("pss_bytes_per_thread", NATIVE);
    const worker = evidence.probe("thread-memory", WORKERS, "pss_bytes_per_thread");
    const beside = `; a Web Worker, which is a whole isolate, touches ${written(worker, "bytes")}`;
    const whole = touched.map(({ name, value }) => ({ name, value, ...withKernel(evidence, "thread", name, value) }));
    const stacks = reserved.map(({ name, value }) => ({
      says: `a thread of ${name} reserves ${written(value, "bytes")} of address space by default`,
      ...about(value, STACK_BYTES),
    }));
    const memory = whole.map(({ name, value, bytes, words }, i) => ({
      says: `a thread of ${name} takes ${written(bytes, "bytes")} of memory, ${words}; it touches ` +
        `${written(value, "bytes")}${i === whole.length - 1 ? beside : ""}`,
      ...about(bytes, STACK_BYTES),
    }));
    return judged(whole[0]!.bytes, "bytes", [...stacks, ...memory]);
  },
};

const contextSwitch: Claim = {
  id: "T-switch",
  claim: { en: "A context switch takes about 10 µs.", ko: "컨텍스트 스위치 한 번에 약 10μs가 걸린다." },
  section: RESOURCES,
  tried:
    "two threads wake each other over pipes, both on one core; and each on its own, where a core may have to wake up too",
  rule:
    "The direct cost, on one core, where nothing but switches happens: about 10 µs is 5 to 20, a factor of two either way. " +
    "What two cores take stands beside it. The verdict is on the direct cost alone: what a switch costs later, by cold " +
    "caches, is not measured.",
  sceptic:
    "I sign the direct cost on this kernel, and no more. A switch that finds its caches cold costs more, which is not " +
    "measured: a text that counts it is not refuted.",
  judge(evidence) {
    const of = (variant: string) => evidence.probe("context-switch", variant, "switch_us");
    const one = of("pipe one-core");
    const [two] = evidence.host.cores > 1 ? [of("pipe two-cores")] : [];
    const beside = two === undefined ? "" : `; between two cores, with their wake-up, ${written(two, "µs")}`;
    const says =
      `its direct cost on one core is ${written(one, "µs")}${beside}; what cold caches cost after it is not ` +
      "measured";
    return judged(one, "µs", [{ says, ...about(one, SWITCH_US) }]);
  },
};

const sched: Claim = {
  id: "T-sched",
  claim: {
    en: "The overhead of scheduling rises steeply with the number of threads.",
    ko: "스레드 수가 늘어나면 스케줄링 오버헤드가 급격히 커진다.",
  },
  section: RESOURCES,
  tried:
    "CPU time of a request on c-threads at the same rate, over few connections and over many, against that on epoll over as " +
    "many",
  rule:
    "It rises steeply where the cost with the most threads is twice that with the fewest, or more, beyond what the same " +
    "connections do to one loop. Less is open: at a low rate few threads are ready to run, and the scheduler has little to " +
    "choose from. So these figures can only affirm the claim, and without the loop they cannot.",
  sceptic:
    "I sign it, for it can only affirm. A doubling would be that of threads as a whole: many stacks with cold caches " +
    "cost too, and no figure parts them from the scheduler.",
  judge(evidence) {
    const { few, many, growth, control } = growths(evidence);
    const says = `a request costs ${written(few.figure, "µs")} with ${count(few.size)} threads, ` +
      `${written(many.figure, "µs")} with ${count(many.size)}: ${written(growth, "×")}`;
    if (control === undefined) {
      return judged(growth, "×", [{
        says: `${says}; missing is what as many connections do to one loop`,
        holds: null,
      }]);
    }
    const beyond = quotient(growth, control);
    const isSteep = atLeast(beyond, STEEP);
    const missing = isSteep
      ? ""
      : "; at this rate one thread at a time has work, so what is missing is full load at each size";
    const beside = `; as many connections make ${written(control, "×")} of it in one loop, so threads add ` +
      `${written(beyond, "×")} to that${missing}`;
    return judged(beyond, "×", [{ says: says + beside, holds: isSteep || null }]);
  },
};

/** How the cost of a request grows from the fewest threads to the most, and that of one loop over as many connections. */
function growths(evidence: Evidence) {
  // One question for both, so that both are of the same study.
  const all = evidence.probes("thread-count", "cpu_us_per_request", (name) => /^(?:c-threads|epoll) \d+$/.test(name))
    .map(({ name, value: figure }) => ({ server: name.split(" ")[0]!, size: Number(name.split(" ")[1]), figure }));
  const sizes = all.filter(({ server }) => server === "c-threads").toSorted((a, b) => a.size - b.size);
  const [few, many] = [sizes[0], sizes.at(-1)];
  if (few === undefined || many === undefined || few === many) {
    throw new NotMeasured("deno task probe thread-count", "deno task probe thread-count --quick");
  }
  const loop = (at: number) => all.find(({ server, size }) => server === "epoll" && size === at)?.figure;
  const [from, to] = [loop(few.size), loop(many.size)];
  const control = from === undefined || to === undefined ? undefined : quotient(to, from);
  return { few, many, growth: quotient(many.figure, few.figure), control };
}

type Kind = Held & { name: string };

/** How many connections each kind of thread has held. */
const heldByThreads = (evidence: Evidence): Kind[] =>
  evidence.each([...NATIVE, WORKERS], (name) => evidence.held(name)).map(({ name, value }) => ({ name, ...value }));

/** The kind that held the most. It decides whether threads can, so its figure and its file stand for all. */
function most(evidence: Evidence, kinds: readonly Kind[]): Figure {
  const best = kinds.toSorted((a, b) => b.answered.estimate - a.answered.estimate)[0]!;
  evidence.showFirst(best.path);
  return best.answered;
}

const c10k: Claim = {
  id: "T-c10k",
  claim: {
    en: "With a thread for each of 10 000 connections memory, descriptors or threads run out, and performance falls.",
    ko: "연결 10,000개에 스레드를 하나씩 두면 메모리, 파일 디스크립터, 스레드 수가 고갈되고 성능이 떨어진다.",
  },
  section: "T §C10K problem",
  tried: "`hold` with Web Workers and with threads of C, Python and Java, until it breaks",
  rule:
    "Something runs out where no kind of thread holds 10 000, and what ended those of the operating system alone is memory, " +
    "or a limit. One kind that holds them and answers each refutes that (a count: no margin). The limits of the host are " +
    "among what the text says runs out. It is open where something else ended one, as time, or ports of the load, and where " +
    "only isolates were tried. Performance is open: 10 000 that all ask were not measured.",
  sceptic:
    "I sign it for idle threads, which are the easy case: a refutation says that 10 000 exist and answer once, not that " +
    "they serve 10 000 busy clients well.",
  judge(evidence) {
    const kinds = heldByThreads(evidence);
    const says = kinds.map(({ name, answered, reason }) => `${name} held ${count(answered.estimate)}${endOf(reason)}`);
    const native = kinds.filter(({ name }) => name !== WORKERS);
    const isOut = native.length > 0 && native.every(({ reason }) => isOfResources(reason));
    const areHeld = kinds.some(({ answered }) => answered.estimate >= C10K);
    return judged(most(evidence, kinds), "connections", [
      { says: says.join("; "), holds: areHeld ? false : isOut || null },
      { says: `how fast they answer when all ${count(C10K)} ask was not measured`, holds: null },
    ]);
  },
};

/** The memory of 10 000 threads of C: of the process, and with what the kernel holds for each. */
export function nativeThreads(evidence: Evidence): { answered: number; own: Figure; whole: Whole } {
  const { answered: { estimate: answered } } = evidence.held("c-threads");
  const own = evidence.memory("c-threads", "pss_bytes");
  return { answered, own, whole: withKernel(evidence, "thread", "c-threads", own, answered) };
}

const gigabytes: Claim = {
  id: "C-80gb",
  claim: {
    en: "10 000 threads with stacks of 8 MB need 80 GB of memory.",
    ko: "8MB 스택을 가진 스레드 10,000개에는 80GB 메모리가 필요하다.",
  },
  section: "C §Opening, §3.2",
  tried: "the address space of a thread of C, whose stack is 8 MiB, and the memory of 10 000 of them",
  rule:
    "What 10 000 threads have in use, with their stacks in the kernel and their page tables, is about 80 GB: 40 to 160, a " +
    "factor of two either way. The address space is what the stack was set to, and decides nothing.",
  sceptic:
    "I sign it where memory may be overcommitted, as by default. With vm.overcommit_memory=2 the reserved stacks are " +
    "charged in full, and the text would be nearer to the truth.",
  judge(evidence) {
    const { answered, whole, own } = nativeThreads(evidence);
    const stacks = evidence.probes("thread-memory", "virtual_bytes_per_thread", (name) => name.startsWith("c-threads"));
    const reserved = stacks.map(({ value }) => value).toSorted((a, b) => b.estimate - a.estimate)[0]!;
    const says =
      `${count(answered)} threads of c-threads used ${bytes(whole.bytes.estimate)} of memory, ${whole.words}; ` +
      `their process has ${bytes(own.estimate)} of it; each reserves ${
        written(reserved, "bytes")
      } of address space, as it ` +
      "was asked to";
    const fit = about(whole.bytes, LARGE_TOTAL_BYTES);
    return judged(whole.bytes, "bytes", [answered < C10K ? { says, holds: null } : { says, ...fit }]);
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
    "About 2 000 is 1 000 to 4 000, about 16 GB is 8 to 32: a factor of two either way. Both are judged for each kind of " +
    "thread. A count of connections has no margin; where a setting of the host stopped it, it is a lower bound. Memory is " +
    "what 2 000 of the threads that were held take, for the text counts as many. Web Workers are shown beside it: the " +
    "isolate ends them, and not the thread.",
  sceptic:
    "I sign it for idle threads on this kernel. The text may mean older limits and threads that work, and memory is " +
    "scaled from those that were held.",
  judge(evidence) {
    const kinds = heldByThreads(evidence);
    const native = kinds.filter(({ name }) => name !== WORKERS);
    if (native.length === 0) throw new NotTestable("no server with threads of the operating system alone has run here");
    const [worker] = kinds.filter(({ name }) => name === WORKERS);
    const parts = native.flatMap((kind) => [endPart(kind), memoryPart(evidence, kind)]);
    const beside = worker === undefined
      ? ""
      : `; ${WORKERS}, where each thread is a whole isolate, held ${count(worker.answered.estimate)}` +
        endOf(worker.reason);
    const last = parts.length - 1;
    const shown = parts.map((part, i) => i === last ? { ...part, says: part.says + beside } : part);
    return judged(most(evidence, native), "connections", shown);
  },
};

/** Whether a kind of thread ends where the text says. */
const endPart = (kind: Kind): Part => ({
  says: `${kind.name} held ${count(kind.answered.estimate)}${endOf(kind.reason)}`,
  ...about(ceilingOf(kind), CEILING.connections),
});

/** Whether as many threads as the text names take the memory that it names. */
function memoryPart(evidence: Evidence, { name, answered: { estimate: threads }, metrics: { pss_bytes } }: Kind): Part {
  if (pss_bytes === null || threads === 0) return { says: `the memory of ${name} is not known`, holds: null };
  const whole = withKernel(evidence, "thread", name, once(pss_bytes, MARGIN.memory), threads);
  const named = times(whole.bytes, CEILING.connections / threads);
  const says = `${count(CEILING.connections)} threads of ${name} take ${bytes(named.estimate)}, ${whole.words}`;
  return { says, ...about(named, CEILING.bytes) };
}

export const THREADS: readonly Claim[] = [stack, contextSwitch, sched, c10k, gigabytes, ceiling];
