/**
 * Whether the kernel counts interrupts apart from processes. On loopback the receiver's half of TCP runs as a soft interrupt inside the
 * sender's send(2), a fifth to a quarter of the work. Where interrupts have an account of their own, no process clock has it: neither
 * server nor load generator shows it, and a core that is full seems to have a quarter left.
 *
 * @module
 */
import { gunzipSync } from "node:zlib";
import { readProc, readProcBytes } from "./procfs.ts";

/** A kernel's answer by its configuration and command line. */
export function irqAccountingOf(config: string, commandLine: string): boolean {
  // The account needs a clock that is cheap to read: this word says that it is not.
  return /^CONFIG_IRQ_TIME_ACCOUNTING=y$/m.test(config) && !/\btsc=noirqtime\b/.test(commandLine);
}

/** The configuration of the kernel that runs; null where it is nowhere to be read. */
function kernelConfig(): string | null {
  const release = readProc("/proc/sys/kernel/osrelease").trim();
  const sources = [
    () => new TextDecoder().decode(gunzipSync(readProcBytes("/proc/config.gz"))),
    () => readProc(`/boot/config-${release}`),
    () => readProc(`/lib/modules/${release}/config`),
  ];
  for (const read of sources) {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) throw error;
    }
  }
  return null;
}

/** Whether interrupts are missing in the CPU time of processes; null where the system does not tell. */
export function irqTimeAccounting(): boolean | null {
  if (Deno.build.os !== "linux") return null;
  const config = kernelConfig();
  return config === null ? null : irqAccountingOf(config, readProc("/proc/cmdline"));
}
