/**
 * Claims about processes, pools of them, and what waiting costs.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, written } from "./claim.ts";
import { about, atLeast, atMost, MARGIN, once, quotient, times } from "./figure.ts";
import { NotMeasured } from "./evidence.ts";
import { ceilingOf, endOf, heldAll, withKernel } from "./parts.ts";
import { C10K } from "../results/conventions.ts";

const PROCESS_BYTES = 8e6;
const POOL_BYTES = 800e6;
const NGINX_BYTES = 150e6;
const APACHE_BYTES = 10e9;
const PROCESS_CEILING = 500;
const POOL = 100;
/** Blocking servers of this project. */
const BLOCKING = ["prefork", "thread-per-conn"];
/** Half a core is no waiting, in percent. */
const WAITING = 50;
const MORE_EFFICIENT = 60;
const WIRE_BYTES_PER_S = 1e9 / 8;

const process: Claim = {
  id: "C-process",
  claim: {
    en: "A process takes about 8 MB: 10 000 of them would need 78 GB, and about 500 are the most a server has.",
    ko: "프로세스 하나가 약 8MB를 차지해 10,000개면 78GB가 필요하고, 한 서버의 한계는 약 500개다.",
  },
  section: "C §1.2, §1.3",
  tried:
    "the memory of a process (PSS: shared pages count in parts) of four servers, with its stack in the kernel and its page " +
    "tables; `hold` of process-per-conn",
  rule:
    "About 8 MB is 4 to 16, about 500 is 250 to 1 000: a factor of two either way. A count of connections has no margin. " +
    "It is a lower bound where all were held that were asked for, or where a setting of the host stopped the server: " +
    "such a run affirms no ceiling.",
  sceptic:
    "I sign it for bare servers of today. A process with an application writes to many more of its pages, and a ceiling " +
    "found here says little of the machines that the text means.",
  judge(evidence) {
    const sizes = evidence.probes("process-memory", "pss_bytes_per_process", () => true);
    const held = evidence.held("process-per-conn"); // asked for far more than the text names: else the end may be our own
    const whole = sizes.map(({ name, value }) => ({ name, ...withKernel(evidence, "process", name, value) }));
    return judged(whole[0]!.bytes, "bytes", [
      ...whole.map(({ name, bytes, words }) => ({
        says: `a process of ${name} takes ${written(bytes, "bytes")}, ${words}`,
        ...about(bytes, PROCESS_BYTES),
      })),
      {
        says: `process-per-conn held ${count(held.answered.estimate)} connections${endOf(held.reason)}`,
        ...about(ceilingOf(held), PROCESS_CEILING),
      },
    ]);
  },
};

const idle: Claim = {
  id: "C-idle-cpu",
  claim: {
    en: "Blocking I/O uses 5 to 10 % of the CPU, and waits most of the time.",
    ko: "블로킹 I/O의 CPU 활용도는 5~10%이고, 대부분의 시간을 대기에 쓴다.",
  },
  section: "C §1.3",
  tried:
    "the share of a core that blocking servers use while their 100 clients say nothing, while these ask 200 times a second " +
    "in all, and under full load",
  rule:
    "Over 50 % of a core while nothing is asked is no waiting. Less decides nothing, for the share follows the load: these " +
    "figures can only refute the claim.",
  sceptic:
    "I sign it, as it can only refute. The share is that of the load, not of blocking I/O: workers that wait for a disk " +
    "or a database would be the test, and are missing.",
  judge(evidence) {
    const resting = evidence.probes("idle-cpu", "cpu_percent", (name) => BLOCKING.includes(name));
    const parts = resting.flatMap(({ name, value: rest }) => {
      const { requests_per_s: pace, cpu_us_per_request: each } = evidence.throughput(name);
      if (pace === null || each === null) {
        const command = `deno task exp ${name} --scenario throughput`;
        throw new NotMeasured(command, `${command} --quick`);
      }
      const paced = evidence.probe("idle-cpu", name, "cpu_percent_at_rate");
      const busy = once(pace * each / 1e4, MARGIN.other); // µs in a second, as percent
      return [
        {
          says:
            `${name} uses ${written(rest, "%")} of one core while its clients wait, ${written(paced, "%")} at 200 ` +
            `requests/s, ${
              written(busy, "%")
            } under full load; the text means the CPU. The load decides this share for ` +
            `every server; missing is the largest share of 100 blocking workers whose clients wait`,
          holds: atMost(rest, WAITING) === false ? false : null,
        },
      ];
    });
    return judged(resting[0]!.value, "%", parts);
  },
};

