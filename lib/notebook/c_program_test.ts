import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { runC } from "./c_program.ts";
import { isInstalled } from "../catalogue/tools.ts";

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

const LIVES = `
#include <fcntl.h>
#include <unistd.h>
int main(void) {
  const int fifo = open(FIFO, O_WRONLY);
  write(fifo, "up", 2);
  sleep(8); // below the limit of its run
  write(fifo, ", and late", 10);
}`;

Deno.test({
  name: "a C program dies with the process that runs it, by SIGKILL too",
  ignore,
  fn: async () => {
    const dir = await Deno.makeTempDir();
    const fifo = join(dir, "fifo");
    const decoder = new TextDecoder();
    const module = JSON.stringify(new URL("./c_program.ts", import.meta.url).href);
    const flags = JSON.stringify([`-DFIFO="${fifo}"`]);
    const script = `import { runC } from ${module}; await runC(${JSON.stringify(LIVES)}, ${flags});`;
    try {
      assert((await new Deno.Command("mkfifo", { args: [fifo] }).output()).success);
      const config = new URL("../../deno.json", import.meta.url).pathname;
      const harness = new Deno.Command(Deno.execPath(), {
        args: ["eval", "--config", config, script],
        env: { TMPDIR: dir }, // it cannot remove its own folder
      }).spawn();
      using pipe = await Deno.open(fifo, { read: true }); // opens when the program has opened its end
      const part = new Uint8Array(16);
      const read = await pipe.read(part);
      assertEquals(decoder.decode(part.subarray(0, read!)), "up");
      harness.kill("SIGKILL");
      await harness.status;
      assertEquals(await pipe.read(part), null); // the pipe ends with the program
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

Deno.test({
  name: "a C program that says more than is kept ends by SIGXFSZ",
  ignore,
  fn: async () => {
    const say = '#include <stdio.h>\nint main(void) { for (;;) puts("again"); }';
    const { output, end } = await runC(say);
    assertEquals(end, "SIGXFSZ");
    assert(output.startsWith("again\nagain\n"));
  },
});

Deno.test({
  name: "what does not compile is an error in the words of the compiler",
  ignore,
  fn: async () => {
    await assertRejects(() => runC("int main(void) { return nowhere; }"), Error, "nowhere");
  },
});
