import { assert, assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { countProcLines, filterProcLines, listProc, readProc, sizeProc } from "./procfs.ts";

const ignore = Deno.build.os !== "linux";

Deno.test({ name: "a file of /proc is read as text", ignore }, () => {
  assert(readProc("/proc/self/stat").startsWith(`${Deno.pid} (`));
});

Deno.test({ name: "a file that is longer than one read is read whole", ignore }, () => {
  const path = Deno.makeTempFileSync();
  try {
    const text = Array.from({ length: 30_000 }, (_, i) => `line ${i}\n`).join("");
    Deno.writeTextFileSync(path, text);
    assertEquals(readProc(path), text);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test({ name: "an empty file is an empty text", ignore }, () => {
  const path = Deno.makeTempFileSync();
  try {
    assertEquals(readProc(path), "");
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test({ name: "a file over the bound of 8 MiB is refused and its descriptor closed", ignore }, () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.truncateSync(path, 8 * 1024 * 1024 + 1);
    const before = sizeProc("/proc/self/fd");
    assertThrows(() => readProc(path), RangeError, "longer than 8388608 bytes");
    assertEquals(sizeProc("/proc/self/fd"), before);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test({ name: "lines are counted in a file of any length", ignore }, () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeTextFileSync(path, "7f4b5c000000-7f4b5c021000 rw-p 00000000 00:00 0\n".repeat(200_000)); // 9.6 MB
    assertEquals(countProcLines(path), 200_000);
    Deno.writeTextFileSync(path, "");
    assertEquals(countProcLines(path), 0);
  } finally {
    Deno.removeSync(path);
  }
  assertEquals(countProcLines("/proc/self/status"), readProc("/proc/self/status").split("\n").length - 1);
});

Deno.test({ name: "lines of a file are picked, however long it is, and wherever its parts end", ignore }, () => {
  const path = Deno.makeTempFileSync();
  try {
    const line = (i: number) => `${i} ${"é".repeat(40)}`;
    const lines = Array.from({ length: 120_000 }, (_, i) => line(i)); // 10 MB, of an odd number of bytes before each é
    Deno.writeTextFileSync(path, lines.join("\n"));
    assert(Deno.statSync(path).size > 8 * 2 ** 20);
    assertEquals(filterProcLines(path, (of) => of.includes("9999 ")), lines.filter((of) => of.includes("9999 ")));
    assertEquals(filterProcLines(path, () => true), lines);
    assertThrows(() => readProc(path), RangeError, "8388608");
  } finally {
    Deno.removeSync(path);
  }
  assertEquals(filterProcLines("/proc/net/tcp", (of) => of.includes("local_address")).length, 1);
});

Deno.test({ name: "what is missing is NotFound, with the path and the errno", ignore }, () => {
  const expected = "/proc/missing: ENOENT (2)";
  assertThrows(() => readProc("/proc/missing"), Deno.errors.NotFound, `Cannot open ${expected}`);
  assertThrows(() => listProc("/proc/missing"), Deno.errors.NotFound, `Cannot open ${expected}`);
  assertThrows(() => sizeProc("/proc/missing"), Deno.errors.NotFound, `Cannot look up ${expected}`);
});

Deno.test({ name: "a file that may not be read, not even by root, is PermissionDenied", ignore }, () => {
  assertThrows(() => readProc("/proc/sys/net/ipv4/route/flush"), Deno.errors.PermissionDenied, "EACCES (13)");
});

Deno.test({ name: "any other failure keeps its errno: a folder cannot be read as a file", ignore }, () => {
  const error = assertThrows(() => readProc("/proc"), Error, "Cannot read /proc: EISDIR (21)");
  assertNotEquals(error.name, "NotFound");
});

Deno.test({ name: "a folder is listed without itself and its parent", ignore }, () => {
  const names = listProc("/proc/self");
  assert(names.includes("stat") && names.includes("task"));
  assert(!names.includes(".") && !names.includes(".."));
});

Deno.test({ name: "a folder with very many names is listed whole", ignore }, () => {
  const path = Deno.makeTempDirSync();
  try {
    const names = Array.from({ length: 3000 }, (_, i) => `a name of some length, number ${i}`);
    for (const name of names) Deno.writeTextFileSync(`${path}/${name}`, "");
    assertEquals(listProc(path).sort(), names.sort());
  } finally {
    Deno.removeSync(path, { recursive: true });
  }
});

Deno.test({ name: "the size of a file is given in bytes", ignore }, () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.truncateSync(path, 5_000_000_000); // over 32 bits
    assertEquals(sizeProc(path), 5_000_000_000);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test({ name: "elsewhere than on Linux the readers say so", ignore: !ignore }, () => {
  for (const read of [readProc, listProc, sizeProc]) {
    const error = assertThrows(() => read("/proc/stat"), Deno.errors.NotSupported);
    assertStringIncludes(error.message, Deno.build.os);
  }
});
