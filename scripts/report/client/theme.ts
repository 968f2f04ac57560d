/**
 * Light or dark: what the reader chose, or else what the system says.
 *
 * @module
 */
/// <reference lib="dom" />
import type { Theme } from "../../../lib/charts/theme.ts";

const KEY = "c10k-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Runs `use` on the storage of this page; a browser may refuse it, as some do for files: then nothing is remembered. */
function withStorage<T>(use: (storage: Storage) => T): T | null {
  try {
    return use(localStorage);
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

const isTheme = (value: unknown): value is Theme => value === "light" || value === "dark";

/** The theme that is shown. */
export function theme(): Theme {
  const chosen = document.documentElement.dataset["theme"];
  return isTheme(chosen) ? chosen : dark.matches ? "dark" : "light";
}

/** Shows what was chosen before. */
export function restoreTheme(): void {
  const chosen = withStorage((storage) => storage.getItem(KEY));
  if (isTheme(chosen)) document.documentElement.dataset["theme"] = chosen;
}

/** Makes a button that changes the theme and remembers it; `changed` hears of every change, the system's too. */
export function themeButton(button: HTMLButtonElement, changed: () => void): void {
  const say = () => button.textContent = theme() === "dark" ? "Light theme" : "Dark theme";
  button.addEventListener("click", () => {
    const next: Theme = theme() === "dark" ? "light" : "dark";
    document.documentElement.dataset["theme"] = next;
    withStorage((storage) => storage.setItem(KEY, next));
    say();
    changed();
  });
  dark.addEventListener("change", () => (say(), changed()));
  say();
}
