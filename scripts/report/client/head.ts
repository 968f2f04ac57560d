/** Before anything is drawn: the reader's theme, and that there is a script. */
/// <reference lib="dom" />
import { restoreTheme } from "./theme.ts";

document.documentElement.classList.add("script");
restoreTheme();
