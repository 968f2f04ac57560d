import { join } from "node:path";

/** A temporary folder of a test: bound with `using` it is removed at the end, with all that is in it. */
export function folder(): Disposable & { path: string } {
  const path = Deno.makeTempDirSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

/**
 * Makes a cache for a Deno whose writes fail: it has the packages of this one, and what fails in it damages nothing else.
 *
 * @param path The folder to make: the child's `DENO_DIR`.
 */
export function cacheFor(path: string): string {
  const { stdout } = new Deno.Command(Deno.execPath(), { args: ["info", "--json", "--no-config"] }).outputSync();
  const { npmCache } = JSON.parse(new TextDecoder().decode(stdout));
  Deno.mkdirSync(path);
  new Deno.Command("ln", { args: ["-s", npmCache, join(path, "npm")] }).outputSync(); // Deno would need all permissions
  return path;
}
