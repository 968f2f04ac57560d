/**
 * The head of a page: which servers it is about.
 *
 * @module
 */
/// <reference lib="dom" />
import type { Shown } from "../wire.ts";
import { byId } from "./controls.ts";
import { label, type Look } from "./servers.ts";

/** A copy of what a template holds. */
export const copyOf = (id: string): HTMLElement =>
  byId<HTMLTemplateElement>(id).content.firstElementChild!.cloneNode(true) as HTMLElement;

/** The name of the page, and what each server is. */
export function introduce(servers: readonly Shown[], looks: readonly Look[]): void {
  const names = servers.map(({ name }) => name).join(" and ");
  document.title = `${names} · C10K lab, live`;
  const heading = servers.length > 1
    ? looks.flatMap((look, i) => i > 0 ? [" and ", label(look, i)] : [label(look, i)])
    : [names];
  byId("name").replaceChildren(...heading);
  byId("servers").replaceChildren(...servers.map(({ title, idea }, i) => {
    const root = copyOf("server");
    root.dataset["server"] = String(i);
    root.querySelector(".title")!.textContent = title.slice(title.indexOf(": ") + 1).trim(); // before it: the name
    root.querySelector(".idea")!.textContent = idea;
    return root;
  }));
  const { dataset, style } = document.documentElement;
  dataset["count"] = String(servers.length);
  for (const [i, { colour }] of looks.entries()) {
    style.setProperty(`--server-${i}-light`, colour.light);
    style.setProperty(`--server-${i}-dark`, colour.dark);
  }
}
