import { assertEquals } from "@std/assert";
import { moreDescriptors, shellDescriptors } from "./shell_limits.ts";

const stat = (pid: number, comm: string, ppid: number) => `${pid} (${comm}) S ${ppid} ${"0 ".repeat(40)}`;
const limits = (soft: number | "unlimited") =>
  `Limit  Soft Limit  Hard Limit  Units\nMax processes   10   10   processes\nMax open files   ${soft}   20000   files\n`;
const from = (files: Record<string, string>) => (path: string) => {
  if (files[path] === undefined) throw new Deno.errors.NotFound(path);
  return files[path];
};
const chain = (shell: number, own: number | "unlimited") =>
  from({
    "/proc/9/stat": stat(9, "deno", 8),
    "/proc/9/limits": limits(own),
    "/proc/8/stat": stat(8, "deno", 7),
    "/proc/7/stat": stat(7, "bash", 1),
    "/proc/7/limits": limits(shell),
  });

Deno.test("the limit of the shell is that of the nearest process above that is no Deno", () => {
  assertEquals(shellDescriptors(9, chain(1024, 20_000)), 1024);
  assertEquals(shellDescriptors(9, from({ "/proc/9/stat": stat(9, "deno", 8) })), null);
});

Deno.test("a server that gets more descriptors here than from the shell has a sentence, and any other has none", () => {
  const says =
    "A server that is started here has 20 000 descriptors; from your shell it would have 1 024 (ulimit -Sn).";
  assertEquals(moreDescriptors(9, chain(1024, 20_000)), says);
  assertEquals(moreDescriptors(9, chain(20_000, 20_000)), null);
  assertEquals(
    moreDescriptors(9, chain(1024, "unlimited")),
    says.replace("20 000 descriptors", "no limit of descriptors"),
  );
});

Deno.test("this process has a shell above it, or nobody may ask", { ignore: Deno.build.os !== "linux" }, () => {
  const soft = shellDescriptors(Deno.pid);
  assertEquals(soft === null || soft > 0, true);
});
