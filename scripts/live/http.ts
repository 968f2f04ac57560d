/**
 * The HTTP side of the command `live`: who may ask for what.
 *
 * It listens on loopback, but every page in the reader's browser can send requests there. So the Host header must name
 * loopback (a foreign name that was made to resolve to 127.0.0.1 does not: DNS rebinding), and what has an effect must come
 * from its own page (Origin and Sec-Fetch-Site, which a script cannot set: cross-site request forgery).
 *
 * @module
 */
import type { Wanted } from "../../lib/run/watch.ts";
import { type Limits, readWanted } from "./wire.ts";

/** A file of the page. */
export interface Asset {
  type: string;
  body: string | Uint8Array<ArrayBuffer>;
}

/** What the requests are about. */
export interface LiveContext {
  /** By path; `/` is the page. */
  assets: Readonly<Record<string, Asset>>;
  /** The stream of events for a page that has come. */
  join: () => ReadableStream<Uint8Array>;
  /** Another place that the page may connect to, such as `ws://127.0.0.1:43121`. */
  connectsTo?: string;
  /** Missing where there is no load to change. */
  load?: LoadContext;
}

/** What a page can change. */
export interface LoadContext {
  limits: Limits;
  /** The page asks for another load. */
  onWanted: (wanted: Wanted) => void;
}

const MAX_BODY_BYTES = 1024; // what a page wants has 50

/** What a page may do: load its own files, and connect to where it came from, and to one place more. */
const policy = (connectsTo = "") =>
  "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src data:; " +
  `connect-src ${`'self' ${connectsTo}`.trim()}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

const HEADERS = {
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
};

const answer = (body: BodyInit | null, status = 200, type = "text/plain; charset=utf-8", connectsTo?: string) =>
  new Response(body, {
    status,
    headers: { ...HEADERS, "Content-Security-Policy": policy(connectsTo), "Content-Type": type },
  });

/** The names of this machine to itself, on any port: a tunnel or a proxy may listen on another one. */
const LOOPBACK = /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/;

/** Why a request is refused; null if it is not. */
function refusal({ method, headers }: Request, path: string): string | null {
  const host = headers.get("host");
  const origin = headers.get("origin");
  const site = headers.get("sec-fetch-site");
  if (host === null || !LOOPBACK.test(host)) return `Host ${host} is not this server: use http://127.0.0.1.`;
  const isCustom = origin === `http://${host}`;
  if (origin !== null && !isCustom) return `Origin ${origin} is not this page.`;
  if (method === "POST" && !isCustom) return "There is no Origin: only the page of this server may change the load.";
  const isForeign = site !== null && site !== "same-origin" && site !== "none";
  return path !== "/" && isForeign ? `Sec-Fetch-Site ${site}: another page asks.` : null;
}

/** Changes the load. */
async function change(request: Request, { limits, onWanted }: LoadContext): Promise<Response> {
  const length = Number(request.headers.get("content-length") ?? NaN);
  if (!(length <= MAX_BODY_BYTES)) return answer(`The body must have ${MAX_BODY_BYTES} bytes at most.`, 413);
  const wanted = readWanted(await request.text(), limits);
  if ("wrong" in wanted) return answer(`Cannot change the load: ${wanted.wrong}.`, 400);
  onWanted(wanted);
  return answer(null, 204);
}

/** Answers a request. */
export async function respond(request: Request, context: LiveContext): Promise<Response> {
  const path = new URL(request.url).pathname;
  const refused = refusal(request, path);
  if (refused !== null) return answer(refused, 403);
  const load = path === "/wanted" ? context.load : undefined;
  const allowed = load !== undefined ? "POST" : "GET";
  if (request.method !== allowed) return answer(`${request.method} ${path}: use ${allowed}.`, 405);
  if (load !== undefined) return await change(request, load);
  if (path === "/frames") return answer(context.join(), 200, "text/event-stream");
  const asset = Object.hasOwn(context.assets, path) ? context.assets[path] : undefined;
  return asset === undefined
    ? answer(`There is no ${path}.`, 404)
    : answer(asset.body, 200, asset.type, context.connectsTo);
}
