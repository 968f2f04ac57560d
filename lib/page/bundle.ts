/**
 * Bundles a file of TypeScript for a page.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

const LOCK = fileURLToPath(new URL("../../scripts/all.lock", import.meta.url));

/**
 * One script without imports. Needs `--allow-run`.
 *
 * @param entry Path of the file, which may import what runs in a browser.
 * @throws {Error} If it cannot be bundled.
 */
export async function bundle(entry: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", `--lock=${LOCK}`, "--platform", "browser", "--minify", entry],
    stdin: "null",
  }).output();
  if (!success) throw new Error(`Cannot bundle ${entry}: ${new TextDecoder().decode(stderr).trim()}`);
  return new TextDecoder().decode(stdout).replaceAll("</script", "<\\/script"); // it may stand inside a page
}
