/**
 * All faults, one entry for each.
 *
 * @module
 */
import * as clients from "./by_clients.ts";
import * as kernel from "./by_kernel.ts";
import type { Fault } from "./fault.ts";

export { corpus, demandDescriptors, malformedHeads, oversizedLengths } from "./by_clients.ts";
export { CannotDo, type Fault, type Seen, type Target } from "./fault.ts";

/** All faults, in the order of the matrix. */
export const FAULTS: readonly Fault[] = [
  {
    id: "descriptors-exhausted",
    says: "100 clients at a soft limit of descriptors that leaves none",
    run: kernel.descriptorsExhausted,
    needsPid: true,
    abilities: ["recover-emfile", "wait-at-emfile"],
    isQuiet: true,
    seconds: 1.2,
  },
  {
    id: "memory-limited",
    says: "1 000 heads of 256 KiB that do not end, where 128 MiB more than before are the limit",
    run: kernel.memoryLimited,
    needsPid: true,
    abilities: ["bound-memory"],
    mayKeepBytes: 16 * 2 ** 20, // with what may be left anyway: the 64 MiB of the contract
    seconds: 2.5,
  },
  {
    id: "processes-exhausted",
    says: "50 new clients where neither a process nor a thread more can be made",
    run: kernel.processesExhausted,
    needsPid: true,
    abilities: ["survive-no-process"],
    isQuiet: true,
    seconds: 1.2,
  },
  {
    id: "slow-heads",
    says: "50 clients that send 3 bytes a second: each is closed after 10 s",
    run: clients.slowHeads,
    abilities: ["head-deadline"],
    isQuiet: true,
    isIdle: true,
    seconds: 11,
  },
  {
    id: "slow-readers",
    says: "20 clients that ask 1 500 times and take 512 bytes each 10 ms, then the rest",
    run: clients.slowReaders,
    abilities: ["late-reader", "drain"],
    seconds: 1.5,
  },
  {
    id: "non-readers-pipelined",
    says: "100 clients of small windows that send 40 000 requests each, and read no answer but the first",
    run: clients.nonReaders,
    abilities: ["serve-others", "drain", "late-reader", "bound-memory"],
    seconds: 2,
  },
  {
    id: "half-close",
    says: "100 clients that close their half behind 20 requests",
    run: clients.halfClose,
    abilities: ["half-close"],
    seconds: 0.2,
  },
  {
    id: "half-open",
    says: "50 peers that vanish with an answer on its way: all their packets are dropped for 2 s",
    run: kernel.cablePulled,
    ground: "network",
    abilities: ["keepalive"],
    isQuiet: true,
    seconds: 5,
  },
  {
    id: "peers-gone",
    says:
      "25 peers whose packets are dropped for 35 s, and 25 that hold their windows shut: after 30 s they are given up",
    run: kernel.cableCut,
    ground: "network",
    abilities: ["give-up", "bound-memory"],
    isQuiet: true,
    isIdle: true,
    seconds: 34,
  },
  {
    id: "rst-storm",
    says: "connections that end by a reset, half of them with half of a head, and a request behind each 20 of them",
    run: clients.rstStorm,
    abilities: ["survive-resets"],
    seconds: 1,
  },
  {
    id: "aborted-connects",
    says: "1 000 connections that are reset before they are accepted",
    run: kernel.aborted,
    abilities: ["survive-resets"],
    seconds: 1.2,
  },
  {
    id: "accept-errors",
    says: "3 of 4 calls of accept(2) fail with ECONNABORTED, EPROTO or ENETDOWN while 40 clients come",
    run: kernel.acceptFails,
    ground: "preload",
    needsPid: true,
    abilities: ["recover-accept-errors", "pass-accept-errors"],
    seconds: 1,
  },
  {
    id: "eintr-storm",
    says: "250 stops a second, and one call in four fails with EINTR",
    run: kernel.interrupted,
    ground: "preload",
    needsPid: true,
    abilities: [],
    seconds: 1.5,
  },
  {
    id: "fragments",
    says: "20 clients that send one byte at a time",
    run: clients.fragments,
    abilities: [],
    seconds: 0.2,
  },
  {
    id: "malformed-heads",
    says: "malformed heads of a collection, and 200 with random bytes, each with 64 KiB behind it",
    run: clients.malformed,
    abilities: ["malformed-400"],
    seconds: 1,
  },
  {
    id: "oversized-heads",
    says: "20 heads of 8 to 256 KiB that do not end: each is refused",
    run: clients.oversized,
    abilities: ["bound-head"],
    seconds: 0.5,
  },
  {
    id: "pipelines",
    says: "100 000 requests in one write, and no answer is read for 1 s",
    run: clients.pipelines,
    abilities: ["drain", "late-reader"],
    seconds: 2,
  },
  {
    id: "worker-killed",
    says: "SIGKILL to the process that has half of a request, where a server has several",
    run: kernel.workerKilled,
    needsPid: true,
    abilities: ["outlive-worker"],
    seconds: 1.5,
  },
  {
    id: "sigstop-sigcont",
    says: "the server stands still for 2 s",
    run: kernel.sigstop,
    needsPid: true,
    abilities: [],
    stalls: true,
    seconds: 2,
  },
  {
    id: "clock-stepped",
    says: "the wall clock of the server leaps a day forth and two back, while 50 clients have sent half of a head",
    run: kernel.clockStepped,
    ground: "preload",
    needsPid: true,
    abilities: [],
    seconds: 1.8,
  },
  {
    id: "sigterm-under-load",
    says: "SIGTERM while 50 requests are under way, 10 of them with half of a head",
    run: kernel.sigterm,
    needsPid: true,
    abilities: ["stop-in-flight", "stop-backlog"],
    stalls: true,
    ends: true,
    seconds: 0.5,
  },
  {
    id: "disk-full",
    says: "no byte more can be written below TMPDIR, nor to stdout and stderr, while 200 malformed heads come",
    run: kernel.diskFull,
    ground: "disk",
    abilities: ["serve-on-full-disk"],
    seconds: 4,
  },
  {
    id: "io-uring-forbidden",
    says: "io_uring_setup(2) fails with EPERM from the start on",
    run: kernel.withoutIoUring,
    ground: "no-io-uring",
    abilities: [],
    seconds: 0.2,
  },
  {
    id: "thundering-herd",
    says: "10 000 connects at once, and a request on each",
    run: clients.herd,
    abilities: ["serve-herd", "return-memory", "return-threads"],
    stalls: true,
    mayKeepBytes: 128 * 2 ** 20, // what ten thousand connections have taken
    isHeavy: true,
    seconds: 4,
  },
];
