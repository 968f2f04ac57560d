import { assertEquals } from "@std/assert";
import { type Cell, cellName, differences, kinds, type Output } from "./file.ts";

const code = (outputs: Output[], execution_count: number | null = 1, source: string | string[] = "x"): Cell => {
  return { cell_type: "code", source, execution_count, outputs };
};
const text: Cell = { cell_type: "markdown", source: "# A title" };
const stream = (name: string) => ({ output_type: "stream", name, text: [crypto.randomUUID()] });
const picture = (data: Record<string, unknown>) => ({ output_type: "display_data", data, metadata: {} });

Deno.test("the kind of an output is its type with its MIME types, and no text", () => {
  const error = { output_type: "error", ename: "Error", evalue: "no" };
  const all = [stream("stdout"), picture({ "text/plain": "x", "image/png": "y" }), error];
  assertEquals(kinds(all), ["stream stdout", "display_data image/png text/plain", "error"]);
});

Deno.test("a stream counts once, however many parts it has; two pictures are two", () => {
  const svg = picture({ "text/html": "<svg/>" });
  const out = stream("stdout");
  const err = stream("stderr");
  const shown = kinds([out, out, svg, out, err, svg, err]);
  assertEquals(shown, ["stream stdout", "display_data text/html", "stream stderr", "display_data text/html"]);
});

Deno.test("cells that show the same in kind do not differ, whatever they say", () => {
  const cells = () => [text, code([stream("stdout"), picture({ "text/html": crypto.randomUUID() })]), code([])];
  assertEquals(differences({ cells: cells() }, { cells: cells() }), []);
});

Deno.test("an output that is missing, is new or is of another type differs, and the cell is named", () => {
  const html = code([picture({ "text/html": "" })]);
  const png = code([picture({ "image/png": "" })]);
  const none = code([]);
  const between = (stored: Cell, executed: Cell) => differences({ cells: [text, stored] }, { cells: [text, executed] });
  const [is, showed] = ["is stored with", "but showed"];
  assertEquals(between(html, none), [{ cell: 1, what: `${is} display_data text/html, ${showed} nothing.` }]);
  assertEquals(between(none, html), [{ cell: 1, what: `${is} nothing, ${showed} display_data text/html.` }]);
  const other = `${is} display_data text/html, ${showed} display_data image/png.`;
  assertEquals(between(html, png), [{ cell: 1, what: other }]);
});

Deno.test("a code cell that was not executed is reported, now or when it was stored", () => {
  const done = { cells: [code([])] };
  const not = { cells: [code([], null)] };
  assertEquals(differences(done, not)[0]?.what, "was not executed: it is empty, or tagged to be skipped.");
  assertEquals(differences(not, done)[0]?.what, "is stored without its outputs: use --write.");
});

Deno.test("a cell is named by its number among the code cells and by the beginning of its first line", () => {
  const cells = [text, code([], 1, ["const x = 1;\n", "x;"]), text, code([], 2, `f(${"a".repeat(50)})`)];
  assertEquals(cellName({ cells }, 1), "cell 1 (const x = 1;)");
  assertEquals(cellName({ cells }, 3), `cell 2 (f(${"a".repeat(38)}…)`);
});
