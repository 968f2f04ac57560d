import { assert, assertRejects, assertStringIncludes } from "@std/assert";
import { bundle } from "./bundle.ts";

Deno.test("what a page needs is one script, without imports and without an end of the script inside", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/part.ts`, "export const mark: string = '</script>' + location.href;");
    await Deno.writeTextFile(`${dir}/page.ts`, "import { mark } from './part.ts';\ndocument.title = mark;");
    const script = await bundle(`${dir}/page.ts`);
    assertStringIncludes(script, "document.title");
    assert(!script.includes("</script"), script);
    assert(!/^import /m.test(script), script);
    await assertRejects(() => bundle(`${dir}/none.ts`), Error, "Cannot bundle");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
