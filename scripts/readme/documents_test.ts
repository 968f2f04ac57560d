import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { removeUnshown } from "./documents.ts";

Deno.test("a chart that no document shows is removed, and nothing else", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of ["held.png", "memory-dark.png", "mixed-1000.png", "notes.md"]) {
      await Deno.writeTextFile(join(folder, name), "");
    }
    await removeUnshown(["![Held](charts/held.png)", '<img src="results/charts/memory-dark.png">'], folder);
    const left = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).toSorted();
    assertEquals(left, ["held.png", "memory-dark.png", "notes.md"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
