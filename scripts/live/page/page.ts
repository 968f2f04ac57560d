/**
 * The page of the command `live`, as it runs in the browser: follows the events of a run and shows them.
 *
 * @module
 */
/// <reference lib="dom" />
import type { Theme } from "../../../lib/charts/theme.ts";
import { type Figure, FIGURES, remarksOf, shown } from "../figures.ts";
import { FigureChart } from "./chart.ts";
import { byId, Controls } from "./controls.ts";
import { Distribution } from "./distribution.ts";
import { follow } from "./follow.ts";
import { copyOf, introduce } from "./introduce.ts";
import { LoadChart } from "./load.ts";
import { label, type Look, looksOf } from "./servers.ts";
import type { Frame } from "../../../lib/run/watch.ts";
import { type EndState, Status } from "./status.ts";
import { type Hello, recent, type Round } from "../wire.ts";

const LATE_MS = 3500; // without a round for so long, the page says that it shows old figures

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = (): Theme => dark.matches ? "dark" : "light";

/** The number of one server in a tile, and what stands below. */
class Value {
  readonly root = copyOf("value");
  readonly #part: (name: string) => HTMLElement;

  constructor(look: Look, index: number) {
    this.#part = (name) => this.root.querySelector<HTMLElement>(`.${name}`)!;
    this.#part("who").append(label(look, index));
  }

  show(figure: Figure, frame: Frame): void {
    const { sign, number, unit } = shown(figure, frame);
    const detail = figure.detail(frame);
    this.#part("sign").textContent = sign;
    this.#part("number").textContent = number;
    this.#part("unit").textContent = unit;
    this.#part("detail").textContent = detail;
    this.#part("detail").title = detail; // it may be cut
  }
}

/** One figure on the page: the number of each server, and a chart of all. */
class Tile {
  readonly #values: Value[];
  readonly #chart: FigureChart;

  constructor(readonly figure: Figure, looks: readonly Look[]) {
    const root = copyOf("tile");
    root.querySelector(".label")!.textContent = figure.label;
    this.#values = looks.map((look, i) => new Value(look, i));
    root.querySelector(".values")!.append(...this.#values.map((value) => value.root));
    byId("figures").append(root);
    this.#chart = new FigureChart(figure, root.querySelector("canvas")!, looks);
  }

  show(rounds: readonly Round[]): void {
    const last = rounds.at(-1);
    if (last !== undefined) this.#values.forEach((value, i) => value.show(this.figure, last[i]!));
    this.#chart.draw(rounds, theme());
  }
}

/** What is to be known of the figures, in words. Spoken is only what is new: figures within a sentence change each second. */
class Words {
  #kinds = "";

  constructor(readonly names: readonly string[]) {
    byId("none").textContent = names.length > 1
      ? "Both servers do what is asked of them, and nothing weakens the figures."
      : "The server does what is asked of it, and nothing weakens the figures.";
  }

  /** What is said of the last figures stays, but after the end the all-clear is hidden. */
  end(): void {
    byId("words").hidden = this.#kinds === "";
  }

  show(round: Round): void {
    const said = remarksOf(this.names, round);
    const kinds = said.map(({ id }) => id).join(" ");
    byId("remarks").replaceChildren(...said.map(({ id, text }) => {
      const item = document.createElement("li");
      item.textContent = text;
      item.className = id.endsWith("reason") ? "reason" : "finding";
      return item;
    }));
    byId("none").hidden = said.length > 0;
    byId("words").hidden = false;
    if (kinds === this.#kinds) return;
    this.#kinds = kinds;
    byId("news").textContent = said.map(({ text }) => text).join(" ");
  }
}

/** The page of one run. */
class Page {
  readonly #status: Status;
  readonly #words: Words;
  readonly #controls: Controls;
  readonly #tiles: Tile[];
  readonly #distribution: Distribution;
  readonly #load: LoadChart;
  readonly #names: string[];
  #rounds: Round[] = [];
  #late: ReturnType<typeof setTimeout> | undefined;

  constructor({ servers, limits }: Hello, status: Status) {
    const looks = looksOf(servers);
    this.#status = status;
    this.#names = servers.map(({ name }) => name);
    introduce(servers, looks);
    byId("turns").hidden = servers.length === 1;
    byId("run").hidden = false;
    this.#words = new Words(this.#names);
    this.#controls = new Controls(limits);
    this.#tiles = FIGURES.map((figure) => new Tile(figure, looks));
    this.#distribution = new Distribution(looks);
    this.#load = new LoadChart(looks);
    dark.addEventListener("change", () => this.#draw());
  }

  hello({ rounds, wanted }: Hello): void {
    this.#rounds = rounds;
    this.#load.begin(rounds);
    this.#controls.show(wanted);
    this.#status.show(`Starting ${this.#names.join(" and ")}…`, "waits");
    this.#draw();
    if (rounds.length > 0) this.#runs();
  }

  round(round: Round): void {
    this.#rounds = recent([...this.#rounds, round]);
    this.#load.add(round);
    this.#draw();
    this.#runs();
  }

  lost(): void {
    clearTimeout(this.#late);
  }

  end(): void {
    clearTimeout(this.#late);
    this.#controls.end();
    this.#words.end();
  }

  #runs(): void {
    this.#status.show("Running", "runs");
    clearTimeout(this.#late);
    const text = "Waiting: the last second is not over, for answers or connections are still missing.";
    this.#late = setTimeout(() => this.#status.show(text, "late"), LATE_MS);
  }

  #draw(): void {
    for (const tile of this.#tiles) tile.show(this.#rounds);
    const last = this.#rounds.at(-1);
    this.#distribution.show(last, theme());
    this.#load.draw(theme());
    if (last !== undefined) this.#words.show(last);
  }
}

const status = new Status();
let page: Page | undefined;
follow({
  hello(hello: Hello) {
    page ??= new Page(hello, status);
    page.hello(hello);
  },
  round: (round: Round) => page?.round(round),
}, {
  lost() {
    page?.lost();
    status.show("The command does not answer. Trying again…", "late");
  },
  end(ending: EndState) {
    page?.end();
    status.end(ending);
  },
});
