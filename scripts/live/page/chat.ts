/**
 * The page of a chat, as it runs in the browser: it opens a WebSocket to the server, sends what is written, and shows all
 * that comes.
 *
 * @module
 */
/// <reference lib="dom" />
import { count } from "../../../lib/text/format.ts";
import type { ChatEvents, ChatHello } from "../wire.ts";
import { byId } from "./controls.ts";
import { follow } from "./follow.ts";
import { copyOf, introduce } from "./introduce.ts";
import { type Message, milliseconds, readMessage, writeMessage } from "./message.ts";
import { looksOf } from "./servers.ts";
import { type EndState, Status } from "./status.ts";

const MAX_SHOWN = 200; // messages; the oldest go
const AT_END_PX = 40; // so near to the end the list follows what comes

const self = crypto.randomUUID();
const now = () => performance.timeOrigin + performance.now();

/** The list of messages, and what is counted of them. */
class Room {
  readonly #list = byId("messages");
  #count = 0;

  show({ name, text, from, sent_ms }: Message): void {
    const afterMs = sent_ms === null ? null : now() - sent_ms;
    const item = copyOf("message");
    const isOwn = from === self;
    if (isOwn) item.classList.add("own");
    item.querySelector(".from")!.textContent = name === ""
      ? isOwn ? "You" : "Somebody"
      : isOwn
      ? `${name} (you)`
      : name;
    item.querySelector(".said")!.textContent = text;
    item.querySelector(".after")!.textContent = milliseconds(afterMs);
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    const follows = scrollHeight - scrollTop - clientHeight < AT_END_PX;
    this.#list.append(item);
    while (this.#list.childElementCount > MAX_SHOWN) this.#list.firstElementChild!.remove();
    if (follows) this.#list.scrollTop = this.#list.scrollHeight;
    byId("empty").hidden = true;
    byId("count").textContent = count(++this.#count);
    byId("delivery").textContent = milliseconds(afterMs);
    byId("delivery-detail").textContent = isOwn ? "from this page and back" : "from the page that sent to this one";
  }
}

/** The connection to the server. */
class Line {
  #socket: WebSocket | null = null;
  #isOver = false;

  constructor(readonly address: string, readonly room: Room, readonly status: Status) {
    byId("again").addEventListener("click", () => this.connect());
    byId<HTMLFormElement>("compose").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  connect(): void {
    const socket = this.#socket = new WebSocket(this.address);
    this.status.show("Connecting…", "waits");
    this.#enable();
    socket.addEventListener("open", () => {
      this.status.show("Connected", "runs");
      this.#enable();
    });
    socket.addEventListener("message", ({ data }) => this.room.show(readMessage(String(data))));
    socket.addEventListener("close", ({ code, reason }) => {
      if (this.#isOver || socket !== this.#socket) return;
      this.status.show(`The server has ended the connection: ${code}${reason === "" ? "" : `, ${reason}`}`, "late");
      this.#enable();
    });
  }

  end(): void {
    this.#isOver = true;
    this.#socket?.close();
    this.#enable();
  }

  #send(): void {
    const field = byId<HTMLInputElement>("text");
    if (this.#socket?.readyState !== WebSocket.OPEN || field.value === "") return;
    const name = byId<HTMLInputElement>("nick").value.trim();
    this.#socket.send(writeMessage({ name, text: field.value, from: self, sent_ms: now() }));
    field.value = "";
    field.focus();
  }

  #enable(): void {
    const state = this.#socket?.readyState;
    const isClosed = state === WebSocket.CLOSED || state === WebSocket.CLOSING;
    byId<HTMLButtonElement>("send").disabled = this.#isOver || state !== WebSocket.OPEN;
    byId<HTMLInputElement>("text").disabled = byId<HTMLInputElement>("nick").disabled = this.#isOver;
    byId("send").hidden = !this.#isOver && isClosed;
    byId("again").hidden = this.#isOver || !isClosed;
  }
}

const status = new Status();
let line: Line | undefined;
follow({
  hello({ server, socket }: ChatHello) {
    if (line !== undefined) return; // the stream was cut, and is back
    introduce([server], looksOf([server]));
    document.title = `${server.name} · C10K lab, chat`;
    byId("run").hidden = false;
    line = new Line(socket, new Room(), status);
    line.connect();
  },
  listeners({ open }: ChatEvents["listeners"]) {
    byId("listeners").textContent = open === null ? "–" : count(open);
  },
}, {
  lost() {}, // the connection to the server goes on, and says itself when it ends
  end(ending: EndState) {
    line?.end();
    status.end(ending);
  },
});
