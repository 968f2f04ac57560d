/** What the parts of the page find each other by. */
/// <reference lib="dom" />

/** An element that the page has. */
export const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