const bandwidth: Claim = {
  id: "C-bandwidth",
  claim: {
    en:
      "10 000 clients on 1 Gbit/s have 12.5 KB/s each: the network was not the limit, the architecture of the software was.",
    ko: "1Gbps를 10,000명이 나눠도 각자 12.5KB/s이므로 한계는 네트워크가 아니라 소프트웨어 아키텍처였다.",
  },
  section: "C §2.2",
  tried: "the bytes of answers that a server sends in a second over 10 000 connections, on the loopback interface",
  rule:
    "The share of each is arithmetic, which is shown and decides nothing. That the architecture was the limit is open, " +
    "whatever is moved here: the text means the servers of 1999, with a process or a thread for each client. A loop of " +
    "today that moves more than the wire carries would bear that out; one that moves less may lack large answers, or a " +
    "faster load generator.",
  sceptic:
    "I sign that it stays open. The share of each is arithmetic and no evidence, and what limited servers of 1999 cannot " +
    "be found on a loopback interface of today.",
  judge(evidence) {
    const server = `epoll ${C10K}`;
    const moved = evidence.probe("bandwidth", server, "bytes_per_s");
    const each = evidence.probe("bandwidth", server, "bytes_per_s_per_conn");
    return judged(moved, "bytes/s", [
      {
        says:
          `1 Gbit/s is by arithmetic ${count(WIRE_BYTES_PER_S / C10K)} bytes/s for each of ${count(C10K)}; epoll, a ` +
          `loop of today, answered with ${written(moved, "bytes/s")}, ${
            written(each, "bytes/s")
          } to each client; missing ` +
          "are servers of 1999, and a sweep of the size of answers",
        holds: null,
      },
    ]);
  },
};

const prefork: Claim = {
  id: "C-prefork-100",
  claim: {
    en: "100 processes made beforehand serve 100 clients at once and take 800 MB; the 101st waits.",
    ko: "미리 만든 프로세스 100개는 800MB를 쓰며 동시에 100명만 처리하고, 101번째는 기다린다.",
  },
  section: "C §3.1",
  tried: "100 and 101 clients at a server of 100 processes, all of them at once, and its memory",
  rule:
    "100 of 100 are answered, and of 101 one waits (counts: no margin). About 800 MB is 400 to 1 600, a factor of two " +
    "either way.",
  sceptic:
    "I sign it. Who waits follows from the design, so the counts only confirm it; the memory is that of workers without " +
    "an application, which would take more.",
  judge(evidence) {
    const of = (clients: number, metric: string) => evidence.probe("queue", `prefork ${clients}`, metric);
    const [answered, waiting] = [of(POOL, "answered"), of(POOL + 1, "waiting")];
    const { bytes: memory, words } = withKernel(evidence, "process", "prefork", of(POOL, "pss_bytes"), POOL);
    return judged(memory, "bytes", [
      { says: `of ${POOL} clients ${count(answered.estimate)} are answered`, holds: answered.estimate === POOL },
      { says: `of ${POOL + 1} clients ${count(waiting.estimate)} wait`, holds: waiting.estimate === 1 },
      {
        says: `the processes take ${written(memory, "bytes")}, ${words}`,
        ...about(memory, POOL_BYTES),
      },
    ]);
  },
};

