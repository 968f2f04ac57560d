/** The part of `@b-fuze/deno-dom` that is used here, from linkedom: parses HTML into a document. */
export { DOMParser } from "linkedom";
