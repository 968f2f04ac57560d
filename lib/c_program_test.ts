import { assertEquals, assertRejects } from "@std/assert";
import { runC } from "./c_program.ts";
import { isInstalled } from "./tools.ts";

const ignore = Deno.build.os !== "linux" || !await isInstalled("gcc");

Deno.test({
  name: "a C program tells what it said, and its exit code or the signal that ended it",
  ignore,
  fn: async () => {
    const say = '#include <stdio.h>\nint main(void) { puts("here"); return CODE; }';
    assertEquals(await runC(say, ["-DCODE=3"]), { output: "here", end: "exit code 3" });
    const die = "#include <stdlib.h>\nint main(void) { abort(); }";
    assertEquals(await runC(die), { output: "", end: "SIGABRT" });
  },
});

Deno.test({
  name: "what does not compile is an error in the words of the compiler",
  ignore,
  fn: async () => {
    await assertRejects(() => runC("int main(void) { return nowhere; }"), Error, "nowhere");
  },
});
