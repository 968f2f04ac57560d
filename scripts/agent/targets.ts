/**
 * Which servers may be loaded: this machine, and what the user names.
 *
 * @module
 */
import { BlockList, isIPv4, isIPv6 } from "node:net";
import { UsageError } from "../../lib/cli/errors.ts";
import { isLoopback } from "../../lib/load/generator.ts";

const BITS = { ipv4: 32, ipv6: 128 } as const;

const familyOf = (address: string) => isIPv4(address) ? "ipv4" : isIPv6(address) ? "ipv6" : null;

/** Networks in which a target may be. */
export class Targets {
  readonly #networks = new BlockList();

  /**
   * @param cidrs Such as `10.0.0.0/8` or `fd00::/8`; an address alone is a network of one.
   * @throws {UsageError} If one is no network.
   */
  constructor(readonly cidrs: readonly string[]) {
    for (const cidr of cidrs) {
      const [address = "", bits, more] = cidr.split("/");
      const family = familyOf(address);
      const length = family === null ? 0 : bits === undefined ? BITS[family] : Number(bits);
      const isNetwork = family !== null && more === undefined && /^\d+$/.test(bits ?? "0") && length <= BITS[family];
      if (!isNetwork) throw new UsageError(`--allow-target ${cidr} is no network such as 10.0.0.0/8.`);
      this.#networks.addSubnet(address, length, family);
    }
  }

  /** The first address that is neither this machine nor allowed; null if there is none. */
  forbidden(addresses: readonly string[]): string | null {
    return addresses.find((address) => {
      const family = familyOf(address);
      return family === null || !isLoopback(address) && !this.#networks.check(address, family);
    }) ?? null;
  }
}
