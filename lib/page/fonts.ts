/**
 * The font that pages and charts bring along: a system without fonts would show no text, and no error.
 *
 * @module
 */
import regular from "@fontsource/inter/files/inter-latin-400-normal.woff2" with { type: "bytes" };
import semibold from "@fontsource/inter/files/inter-latin-600-normal.woff2" with { type: "bytes" };

/** Inter as WOFF2, by weight. */
export const INTER: Readonly<Record<400 | 600, Uint8Array<ArrayBuffer>>> = { 400: regular, 600: semibold };
