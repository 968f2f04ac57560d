/**
 * The messages of a chat, as JSON in a text frame. Other clients may send what they like: that is a text, too.
 *
 * @module
 */

/** One message. */
export interface Message {
  /** Of who sent it; may be empty. */
  name: string;
  text: string;
  /** Which page sent it; empty: no page. */
  from: string;
  /** When it was sent, in ms since 1970; null: nobody said. */
  sent_ms: number | null;
}

export const writeMessage = (message: Message): string => JSON.stringify(message);

/** Reads what has come. What is no message of a page is shown as it is. */
export function readMessage(data: string): Message {
  const plain = { name: "", text: data, from: "", sent_ms: null };
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return plain;
  }
  if (typeof value !== "object" || value === null) return plain;
  const { name, text, from, sent_ms } = value as Record<string, unknown>;
  const isMessage = [name, text, from].every((part) => typeof part === "string") && Number.isFinite(sent_ms);
  return isMessage ? { name, text, from, sent_ms } as Message : plain;
}

/** How long a delivery took; a dash where nobody knows, also where the clocks of two pages do not agree. */
export const milliseconds = (ms: number | null): string => ms === null || ms < 0 ? "–" : `${ms.toFixed(1)} ms`;
