/** What the page can do with a script: filter, sort, draw, download, change its theme. All there is to read is there without. */
/// <reference lib="dom" />
import { toCsv } from "../csv.ts";
import type { PageData, Rows } from "../data.ts";
import { drawCharts } from "./charts.ts";
import { byId } from "./dom.ts";
import { showMachine } from "./machine.ts";
import { followReader, unfoldTarget } from "./reading.ts";
import { filterTable, sortTable } from "./servers.ts";
import { themeButton } from "./theme.ts";

const data: Record<string, PageData> = JSON.parse(byId("data").textContent);
const { charts: specs, downloads } = data[showMachine()]!;
const table = byId<HTMLTableElement>("servers");

/** The rows to download; of servers those that are shown, in the order in which they are. */
function rowsOf(name: keyof PageData["downloads"]): Rows {
  if (name !== "servers") return downloads[name];
  const shown = [...table.tBodies[0]!.rows].filter((row) => !row.hidden);
  return shown.map((row) => downloads.servers.find((of) => of["name"] === row.dataset["name"])!);
}

function download({ dataset }: HTMLButtonElement): void {
  const name = dataset["download"] as keyof PageData["downloads"];
  const isCsv = dataset["format"] === "csv";
  const rows = rowsOf(name);
  const text = isCsv ? toCsv(rows) : `${JSON.stringify(rows, null, 2)}\n`;
  const url = URL.createObjectURL(new Blob([text], { type: isCsv ? "text/csv" : "application/json" }));
  const link = Object.assign(document.createElement("a"), {
    href: url,
    download: `c10k-${name}.${isCsv ? "csv" : "json"}`,
  });
  link.click();
  URL.revokeObjectURL(url);
}

const charts = drawCharts(specs);
themeButton(byId<HTMLButtonElement>("theme"), charts.redraw);
sortTable(table);
filterTable(byId<HTMLFormElement>("filter"), table, charts.show);
for (const button of document.querySelectorAll<HTMLButtonElement>("[data-download]")) {
  button.addEventListener("click", () => download(button));
}
followReader();
unfoldTarget();
