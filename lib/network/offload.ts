/**
 * Switches off what a network card would do for the kernel: checksums, and large segments and their division. Between two
 * ends of a veth nobody does it, so a program that reads frames would see wrong checksums. Run in a network namespace:
 * `deno run --allow-ffi offload.ts INTERFACE`.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SIOCETHTOOL = 0x8946; // <linux/sockios.h>
const ETHTOOL_STXCSUM = 0x17; // <linux/ethtool.h>: struct ethtool_value { u32 cmd; u32 data; }
const ETHTOOL_STSO = 0x1f;
const ETHTOOL_SGSO = 0x24;
const ETHTOOL_SGRO = 0x2c;
const IFREQ_BYTES = 40; // 16 bytes of name, then a pointer
const IFREQ_POINTER = 16;

/** Switches the offloads of an interface off. */
function switchOff(name: string): void {
  const libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    ioctl: { parameters: ["i32", "i32", "buffer"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  }).symbols;
  const must = (result: number, action: string) => {
    if (result >= 0) return result;
    const code = new Deno.UnsafePointerView(libc.__errno_location()!).getInt32();
    throw new Error(`Cannot ${action}: ${getSystemErrorName(-code)}`);
  };
  const socket = must(libc.socket(AF_INET, SOCK_DGRAM, 0), "create a socket");
  for (const command of [ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO]) {
    const value = Uint32Array.of(command, 0);
    const request = new Uint8Array(IFREQ_BYTES);
    request.set(new TextEncoder().encode(name));
    const address = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(value)));
    new DataView(request.buffer).setBigUint64(IFREQ_POINTER, address, true);
    must(libc.ioctl(socket, SIOCETHTOOL, request), `switch off offload 0x${command.toString(16)} of ${name}`);
  }
}

if (import.meta.main) switchOff(Deno.args[0]!);
