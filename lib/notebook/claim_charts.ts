/**
 * How claims are drawn in the notebooks: which figures stand beside the size that a text names.
 *
 * @module
 */
import type { Axis } from "../charts/config.ts";
import { type Evidence } from "../claims/evidence.ts";
import { exactly, type Figure, quotient, times } from "../claims/figure.ts";
import { nativeThreads } from "../claims/about_threads.ts";
import { cost, withKernel } from "../claims/parts.ts";
import { count } from "../text/format.ts";
import { C10K } from "../results/conventions.ts";

/** A figure that is drawn beside the claim. */
export interface Mark {
  name: string;
  family: string;
  of: (evidence: Evidence) => Figure;
}

/** How a claim is drawn. */
export interface Look {
  title: string;
  axis: Axis;
  /** The size that the text names, and how the claim words it. */
  said: { value: number; words: string };
  marks: Mark[];
}

const SWITCHES = ["pipe one-core", "pipe two-cores", "futex one-core", "futex two-cores"];
const PROCESSES = ["process-per-conn", "prefork", "apache-prefork", "python-prefork"];
const SIZES = [10, 100, 1000, C10K];
const RINGS = [["c-io-uring", "c-epoll"], ["io-uring", "epoll"]] as const;

/** The claims that have a chart here. */
export const LOOKS: Readonly<Record<string, Look>> = {
  "T-switch": {
    title: "What one context switch takes",
    axis: { label: "of one switch", unit: "us", scale: "log" },
    said: { value: 10, words: "10 µs" },
    marks: SWITCHES.map((name) => ({
      name,
      family: "blocking",
      of: (evidence) => evidence.probe("context-switch", name, "switch_us"),
    })),
  },
  "C-80gb": {
    title: "10 000 threads of C: what stacks of 8 MiB reserve, and what is in use",
    axis: { label: "of the whole server", unit: "bytes", scale: "log" },
    said: { value: 80e9, words: "80 GB" },
    marks: [
      {
        name: "addresses, extrapolated",
        family: "blocking",
        of: (evidence) => times(evidence.probe("thread-memory", "c-threads 8 MiB", "virtual_bytes_per_thread"), C10K),
      },
      { name: "memory (PSS)", family: "blocking", of: (evidence) => evidence.memory("c-threads", "pss_bytes") },
      {
        name: "with that of the kernel",
        family: "blocking",
        of: (evidence) => nativeThreads(evidence).whole.bytes,
      },
    ],
  },
  "C-process": {
    title: "What one more process takes, of its own (PSS) and of the kernel",
    axis: { label: "of one process", unit: "bytes", scale: "log" },
    said: { value: 8e6, words: "8 MB" },
    marks: PROCESSES.map((name) => ({
      name,
      family: "blocking",
      of: (evidence) =>
        withKernel(evidence, "process", name, evidence.probe("process-memory", name, "pss_bytes_per_process")).bytes,
    })),
  },
  "C-100x": {
    title: "select against epoll_wait: CPU of one call, one descriptor active",
    axis: { label: "times as long as epoll_wait", unit: "ratio", scale: "log" },
    said: { value: 100, words: "100 times" },
    marks: SIZES.map((size) => ({
      name: `${count(size)} descriptors`,
      family: "readiness",
      of: (evidence) => quotient(evidence.call("select", size), evidence.call("epoll_wait", size)),
    })),
  },
  "C-uring-2x": {
    title: "io_uring against epoll: work for the same CPU time",
    axis: { label: "times the work of epoll", unit: "ratio", scale: "log" },
    said: { value: 2, words: "two to three times" },
    marks: RINGS.map(([of, to]) => ({
      name: `${of} / ${to}`,
      family: "completion",
      of: (evidence) => quotient(exactly(1), cost(evidence, of, to)),
    })),
  },
};
