/**
 * The big table: filter and sort.
 *
 * @module
 */
/// <reference lib="dom" />

const checked = (form: HTMLFormElement, name: string) => new Set(new FormData(form).getAll(name));

/** Hides the rows that the form does not ask for, counts the others aloud, and tells their names. */
export function filterTable(
  form: HTMLFormElement,
  table: HTMLTableElement,
  changed: (names: Set<string>) => void,
): void {
  const rows = [...table.tBodies[0]!.rows];
  const found = document.getElementById("found")!;
  const filter = () => {
    const words = String(new FormData(form).get("text")).toLowerCase().split(/\s+/);
    const families = checked(form, "family");
    const kinds = checked(form, "kind");
    for (const row of rows) {
      const { family, kind } = row.dataset;
      const text = row.textContent.toLowerCase();
      row.hidden = !(families.has(family!) && kinds.has(kind!) && words.every((word) => text.includes(word)));
    }
    const left = rows.filter((row) => !row.hidden);
    found.textContent = `${left.length} of ${rows.length} servers${
      left.length === 0 ? ": nothing fits this filter" : ""
    }`;
    changed(new Set(left.map((row) => row.dataset["name"]!)));
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  found.textContent = `${rows.length} of ${rows.length} servers`;
}

/** Numbers by size, words by the alphabet; what is missing stands last, whichever way is sorted. */
function sortRows(table: HTMLTableElement, column: number, direction: 1 | -1): void {
  const value = (row: HTMLTableRowElement) => row.cells[column]!.dataset["value"]!;
  const compare = (a: string, b: string) =>
    a === "" || b === ""
      ? Number(a === "") - Number(b === "")
      : direction * (Number(a) - Number(b) || (isNaN(Number(a)) ? a.localeCompare(b) : 0));
  const body = table.tBodies[0]!;
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
}

/** Makes each heading a button that sorts by its column, first upwards, then downwards. */
export function sortTable(table: HTMLTableElement): void {
  const headings = [...table.tHead!.rows[0]!.cells];
  for (const [column, heading] of headings.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      sortRows(table, column, up ? 1 : -1);
    });
  }
}
