/**
 * All faults, one entry for each.
 *
 * @module
 */
import * as clients from "./by_clients.ts";
import * as kernel from "./by_kernel.ts";
import type { Fault } from "./fault.ts";

export { corpus, demandDescriptors, malformedHeads, oversizedLengths } from "./by_clients.ts";
export { CannotDo, type Fault, type Seen, takesBack, type Target } from "./fault.ts";

/** All faults, in the order of the matrix. */
export const FAULTS: readonly Fault[] = [
  {
    id: "descriptors-exhausted",
    says: "100 new clients while the server can open no more descriptors",
    run: kernel.descriptorsExhausted,
    needsPid: true,
    abilities: ["recover-emfile", "wait-at-emfile", "serve-at-emfile", "rest-at-emfile"],
    loose: ["recover-emfile", "wait-at-emfile"], // it may never run out, or hear of it; new clients are owed nothing
    isQuiet: true,
    seconds: 1.2,
  },
  {
    id: "memory-limited",
    says: "1 000 heads of 256 KiB that do not end, while the server may take 128 MiB more memory than before",
    run: kernel.memoryLimited,
    needsPid: true,
    abilities: ["bound-memory"],
    mayKeepBytes: 16 * 2 ** 20, // with what may be left anyway: the 64 MiB of the contract
    seconds: 2.5,
  },
  {
    id: "processes-exhausted",
    says: "50 new clients while the server can start neither a process nor a thread",
    run: kernel.processesExhausted,
    needsPid: true,
    abilities: ["survive-no-process"],
    byChance: ["survive-no-process"], // it may need none just then
    isQuiet: true,
    seconds: 1.2,
  },
  {
    id: "slow-heads",
    says: "50 clients that send a byte of a head every 400 ms: the server must close each after 10 s",
    run: clients.slowHeads,
    abilities: ["head-deadline"],
    loose: ["head-deadline"], // it may close without a word
    isQuiet: true,
    isIdle: true,
    seconds: 11,
  },
  {
    id: "slow-readers",
    says: "20 clients that send 1 500 requests each and read 512 bytes every 10 ms, then the rest",
    run: clients.slowReaders,
    abilities: ["late-reader", "drain", "share-pipelines"],
    byChance: ["share-pipelines"], // a quick machine is through with a pipeline in time
    seconds: 1.5,
  },
  {
    id: "non-readers-pipelined",
    says: "100 clients with small windows that send 40 000 requests each and read only the first answer",
    run: clients.nonReaders,
    abilities: ["serve-others", "drain", "late-reader", "bound-memory", "share-pipelines"],
    byChance: ["share-pipelines"],
    seconds: 3,
  },
  {
    id: "half-close",
    says: "100 clients that send 20 requests each and then close their half of the connection",
    run: clients.halfClose,
    abilities: ["half-close"],
    loose: ["half-close"], // these answers are ready at once
    seconds: 0.2,
  },
  {
    id: "half-open",
    says: "50 peers that vanish while an answer is on its way: all their packets are dropped for 2 s",
    run: kernel.cablePulled,
    ground: "network",
    abilities: ["keepalive"],
    loose: ["keepalive"], // it is over long before the first probe
    isQuiet: true,
    seconds: 5,
  },
  {
    id: "peers-gone",
    says:
      "25 peers whose packets are dropped, and 25 that keep their windows closed: the server must give them up after 30 s",
    run: kernel.cableCut,
    ground: "network",
    abilities: ["give-up", "bound-memory"],
    isQuiet: true,
    isIdle: true,
    seconds: 34,
  },
  {
    id: "rst-storm",
    says: "connections that end with a reset, half of them after half a head, and a new client after every 20 of them",
    run: clients.rstStorm,
    abilities: ["survive-resets"],
    seconds: 1,
  },
  {
    id: "aborted-connects",
    says: "1 000 connections that are reset before they are accepted",
    run: kernel.aborted,
    mayStop: true,
    abilities: ["survive-resets"],
    seconds: 1.2,
  },
  {
    id: "accept-errors",
    says: "3 of 4 calls of accept(2) fail with ECONNABORTED, EPROTO or ENETDOWN while 40 clients connect",
    run: kernel.acceptFails,
    ground: "preload",
    needsPid: true,
    abilities: ["recover-accept-errors", "pass-accept-errors"],
    seconds: 1,
  },
  {
    id: "eintr-storm",
    says: "the server is stopped up to 250 times per second, and one call in four fails with EINTR",
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
    says: "malformed heads from a collection, and 200 with random bytes, each followed by 64 KiB",
    run: clients.malformed,
    abilities: [],
    seconds: 1,
  },
  {
    id: "oversized-heads",
    says: "20 heads of 8 to 256 KiB that do not end: the server must refuse each",
    run: clients.oversized,
    abilities: ["bound-head"],
    loose: ["bound-head"], // it may close without an answer
    seconds: 0.5,
  },
  {
    id: "pipelines",
    says: "100 000 requests in one write, and no answer is read for 1 s",
    run: clients.pipelines,
    abilities: ["drain", "late-reader", "share-pipelines"],
    byChance: ["share-pipelines"],
    seconds: 2,
  },
  {
    id: "worker-killed",
    says: "SIGKILL to the worker process that has received half a request",
    run: kernel.workerKilled,
    needsPid: true,
    abilities: ["outlive-worker"],
    seconds: 1.5,
  },
  {
    id: "sigstop-sigcont",
    says: "the server is stopped for 2 s",
    run: kernel.sigstop,
    needsPid: true,
    abilities: [],
    stalls: true,
    seconds: 2,
  },
  {
    id: "clock-stepped",
    says: "the wall clock of the server jumps one day forward and two days back while 50 clients have sent half a head",
    run: kernel.clockStepped,
    ground: "preload",
    needsPid: true,
    abilities: [],
    seconds: 1.8,
  },
  {
    id: "sigterm-under-load",
    says: "SIGTERM while 50 clients wait for answers, 10 of which have sent half a head",
    run: kernel.sigterm,
    needsPid: true,
    abilities: ["stop-in-flight", "stop-backlog"],
    byChance: ["stop-in-flight", "stop-backlog"], // normal clients ask on: it may still wait, and has accepted all
    stalls: true,
    ends: true,
    seconds: 0.5,
  },
  {
    id: "disk-full",
    says: "the disk of TMPDIR, stdout and stderr is full while malformed heads arrive",
    run: kernel.diskFull,
    ground: "disk",
    abilities: ["serve-on-full-disk"],
    seconds: 4,
  },
  {
    id: "io-uring-forbidden",
    says: "io_uring_setup(2) fails with EPERM from the start",
    run: kernel.withoutIoUring,
    ground: "no-io-uring",
    abilities: [],
    seconds: 0.2,
  },
  {
    id: "thundering-herd",
    says: "10 000 connections at once, with one request each",
    run: clients.herd,
    abilities: ["serve-herd"],
    byChance: ["serve-herd"], // a quick machine serves all of it in time
    stalls: true,
    mayKeepBytes: 128 * 2 ** 20, // what ten thousand connections have taken
    isHeavy: true,
    seconds: 4,
  },
];
