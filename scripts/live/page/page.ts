/**
 * The page of the command `live`, as it runs in the browser: follows the events of a run and shows them.
 *
 * @module
 */
/// <reference lib="dom" />
import { FAMILY, type Theme } from "../../../lib/charts/theme.ts";
import { type Figure, FIGURES, remarks, shown } from "../figures.ts";
import { FigureChart } from "./chart.ts";
import { byId, Controls } from "./controls.ts";
import type { Frame } from "../../../lib/run/watch.ts";
import { type Ending, type Events, type Hello, recent } from "../wire.ts";

const LATE_MS = 3500; // without a frame for so long, the page says that it shows old figures
const TRIES = 8; // to come back to a command that does not answer

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = (): Theme => dark.matches ? "dark" : "light";

/** One figure on the page: its number, what stands below, and its chart. */
class Tile {
  readonly #part: (name: string) => HTMLElement;
  readonly #chart: FigureChart;

  constructor(readonly figure: Figure, family: string) {
    const tile = byId<HTMLTemplateElement>("tile").content.cloneNode(true) as DocumentFragment;
    const root = tile.querySelector<HTMLElement>(".tile")!;
    this.#part = (name) => root.querySelector<HTMLElement>(`.${name}`)!;
    this.#part("label").textContent = figure.label;
    byId("figures").append(tile);
    this.#chart = new FigureChart(figure, root.querySelector("canvas")!, family);
  }

  show(frames: readonly Frame[]): void {
    const last = frames.at(-1);
    if (last !== undefined) {
      const { sign, number, unit } = shown(this.figure, last);
      this.#part("sign").textContent = sign;
      this.#part("number").textContent = number;
      this.#part("unit").textContent = unit;
      this.#part("detail").textContent = this.figure.detail(last);
    }
    this.#chart.draw(frames, theme());
  }
}

type State = "waits" | "runs" | "late" | "over" | "failed";
type EndState = { how: Ending["how"] | "replaced"; sentence: string };
const ENDINGS: Record<EndState["how"], [status: string, state: State]> = {
  closed: ["Ended", "over"],
  stopped: ["Ended", "over"],
  skipped: ["It cannot run here", "over"],
  not_ready: ["The server did not get ready", "failed"],
  crashed: ["The server failed", "failed"],
  replaced: ["Shown elsewhere", "over"],
};

/** What the page says in words. Spoken is only what is new: figures within a sentence may change each second. */
class Words {
  #kinds = "";

  status(text: string, state: State): void {
    const status = byId("status");
    if (status.textContent !== text) status.textContent = text;
    document.documentElement.dataset["state"] = state;
  }

  /** What is told of the last figures stays, but after the end the all-clear is hidden. */
  end({ how, sentence }: EndState): void {
    this.status(...ENDINGS[how]);
    byId("ending").textContent = sentence;
    byId("words").hidden = this.#kinds === "";
  }

  remarks(frame: Frame): void {
    const told = remarks(frame);
    const kinds = told.map(({ id }) => id).join(" ");
    byId("remarks").replaceChildren(...told.map(({ id, text }) => {
      const item = document.createElement("li");
      item.textContent = text;
      item.className = id === "reason" ? "reason" : "finding";
      return item;
    }));
    byId("none").hidden = told.length > 0;
    byId("words").hidden = false;
    if (kinds === this.#kinds) return;
    this.#kinds = kinds;
    byId("news").textContent = told.map(({ text }) => text).join(" ");
  }
}

/** The page of one run. */
class Page {
  readonly #words = new Words();
  readonly #controls: Controls;
  readonly #tiles: Tile[];
  #frames: Frame[] = [];
  #late: ReturnType<typeof setTimeout> | undefined;

  constructor(hello: Hello) {
    const { name, title, family, idea, limits } = hello;
    const { style } = document.documentElement;
    document.title = `${name} · C10K lab, live`;
    byId("name").textContent = name;
    byId("title").textContent = title.slice(title.indexOf(": ") + 1); // before it: the name
    byId("idea").textContent = idea;
    const colours = FAMILY[family] ?? FAMILY["own"]!;
    style.setProperty("--family-light", colours.light);
    style.setProperty("--family-dark", colours.dark);
    byId("run").hidden = false;
    this.#controls = new Controls(limits);
    this.#tiles = FIGURES.map((figure) => new Tile(figure, family));
    dark.addEventListener("change", () => this.#draw());
  }

  hello({ name, frames, wanted }: Hello): void {
    this.#frames = frames;
    this.#controls.show(wanted);
    this.#words.status(`Starting ${name}…`, "waits");
    this.#draw();
    if (frames.length > 0) this.#runs();
  }

  frame(frame: Frame): void {
    this.#frames = recent([...this.#frames, frame]);
    this.#draw();
    this.#runs();
  }

  lost(): void {
    clearTimeout(this.#late);
    this.#words.status("The command does not answer. Trying again…", "late");
  }

  end(ending: EndState): void {
    clearTimeout(this.#late);
    this.#controls.end();
    this.#words.end(ending);
  }

  #runs(): void {
    this.#words.status("Running", "runs");
    clearTimeout(this.#late);
    const text = "Waiting: the last second is not over, for answers or connections are still missing.";
    this.#late = setTimeout(() => this.#words.status(text, "late"), LATE_MS);
  }

  #draw(): void {
    for (const tile of this.#tiles) tile.show(this.#frames);
    const last = this.#frames.at(-1);
    if (last !== undefined) this.#words.remarks(last);
  }
}

/** Listens to the run until it ends. */
function follow(): void {
  const source = new EventSource("/frames");
  let page: Page | undefined;
  let failures = 0;
  const on = <Name extends keyof Events>(name: Name, act: (data: Events[Name]) => void) =>
    source.addEventListener(name, ({ data }) => act(JSON.parse(data)));
  on("hello", (hello) => {
    failures = 0;
    page ??= new Page(hello);
    page.hello(hello);
  });
  on("frame", (frame) => page?.frame(frame));
  on("replaced", () => {
    source.close();
    page?.end({ how: "replaced", sentence: "Another page shows this run. Load this one again to see it here." });
  });
  on("end", (end) => {
    source.close();
    page?.end(end);
  });
  source.addEventListener("error", () => {
    page?.lost();
    if (++failures < TRIES && source.readyState !== EventSource.CLOSED) return; // the browser tries again
    source.close();
    (page ?? new Words()).end({ how: "stopped", sentence: "The command is gone." });
  });
}

follow();
