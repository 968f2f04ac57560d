/**
 * What the load generator asks for, as bytes.
 *
 * @module
 */
import type { EngineConfig, HeadName } from "./types.ts";

/**
 * The fields behind Host. Parsing them is a part of what a request costs a server, so what is measured depends on them: HTTP/1.1
 * demands no more than Host, an HTTP client sends some fields more, and a browser sends 400 bytes.
 */
const FIELDS: Record<HeadName, readonly string[]> = {
  minimal: [],
  client: ["User-Agent: c10k-lab", "Accept: */*", "Accept-Encoding: gzip, deflate", "Connection: keep-alive"],
  browser: [
    "Connection: keep-alive",
    'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
  ],
};
export const HEADS = Object.keys(FIELDS) as HeadName[];

/** The Host field: an IPv6 address stands in brackets (RFC 3986, section 3.2.2). */
const authority = ({ host, port }: Pick<EngineConfig, "host" | "port">) =>
  `${host.includes(":") ? `[${host}]` : host}:${port}`;

/** The bytes of a request for a path. */
export function requestFor(
  path: string,
  config: Pick<EngineConfig, "host" | "port" | "head" | "method">,
): Uint8Array<ArrayBuffer> {
  const lines = [`${config.method} ${path} HTTP/1.1`, `Host: ${authority(config)}`, ...FIELDS[config.head], "", ""];
  return new TextEncoder().encode(lines.join("\r\n"));
}
