/**
 * How the servers of a page are distinguished: each has a colour and a mark.
 *
 * @module
 */
/// <reference lib="dom" />
import type { PointStyle } from "chart.js";
import { colourOf, type Theme } from "../../../lib/charts/theme.ts";
import type { Shown } from "../wire.ts";

/** How one server is drawn. */
export interface Look {
  name: string;
  colour: Record<Theme, string>;
  mark: PointStyle;
}

const MARKS: readonly PointStyle[] = ["circle", "rectRot"];
const OTHERS = ["blocking", "readiness"]; // families whose hues are far from each other, and from most

/** The looks of all servers. The second one of a family is drawn as another family would be: two lines must differ. */
export function looksOf(servers: readonly Pick<Shown, "name" | "family">[]): Look[] {
  return servers.map(({ name, family }, i) => {
    const isTaken = servers.slice(0, i).some((before) => before.family === family);
    const drawn = isTaken ? OTHERS.find((other) => other !== family)! : family;
    const colour = { light: colourOf(drawn, "light"), dark: colourOf(drawn, "dark") };
    return { name, colour, mark: MARKS[i % MARKS.length]! };
  });
}

/** A mark and the name of a server, where there are several: text in the colour of its lines. */
export function label(look: Look, index: number): HTMLElement {
  const element = document.createElement("span");
  element.className = "of-server";
  element.dataset["server"] = String(index);
  element.textContent = look.name;
  return element;
}
