/** A temporary folder of a test: bound with `using` it is removed at the end, with all that is in it. */
export function folder(): Disposable & { path: string } {
  const path = Deno.makeTempDirSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}
