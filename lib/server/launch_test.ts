import { assertEquals, assertMatch } from "@std/assert";
import { howEnded, lastWords, limited, linesOf, Tail, withLastWords } from "./launch.ts";

const streamOf = (...parts: string[]) =>
  ReadableStream.from(parts.map((part) => new TextEncoder().encode(part))) as ReadableStream<Uint8Array<ArrayBuffer>>;

Deno.test("lines are read across the parts in which they come, and the torn last one is left out", async () => {
  assertEquals(await Array.fromAsync(linesOf(streamOf("a", "b\nc\n", "\nd"))), ["ab", "c", ""]);
});

Deno.test("a tail keeps the end", async () => {
  const tail = new Tail(4);
  await tail.collect(streamOf("abc", "def"));
  assertEquals(tail.text, "cdef");
});

Deno.test("the last words are the last line; a banner is none, and a doubled phrase stands once", () => {
  assertEquals(lastWords("first\n  last \n\n"), "last");
  assertEquals(lastWords("Listening. Try: curl -i http://127.0.0.1:80/\n"), "");
  const twice = "poll cannot run here: Could not open library: Could not open library: libc.so.7: no such file";
  assertEquals(lastWords(twice), "poll cannot run here: Could not open library: libc.so.7: no such file");
});

Deno.test("of an uncaught error the message counts, whatever its runtime prints below", () => {
  const module = "Error: Cannot find module '/x/server.js'";
  const code = "  code: 'MODULE_NOT_FOUND',\n  requireStack: []\n}\n\nNode.js v24.1.0\n";
  const trace = "    at Function._resolveFilename (node:internal/modules/cjs/loader:1225:15)\n";
  assertEquals(
    lastWords(`node:internal/modules/cjs/loader:1228\n  throw err;\n  ^\n\n${module}\n${trace}${code}`),
    module,
  );
  const stack = `${module}\nRequire stack:\n- /x/main.js\n${trace}${code}`;
  assertEquals(lastWords(stack), module);
  const inUse = "error: Uncaught (in promise) Error: Address already in use (os error 98)";
  assertEquals(
    lastWords(`${inUse}\nDeno.listen({ port: 80 });\n     ^\n    at listen (ext:deno_net/01_net.js:10:1)\n`),
    inUse,
  );
  assertEquals(lastWords(`\x1b[1m\x1b[31merror\x1b[0m: no\n    at \x1b[36mfile:///x\x1b[0m\n`), "error: no"); // in colours
  const java = 'Exception in thread "main" java.net.BindException: Address already in use';
  assertEquals(lastWords(`${java}\n\tat Main.main(Main.java)\n`), java);
  const go = "panic: listen tcp :80: bind: permission denied";
  const goroutine = "goroutine 1 [running]:\nmain.main()\n\t/x/main.go:10 +0x1d\n";
  for (const end of ["", "exit status 2\n"]) assertEquals(lastWords(`${go}\n\n${goroutine}${end}`), go);
  assertEquals(lastWords("Error: one: two\nno configuration\n"), "no configuration");
});

Deno.test("a backtrace is not what a process said last: the message above it is", () => {
  const deno = 'error: Module not found "file:///x/nofile.ts".\n\nStack backtrace:\n   0: <unknown>\n';
  assertEquals(lastWords(deno), 'error: Module not found "file:///x/nofile.ts".');
  const imported =
    'error: Module not found "file:///x/gone.ts".\n    at file:///x/m.ts:1:8\n\nStack backtrace:\n   0: <unknown>\n';
  assertEquals(lastWords(imported), 'error: Module not found "file:///x/gone.ts".');
  const frames = "   0: rust_begin_unwind\n             at /rustc/x/library/std/src/panicking.rs:662:5\n   1: main\n";
  const panic = "thread 'main' panicked at src/main.rs:2:5:\nno port is free\n";
  const omitted = "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.\n";
  const hint = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
  assertEquals(lastWords(`${panic}stack backtrace:\n${frames}${omitted}`), "no port is free");
  assertEquals(lastWords(`${panic}${hint}`), "no port is free");
  assertEquals(lastWords(frames), ""); // the heading is lost, and so is the message
  assertEquals(lastWords(`${deno}it stopped\n`), "it stopped");
});

Deno.test("of a Deno that cannot find its module the message counts, whether or not it prints backtraces", async () => {
  for (const RUST_BACKTRACE of ["0", "1", "full"]) {
    const { stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-config", "--no-lock", "/nowhere/nofile.ts"],
      env: { RUST_BACKTRACE, NO_COLOR: "1" },
    }).output();
    assertMatch(lastWords(new TextDecoder().decode(stderr)), /^error: Module not found "file:.*nofile\.ts"/);
  }
});

Deno.test("what a runtime says of its debugger is not what a process said last", () => {
  const failed = 'Failed to start inspector server: Failed to start inspector server at "127.0.0.1:9229"\n';
  const opened = "Debugger listening on ws://127.0.0.1:9229/x\nVisit chrome://inspect to connect to the debugger.\n";
  assertEquals(lastWords(`out of memory\n${failed}${opened}`), "out of memory");
  assertEquals(lastWords(`Listening. Try: curl\n${failed}`), "");
});

Deno.test("a sentence without last words has no colon at its end", () => {
  assertEquals(withLastWords("it ended", "\n"), "it ended");
  assertEquals(withLastWords("it ended", "out of memory\n"), "it ended: out of memory");
});

Deno.test("an end is put into words, and limits stand before the program", () => {
  assertEquals(howEnded({ code: 3, signal: null }), "with exit code 3");
  assertEquals(howEnded({ code: 137, signal: "SIGKILL" }), "by SIGKILL");
  assertEquals(limited(["--nofile=64"], ["deno", "x"]), ["prlimit", "--nofile=64", "deno", "x"]);
  assertEquals(limited([], ["deno", "x"]), ["deno", "x"]);
});
