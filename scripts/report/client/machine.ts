/**
 * The machine whose figures are shown: the one in the address, `report.html?machine=NAME`, else the first.
 *
 * @module
 */
/// <reference lib="dom" />
import { byId } from "./dom.ts";

const PARAMETER = "machine";

/** Puts the sections of another machine in their place. The sources are the same for all: they move along. */
function replaceSections(main: HTMLElement, template: HTMLTemplateElement): void {
  const sections = template.content.cloneNode(true) as DocumentFragment;
  for (const place of sections.querySelectorAll<HTMLElement>("[data-sources]")) {
    const sources = main.querySelector(`[data-sources="${place.dataset["sources"]}"]`);
    if (sources) place.replaceWith(sources);
  }
  main.replaceChildren(sections);
  main.dataset["machine"] = template.dataset["machine"]!;
}

/** Shows the machine that the address names, lets the reader choose another one, and returns its name. */
export function showMachine(): string {
  const main = byId("main");
  const asked = new URLSearchParams(location.search).get(PARAMETER);
  const template = asked &&
    document.querySelector<HTMLTemplateElement>(`template[data-machine="${CSS.escape(asked)}"]`);
  if (template) replaceSections(main, template);
  const shown = main.dataset["machine"]!;
  const choice = document.getElementById("machine-choice") as HTMLSelectElement | null;
  if (choice !== null) {
    choice.value = shown;
    choice.addEventListener(
      "change",
      () => location.search = new URLSearchParams({ [PARAMETER]: choice.value }).toString(),
    );
  }
  return shown;
}
