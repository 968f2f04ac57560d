/** The constants and struct kevent of kqueue.ts: of all systems against what is written down, of this one against its C compiler. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { isInstalled } from "../lib/catalogue/tools.ts";

const SOURCE = Deno.readTextFileSync(new URL("kqueue.ts", import.meta.url));
const SECTION = /^\/\/ ---- Kernel ABI.*?(?=^\/\/ ---- Limits)/ms.exec(SOURCE)![0];
const NAMES = [...SECTION.matchAll(/\b([A-Z][A-Z_]+) = /g)].map((match) => match[1]!);
// Not those of a header, no more than the _WORDs.
const OWN_NAMES = "LIBRARY ACCEPT ACCEPT_FLAGS KEEP_IDLE USER_TIMEOUT COARSE_CLOCK FLAGS_SHIFT".split(" ").concat(
  "TIMESPEC_SECONDS TIMESPEC_NANOSECONDS".split(" "),
);

/** Runs the section of the constants alone, as a module, so that no library is opened and any system can be looked at. */
async function constantsOn(os: string): Promise<Record<string, number>> {
  const code = `${SECTION.replaceAll("Deno.build.os", JSON.stringify(os))}\nexport { ${NAMES.join(", ")} };`;
  return await import(`data:application/typescript,${encodeURIComponent(code)}`);
}

/** The fields of struct kevent and their bytes, in the order in which all headers have them. */
const FIELDS = Object.entries({ ident: 8, filter: 2, flags: 2, fflags: 4, data: 8, udata: 8 });
/** What comes behind: uint64_t ext[4], or nothing. */
const EXT_BYTES: Record<string, number> = {
  linux: 0, // <sys/event.h> of libkqueue, 2.3 and 2.7
  darwin: 0, // bsd/sys/event.h of xnu
  freebsd: 32, // sys/sys/event.h of FreeBSD, from 12 on
};

/** What the headers of macOS (xnu: bsd/sys, Libc: time.h) and of FreeBSD (sys/sys) say. */
const WRITTEN: Record<string, Record<string, number>> = {
  darwin: {
    ...{ SOL_SOCKET: 0xffff, SO_REUSEADDR: 0x4, MSG_NOSIGNAL: 0x80000, O_NONBLOCK: 0x4, F_SETFL: 4, SHUT_WR: 1 },
    ...{ EINTR: 4, EAGAIN: 35, ECONNABORTED: 53, ENETDOWN: 50, ENETUNREACH: 51, EHOSTDOWN: 64, EHOSTUNREACH: 65 },
    ...{ EPROTO: 100, ENOPROTOOPT: 42, EOPNOTSUPP: 102, CLOCK_THREAD_CPUTIME_ID: 16, SO_KEEPALIVE: 8 },
    KEEP_IDLE: 0x10, // TCP_KEEPALIVE
    ...{ TCP_KEEPINTVL: 0x101, TCP_KEEPCNT: 0x102 },
    COARSE_CLOCK: 5, // CLOCK_MONOTONIC_RAW_APPROX
    ACCEPT_FLAGS: 0, // there is no accept4(2): an accepted socket is as the listener
  },
  freebsd: {
    ...{ SOL_SOCKET: 0xffff, SO_REUSEADDR: 0x4, MSG_NOSIGNAL: 0x20000, O_NONBLOCK: 0x4, F_SETFL: 4, SHUT_WR: 1 },
    ...{ EINTR: 4, EAGAIN: 35, ECONNABORTED: 53, ENETDOWN: 50, ENETUNREACH: 51, EHOSTDOWN: 64, EHOSTUNREACH: 65 },
    ...{ EPROTO: 92, ENOPROTOOPT: 42, EOPNOTSUPP: 45, CLOCK_THREAD_CPUTIME_ID: 14, SO_KEEPALIVE: 8 },
    ...{ KEEP_IDLE: 0x100, TCP_KEEPINTVL: 0x200, TCP_KEEPCNT: 0x400 },
    COARSE_CLOCK: 12, // CLOCK_MONOTONIC_FAST
    ACCEPT_FLAGS: 0x20000000 + 0x10000000, // SOCK_NONBLOCK | SOCK_CLOEXEC
  },
};

