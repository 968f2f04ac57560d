/**
 * What results/README.md explains, so that tests can hold it against the code.
 *
 * @module
 */

/** The names in the first column of the table below a heading of results/README.md. */
export function explained(heading: string): string[] {
  const readme = Deno.readTextFileSync(new URL("../../results/README.md", import.meta.url));
  const [, section] = readme.split(new RegExp(`^#+ ${heading}$`, "m"));
  return [...(section ?? "").split(/^#/m, 1)[0]!.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1]!);
}
