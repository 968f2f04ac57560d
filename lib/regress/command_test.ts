import { assertEquals } from "@std/assert";
import { appendTo } from "./command.ts";

Deno.test({
  name: "a summary is added to what is in the file",
  ignore: Deno.build.os === "windows", // tee
  fn: async () => {
    const path = Deno.makeTempFileSync();
    await appendTo(path, "# One\n");
    await appendTo(path, "# Two\n");
    assertEquals(Deno.readTextFileSync(path), "# One\n# Two\n");
    Deno.removeSync(path);
  },
});
