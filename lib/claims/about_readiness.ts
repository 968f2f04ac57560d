/**
 * Claims about what tells who is ready, or done: select, poll, epoll, kqueue, completion ports.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Claim, judged, notTestable, written } from "./claim.ts";
import { about, atLeast, atMost, isTimes, quotient } from "./figure.ts";
import { type Evidence } from "./evidence.ts";
import { ceilingOf, endOf, heldAll } from "./parts.ts";
import { C10K } from "../results/conventions.ts";
import type { ReadinessRow } from "../results/rows.ts";

const FD_SETSIZE = 1024; // <sys/select.h>: the bits of fd_set, and the limit that select(2) documents
/** How the server's reason names connections for which fd_set had no bit. */
const OF_FD_SETSIZE = /\bFD_SETSIZE\b/;
/** O(n): ten times the descriptors cost five times as much at least; a call that costs under twice as much is none of it. */
const LINEAR = { from: 5, notUnder: 2 };
/** O(1): a thousand times the descriptors cost no more than half as much again; three times as much is none of it. */
const FLAT = { to: 1.5, notOver: 3 };
const SELECT_US = 10_000;
const EPOLL_US = 100;
const FASTER = 100;
const SECTION = "T §Event-driven, I/O multiplexing";

/** What ten times the descriptors do to the cost of a call. */
function linearPart(evidence: Evidence, call: ReadinessRow["call"]) {
  const [few, many] = [evidence.call(call, C10K / 10), evidence.call(call, C10K)];
  const growth = quotient(many, few);
  const says = `a call costs ${written(few, "µs")} at ${count(C10K / 10)} descriptors and ${written(many, "µs")} at ` +
    `${count(C10K)}: ${written(growth, "×")}`;
  return { growth, part: { says, holds: atLeast(growth, LINEAR.from, LINEAR.notUnder) } };
}

const select: Claim = {
  id: "T-select",
  claim: {
    en: "select takes no more than 1 024 descriptors, and its cost grows with their number.",
    ko: "select는 디스크립터 1,024개까지만 다루며, 비용은 그 수에 비례해 늘어난다.",
  },
  section: SECTION,
  tried:
    "`hold` of the experiment select, which keeps to fd_set, a map of 1 024 bits; the cost of a call of select(2) at 1 000 " +
    "and 10 000 descriptors, one of them active, with a bit map as long as their numbers need",
  rule:
    "The limit is FD_SETSIZE, the bits of fd_set, as select(2) documents it. A server that keeps to fd_set holds fewer " +
    "than 1 024, and counts those that have no bit; as many or more is no (a count: no margin). It is open where " +
    "anything else stopped the server. What the kernel takes with a longer map stands beside it and decides nothing, for " +
    "POSIX defines no such map. Ten times the descriptors cost five times as much or more; under twice as much it is not " +
    "O(n).",
  sceptic:
    "I sign it. The limit is documented rather than found, for the server keeps to fd_set by itself; the growth is that " +
    "of a call with all descriptors but one idle.",
  judge(evidence) {
    const { growth, part } = linearPart(evidence, "select"); // a figure at 10 000 is a call that the kernel took
    const held = evidence.held("select");
    const isOver = atLeast(ceilingOf(held), FD_SETSIZE);
    const isLimit = isOver === false && OF_FD_SETSIZE.test(held.reason ?? "");
    const says =
      `a server that keeps to the ${count(FD_SETSIZE)} bits of fd_set held ${count(held.answered.estimate)}` +
      `${endOf(held.reason)}; beside it, with a longer map, which POSIX does not define, the kernel took ` +
      `${count(C10K)} descriptors in one call`;
    return judged(growth, "×", [{ says, holds: isOver ? false : isLimit || null }, part]);
  },
};

const poll: Claim = {
  id: "T-poll",
  claim: {
    en: "poll has no limit of descriptors, but its cost still grows with their number.",
    ko: "poll은 디스크립터 수에 제한이 없지만 비용은 여전히 그 수에 비례한다.",
  },
  section: SECTION,
  tried: "`hold` of the experiment poll; the cost of a call at 1 000 and 10 000 descriptors, one of them active",
  rule:
    "It holds 10 000 (a count: no margin); fewer are open where a setting or the memory of the host stopped it. Ten " +
    "times the descriptors cost five times as much or more; under twice as much it is not O(n).",
  sceptic:
    "I sign it. 10 000 held exclude a small limit, not every one: the limit of descriptors bounds poll too. The growth " +
    "is that of a call with one descriptor active.",
  judge(evidence) {
    const { growth, part } = linearPart(evidence, "poll");
    return judged(growth, "×", [heldAll(evidence, "poll"), part]);
  },
};

