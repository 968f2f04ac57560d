/**
 * The controls of the live page: sliders of round numbers, number fields for all others, and a switch between the loops.
 *
 * @module
 */
/// <reference lib="dom" />
import { count } from "../../../lib/text/format.ts";
import type { Wanted } from "../../../lib/run/watch.ts";
import type { Limits } from "../wire.ts";
import { nearestStep, roundSteps } from "./scale.ts";

const SETTLE_MS = 150; // a slider that is dragged is asked about once it rests
const DEFAULT_RATE_PER_S = 1000;

export const byId = <E extends HTMLElement>(id: string): E => {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no #${id}.`);
  return element as E;
};

/** A slider and a number field that show the same value. */
class Dial {
  readonly #slider: HTMLInputElement;
  readonly #field: HTMLInputElement;
  readonly #steps: number[];
  readonly #unit: string;

  constructor(id: string, max: number, unit: string, onChange: () => void) {
    this.#slider = byId(`${id}-slider`);
    this.#field = byId(`${id}-number`);
    this.#steps = roundSteps(max);
    this.#unit = unit;
    this.#slider.max = String(this.#steps.length - 1);
    this.#field.max = String(max);
    this.#drawScale(byId(`${id}-scale`));
    this.#slider.addEventListener("input", () => {
      this.#field.value = String(this.#steps[this.#slider.valueAsNumber]!);
      this.#speak();
      onChange();
    });
    this.#field.addEventListener("change", () => {
      if (this.value >= 1) this.#follow();
      onChange();
    });
  }

  get value(): number {
    return this.#field.valueAsNumber;
  }

  /** Shows a value that came from elsewhere, unless somebody is writing another one. */
  set value(value: number) {
    if (document.activeElement === this.#field && document.hasFocus()) return;
    this.#field.value = String(value);
    this.#follow();
  }

  set isEnabled(is: boolean) {
    this.#slider.disabled = this.#field.disabled = !is;
  }

  #follow(): void {
    this.#slider.value = String(nearestStep(this.#steps, this.value));
    this.#speak();
  }

  #speak(): void {
    this.#slider.setAttribute("aria-valuetext", `${count(this.value)} ${this.#unit}`);
  }

  /** The powers of ten below the slider, each below its step. */
  #drawScale(scale: HTMLElement): void {
    for (const [i, step] of this.#steps.entries()) {
      if (!Number.isInteger(Math.log10(step))) continue;
      const mark = document.createElement("span");
      mark.textContent = count(step);
      mark.style.setProperty("--at", String(i / (this.#steps.length - 1))); // the style of an element passes the policy
      scale.append(mark);
    }
  }
}

/** All controls together. */
export class Controls {
  readonly #connections: Dial;
  readonly #rate: Dial;
  readonly #isClosed = byId<HTMLInputElement>("closed");
  readonly #refusal = byId("refusal");
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(limits: Limits) {
    const onChange = () => this.#changed();
    this.#connections = new Dial("connections", limits.connections, "connections", onChange);
    this.#rate = new Dial("rate", limits.rate_per_s, "requests a second", onChange);
    this.#rate.value = DEFAULT_RATE_PER_S;
    this.#isClosed.addEventListener("change", onChange);
  }

  /** Shows what is wanted; not while the page is about to say something newer. */
  show({ connections, rate_per_s }: Wanted): void {
    if (this.#timer !== undefined) return;
    this.#connections.value = connections;
    this.#isClosed.checked = rate_per_s === null;
    if (rate_per_s !== null) this.#rate.value = rate_per_s;
    this.#enable();
  }

  /** The run is over: nothing can be changed any more. */
  end(): void {
    this.#isOver = true;
    this.#enable();
  }

  #enable(): void {
    this.#connections.isEnabled = !this.#isOver;
    this.#isClosed.disabled = this.#isOver;
    this.#rate.isEnabled = !this.#isOver && !this.#isClosed.checked;
  }

  #changed(): void {
    this.#enable();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#send();
    }, SETTLE_MS);
  }

  async #send(): Promise<void> {
    const wanted: Wanted = {
      connections: this.#connections.value,
      rate_per_s: this.#isClosed.checked ? null : this.#rate.value,
    };
    const response = await fetch("/wanted", { method: "POST", body: JSON.stringify(wanted) }).catch(() => null);
    if (response === null) this.#refusal.textContent = "The command does not answer: the load is as it was.";
    else this.#refusal.textContent = response.ok ? "" : await response.text();
  }
}