Deno.test("the words of struct kevent stand where the compilers of all systems put its fields", async () => {
  const starts: Record<string, number> = {};
  let end = 0;
  for (const [name, bytes] of FIELDS) {
    starts[name] = Math.ceil(end / bytes) * bytes; // the natural alignment
    end = starts[name] + bytes;
  }
  for (const [os, extBytes] of Object.entries(EXT_BYTES)) {
    const { KEVENT_WORDS, FILTER_WORD, FFLAGS_WORD, DATA_WORD } = await constantsOn(os);
    assertEquals(KEVENT_WORDS! * 4, end + extBytes, os);
    assertEquals([starts.ident, starts.filter, starts.flags], [0, FILTER_WORD! * 4, FILTER_WORD! * 4 + 2], os);
    assertEquals([starts.fflags, starts.data], [FFLAGS_WORD! * 4, DATA_WORD! * 4], os);
  }
});

Deno.test("the constants of macOS and FreeBSD are those of their headers", async () => {
  for (const [os, written] of Object.entries(WRITTEN)) {
    const constants = await constantsOn(os);
    for (const [name, value] of Object.entries(written)) assertEquals(constants[name], value, `${name} on ${os}`);
  }
});

/** A C program that prints what its headers say, `NAME value` a line. Without <sys/event.h> it leaves out what is in there. */
function program(names: string[]): string {
  const print = (name: string, value = name) => `printf("${name} %lld\\n", (long long)(${value}));\n`;
  const isOfEvents = (name: string) => /^EV(FILT)?_/.test(name);
  const word = (field: string) => `offsetof(struct kevent, ${field}) / 4`;
  const headers = ["errno", "fcntl", "netinet/in", "netinet/tcp", "stddef", "stdio", "sys/socket", "sys/types", "time"];
  return `#define _GNU_SOURCE
${headers.map((header) => `#include <${header}.h>\n`).join("")}
#if __has_include(<sys/event.h>)
#include <sys/event.h>
#endif
int main(void) {
  ${names.filter((name) => !isOfEvents(name)).map((name) => print(name)).join("  ")}
#ifdef SOCK_NONBLOCK
  ${print("ACCEPT_FLAGS", "SOCK_NONBLOCK | SOCK_CLOEXEC")}
#endif
#ifdef EV_ADD
  ${names.filter(isOfEvents).map((name) => print(name)).join("  ")}
  ${print("KEVENT_WORDS", "sizeof(struct kevent) / 4")}
  ${print("FILTER_WORD", word("filter"))}
  ${print("FFLAGS_WORD", word("fflags"))}
  ${print("DATA_WORD", word("data"))}
#endif
}
`;
}

/** Compiles and runs it. libkqueue keeps its headers in a folder of its own. */
async function ask(names: string[]): Promise<Record<string, number>> {
  const folder = await Deno.makeTempDir();
  const run = async (command: string, args: string[]) => {
    const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd: folder }).output();
    assert(success, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  };
  try {
    await Deno.writeTextFile(join(folder, "ask.c"), program(names));
    await run("cc", ["-I/usr/include/kqueue", "-I/usr/local/include/kqueue", "-o", "ask", "ask.c"]);
    const lines = (await run(join(folder, "ask"), [])).trim().split("\n").map((line) => line.split(" "));
    return Object.fromEntries(lines.map(([name, value]) => [name, Number(value)]));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name: "the constants of this system are those of its C compiler",
  ignore: Deno.build.os === "windows" || !await isInstalled("cc"),
  async fn() {
    const constants = await constantsOn(Deno.build.os);
    const names = NAMES.filter((name) => !OWN_NAMES.includes(name) && !/_WORDS?$/.test(name));
    const answers = await ask(names);
    assert("SOL_SOCKET" in answers && "EAGAIN" in answers, Object.keys(answers).join(" "));
    for (const [name, value] of Object.entries(answers)) assertEquals(constants[name], value, name);
  },
});