const pool: Claim = {
  id: "C-pool-100",
  claim: {
    en: "A pool of 100 threads leaves 9 900 of 10 000 connections waiting.",
    ko: "스레드 100개의 풀은 연결 10,000개 중 9,900개를 기다리게 한다.",
  },
  section: "C §3.3",
  tried: "10 000 clients at worker-pool, which has 100 threads, all of them at once",
  rule:
    "100 are answered and 9 900 are not (counts: no margin). It is so by construction: the pool was given 100 threads, and " +
    "a client keeps its thread until it closes.",
  sceptic:
    "I sign it for a pool that binds a thread to a client until it leaves, where it is so by construction. A pool whose " +
    "threads take single requests keeps few waiting.",
  judge(evidence) {
    const of = (metric: string) => evidence.probe("queue", `worker-pool ${C10K}`, metric);
    const [answered, waiting] = [of("answered"), of("waiting")];
    return judged(waiting, "connections", [
      { says: `${count(answered.estimate)} of ${count(C10K)} are answered`, holds: answered.estimate === POOL },
      {
        says: `${count(waiting.estimate)} wait, for each client that is answered keeps its thread`,
        holds: waiting.estimate === C10K - POOL,
      },
    ]);
  },
};

const nginx: Claim = {
  id: "C-nginx",
  claim: {
    en: "With 10 000 connections nginx takes about 150 MB and Apache with prefork about 10 GB: nginx is 60 times as " +
      "efficient, or more.",
    ko: "1만 연결에서 nginx는 약 150MB, Apache prefork는 약 10GB를 써서 nginx가 60배 이상 효율적이다.",
  },
  section: "C §6.1",
  tried:
    "`hold` of 10 000 on nginx: memory (PSS); what one process more takes of Apache, with its stack in the kernel and its " +
    "page tables, and how many connections Apache held",
  rule:
    "The ratio is 60 or more. It is open, unless Apache held 10 000: an extrapolation from a few hundred processes cannot " +
    "affirm it. About 150 MB is 75 to 300, about 10 GB for 10 000 processes is 0.5 to 2 MB for each: a factor of two either " +
    "way. Fewer than 10 000 held by nginx is no, and open where a setting or the memory of the host stopped it.",
  sceptic:
    "I sign it for idle connections and an Apache with few modules: with an interpreter in its workers a process is far " +
    "larger. Both configurations are the project's choice.",
  judge(evidence) {
    const all = heldAll(evidence, "nginx");
    const many = evidence.held("apache-prefork").answered.estimate;
    const small = evidence.memory("nginx", "pss_bytes");
    const each = evidence.probe("process-memory", "apache-prefork", "pss_bytes_per_process");
    const process = withKernel(evidence, "process", "apache-prefork", each);
    const large = times(process.bytes, C10K);
    const ratio = { ...quotient(large, small), margin: 2 * MARGIN.memory };
    const missing = many < C10K
      ? `, but Apache, whose number of processes is set, held ${count(many)}; missing is a run with ${
        count(C10K)
      } of them`
      : "";
    return judged(ratio, "×", [
      {
        says: `${count(C10K)} processes of Apache would take × ${count(ratio.estimate)} as much as nginx${missing}`,
        holds: many < C10K ? null : atLeast(ratio, MORE_EFFICIENT),
      },
      {
        says: `${all.says}, and took ${written(small, "bytes")}`,
        ...(all.holds === true ? about(small, NGINX_BYTES) : { holds: all.holds }),
      },
      {
        says: `a process of Apache with the modules of this project takes ${written(process.bytes, "bytes")}, ` +
          `${process.words}; for 10 GB it would be 1 MB`,
        ...about(process.bytes, APACHE_BYTES / C10K),
      },
    ]);
  },
};

export const PROCESS_CLAIMS: readonly Claim[] = [process, idle, bandwidth, prefork, pool, nginx];
