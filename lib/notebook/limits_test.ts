import { assertEquals } from "@std/assert";
import { limitsAt } from "./limits.ts";
import { NOT_AVAILABLE } from "../sampling/host.ts";

const host = {
  limits: { nofile_soft: 1024, nofile_hard: 20_000, nproc: null },
  sysctls: { ...NOT_AVAILABLE.sysctls, "net.ipv4.ip_local_port_range": [32_768, 60_999] },
  memory_bytes: 2 ** 32,
  cores: 2,
};

Deno.test("a number of connections within all limits, and one over those of descriptors and memory", () => {
  const needs = { kernelBytes: 4096, cpuUs: 12 };
  assertEquals(limitsAt(10_000, host, needs), {
    connections: 10_000,
    descriptors: "10 000 of 20 000: within",
    addresses: "1",
    memory: "39.1 MiB of 4 GiB: within",
    cpu: "0.0020 of 2: within",
  });
  assertEquals(limitsAt(2 ** 24, host, needs), {
    connections: 2 ** 24,
    descriptors: "16 777 216 of 20 000: **over**",
    addresses: "595",
    memory: "64 GiB of 4 GiB: **over**",
    cpu: "3.36 of 2: **over**",
  });
});

Deno.test("what the system does not tell, or was not measured, is no limit that is kept or broken", () => {
  assertEquals(limitsAt(100, { ...host, ...NOT_AVAILABLE }, { kernelBytes: null, cpuUs: null }), {
    connections: 100,
    descriptors: "–",
    addresses: "–",
    memory: "–",
    cpu: "–",
  });
});