const epoll: Claim = {
  id: "T-epoll",
  claim: {
    en: "epoll costs the same for any number of descriptors, has a level- and an edge-triggered mode, and suits many " +
      "connections.",
    ko: "epoll의 비용은 디스크립터 수와 무관하고, 레벨·에지 트리거를 모두 지원하며 대규모 연결에 알맞다.",
  },
  section: SECTION,
  tried: "the cost of a call at 10 and 10 000 descriptors, one of them active; `hold` in both modes",
  rule:
    "A thousand times the descriptors cost at most half as much again; three times as much is not O(1): in level-triggered " +
    "mode, the cost in the other one is not measured. Both modes hold 10 000 (a count: no margin); fewer are open where a " +
    "setting or the memory of the host stopped it.",
  sceptic:
    "I sign it for few active descriptors, which is the case that the text means. Where most are active a call returns " +
    "as many events, and no interface is free of their number.",
  judge(evidence) {
    const [few, many] = [evidence.call("epoll_wait", 10), evidence.call("epoll_wait", C10K)];
    const growth = quotient(many, few);
    const says = `a call costs ${written(few, "µs")} at 10 descriptors and ${written(many, "µs")} at ${count(C10K)}: ` +
      written(growth, "×");
    const modes = ["epoll", "epoll-edge"].map((name) => heldAll(evidence, name));
    return judged(growth, "×", [{ says, holds: atMost(growth, FLAT.to, FLAT.notOver) }, ...modes]);
  },
};

const kqueue: Claim = {
  id: "T-kqueue",
  claim: {
    en: "kqueue of the BSDs and macOS performs much like epoll.",
    ko: "BSD와 macOS의 kqueue는 epoll과 비슷한 성능을 낸다.",
  },
  section: `${SECTION}; C §4.3`,
  tried: "where there is a kqueue in the kernel: whether it holds 10 000, as epoll does",
  rule:
    "These figures can only refute it: fewer than 10 000 are no (a count: no margin), and open where a setting or the memory " +
    "of the host stopped it. That 10 000 are held affirms nothing of performance, for poll holds them too. What a call costs " +
    "is open: no machine has both in its kernel, so their times cannot be compared. libkqueue on Linux is epoll under " +
    "another name.",
  sceptic:
    "I sign a no and nothing else. Performance needs times, which no machine has for both; that 10 000 are held tells " +
    "kqueue neither from epoll nor from poll.",
  judge(evidence) {
    const { os } = evidence.host;
    if (os !== "darwin" && os !== "freebsd") {
      return notTestable(`kqueue is a part of the BSDs and macOS, this is ${os}.`);
    }
    const cost = { says: "what a call of kqueue costs, and so how it performs, was not measured", holds: null };
    const { says, holds } = heldAll(evidence, "kqueue");
    return judged(evidence.held("kqueue").answered, "connections", [
      { says, holds: holds === false ? false : null },
      cost,
    ]);
  },
};

const hundredfold: Claim = {
  id: "C-100x",
  claim: {
    en: "With 10 000 descriptors select takes 10 ms and epoll 0.1 ms: epoll is 100 times as fast.",
    ko: "디스크립터 10,000개에서 select는 10ms, epoll은 0.1ms가 걸려 epoll이 100배 빠르다.",
  },
  section: "C §4.2",
  tried: "the cost of a call at 10 000 descriptors, one of them active",
  rule: "The times are within a factor of two of those named, on either side, and so is the ratio: 50 to 200.",
  sceptic:
    "I sign it for one active descriptor. The ratio depends on how many are watched and active, so no number is right in " +
    "general; a no may mean that the text says too little.",
  judge(evidence) {
    const [slow, fast] = [evidence.call("select", C10K), evidence.call("epoll_wait", C10K)];
    const ratio = quotient(slow, fast);
    return judged(ratio, "×", [
      { says: `select takes ${written(slow, "µs")}`, ...about(slow, SELECT_US) },
      { says: `epoll takes ${written(fast, "µs")}`, ...about(fast, EPOLL_US) },
      { says: `that is ${written(ratio, "×")}`, ...isTimes(ratio, FASTER) },
    ]);
  },
};

const iocp: Claim = {
  id: "C-iocp",
  claim: {
    en: "The completion ports of Windows tell that an operation is done, not that it may begin, and scale well.",
    ko: "Windows의 IOCP는 준비가 아니라 완료를 알려 주며, 여러 코어를 잘 활용하고 확장성이 좋다.",
  },
  section: "C §4.4",
  tried: "`hold` of the experiment iocp on Windows",
  rule:
    "It holds 10 000 (a count: no margin); fewer are open where a setting or the memory of the host stopped it. That is of " +
    "connections alone: how it scales with cores is open. What completion means is its definition, and no figure.",
  sceptic:
    "I sign that it holds connections, and no more. Idle ones are the easy part of scaling; use of several cores and " +
    "cost under load would be the test, and are open.",
  judge(evidence) {
    const { os } = evidence.host;
    if (os !== "windows") return notTestable(`Completion ports are a part of Windows, this is ${os}.`);
    const cores = { says: "what more cores bring was not measured", holds: null };
    return judged(evidence.held("iocp").answered, "connections", [heldAll(evidence, "iocp"), cores]);
  },
};

export const READINESS: readonly Claim[] = [select, poll, epoll, kqueue, hundredfold, iocp];
