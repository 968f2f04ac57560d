/**
 * What networks and servers around the kernel could leave behind in the kernel: network namespaces, threads, and what bpf(2)
 * has.
 *
 * @module
 */
import { listProc, readProc } from "../sampling/procfs.ts";

const SYS_BPF = Deno.build.arch === "x86_64" ? 321n : 280n; // <asm/unistd.h>
const NEXT_ID = { program: 11n, map: 12n, link: 31n }; // enum bpf_cmd of <linux/bpf.h>: BPF_…_GET_NEXT_ID
const ATTRIBUTE_WORDS = 32; // start_id, next_id, and room for what newer kernels add

/** The kinds of what bpf(2) has. */
export const BPF_KINDS = Object.keys(NEXT_ID) as (keyof typeof NEXT_ID)[];

/** What bpf(2) has in the whole system, as `map 12`. Needs root. */
export function bpfObjects(): string[] {
  const library = Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i64", "i64", "buffer", "i64"], result: "i64" },
  });
  const all = BPF_KINDS.flatMap((kind) => {
    const found: string[] = [];
    const attribute = new Uint32Array(ATTRIBUTE_WORDS);
    while (library.symbols.syscall(SYS_BPF, NEXT_ID[kind], attribute, BigInt(attribute.byteLength)) >= 0) {
      found.push(`${kind} ${attribute[1]}`);
      attribute[0] = attribute[1]!;
    }
    return found;
  });
  library.close();
  return all;
}

/** The network namespaces that processes are in; those of one process, if it is named. */
export async function namespaces(pid = "[0-9]*"): Promise<string[]> {
  // Deno itself reads /proc for a process with all permissions only.
  const args = ["-c", `readlink /proc/${pid}/ns/net`];
  const { stdout } = await new Deno.Command("sh", { args, stderr: "null" }).output();
  return new TextDecoder().decode(stdout).trim().split("\n");
}

/** Whether a process is in one of these namespaces. */
export async function isInhabited(names: readonly string[]): Promise<boolean> {
  const all = await namespaces();
  return names.some((name) => all.includes(name));
}

/** The threads of the kernel that take in what arrives at servers of the lab, and the cores that each may use. */
export function receivers(): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of listProc("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const status = readProc(`/proc/${name}/status`);
      if (/^Name:\tnapi\/lab0-/.test(status)) found.set(name, /^Cpus_allowed_list:\t(.*)$/m.exec(status)![1]!);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // it has ended meanwhile
    }
  }
  return found;
}
