/**
 * The protocol of the experiments once more, as slow and plain as can be: what a server must answer to a stream of bytes,
 * however it is cut. It shares nothing with any server, so a difference is an error of one of the two.
 *
 * @module
 */

/** What a server must answer to one request. */
export interface Expected {
  status: number;
  /** Whether the connection closes behind it, and the answer says so. */
  isLast: boolean;
}

const MAX_HEAD = 8192;
const MAX_WORK_US = 100_000;
const EMPTY_LINE = "\r\n", BLANK_LINE = "\r\n\r\n";
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// deno-lint-ignore no-control-regex -- the characters that no value may have
const FORBIDDEN = /[\x00-\x08\x0a-\x1f]/;

const refusal = (status: number): Expected => ({ status, isLast: true });

/**
 * The answers to a stream that ends with the end of the client's half.
 *
 * @param stream One character a byte.
 */
export function expectedAnswers(stream: string): Expected[] {
  const answers: Expected[] = [];
  for (let rest = stream;;) {
    const start = rest.startsWith(EMPTY_LINE) ? EMPTY_LINE.length : 0;
    const blank = rest.indexOf(BLANK_LINE, start);
    if (blank < 0 && rest.length < MAX_HEAD) return answers; // it is not complete
    const end = blank + BLANK_LINE.length;
    if (blank < 0 || end > MAX_HEAD) return [...answers, refusal(431)];
    const answer = answerTo(rest.slice(start, blank));
    answers.push(answer);
    if (answer.isLast) return answers;
    rest = rest.slice(end);
  }
}

/** The answer to one head, without its blank line. */
function answerTo(head: string): Expected {
  const [requestLine, ...lines] = head.split("\r\n");
  const words = requestLine!.split(" ");
  const [method, target, version] = words;
  const digits = /^HTTP\/([0-9])\.([0-9])$/.exec(version ?? "");
  if (words.length !== 3 || !TOKEN.test(method!) || !/^[\x21-\x7e]+$/.test(target!) || digits === null) {
    return refusal(400);
  }
  const fields = lines.map(parseField);
  if (fields.includes(null)) return refusal(400);
  const values = (name: string) => fields.filter((field) => field!.name === name).map((field) => field!.value);
  const lengths = values("content-length");
  if (lengths.some((length) => !/^[0-9]+$/.test(length))) return refusal(400);
  if (digits[1] !== "1") return refusal(505);
  const hasBody = lengths.some((length) => BigInt(length) > 0n) || values("transfer-encoding").length > 0;
  const isClosing = values("connection").flatMap((value) => value.split(",")).some((item) =>
    trim(item).toLowerCase() === "close"
  );
  return { status: statusOf(method!, target!), isLast: digits[2] === "0" || hasBody || isClosing };
}

function parseField(line: string): { name: string; value: string } | null {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0)), value = line.slice(colon + 1);
  return TOKEN.test(name) && !FORBIDDEN.test(value) ? { name: name.toLowerCase(), value: trim(value) } : null;
}

/** Without the spaces and tabs around it. `String.trim` would take other characters too. */
const trim = (text: string) => text.replace(/^[ \t]+/, "").replace(/[ \t]+$/, "");

function statusOf(method: string, target: string): number {
  if (method !== "GET") return 405;
  const [path] = target.split("?");
  const absolute = /^http:\/\/[^/]+(.*)$/i.exec(path!);
  const place = absolute === null ? path! : absolute[1] || "/";
  if (place === "/") return 200;
  const us = /^\/work\/([0-9]{1,6})$/.exec(place);
  return us !== null && Number(us[1]) <= MAX_WORK_US ? 200 : 404;
}
