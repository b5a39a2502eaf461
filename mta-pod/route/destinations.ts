/** Which addresses mail may be sent to: public ones, and what the pool allows by CIDR. Pure; never throws. */
import ipaddr from "ipaddr.js";

type Address = ReturnType<typeof ipaddr.process>;

export interface Destinations {
  /** False for text that is no address. */
  isAllowed(address: string): boolean;
}

/** CIDRs that cannot be read are left out: the compiler has refused them before. */
export function createDestinations(allowed: readonly string[]): Destinations {
  const ranges = allowed.filter((cidr) => ipaddr.isValidCIDR(cidr)).map((cidr) => ipaddr.parseCIDR(cidr));
  return {
    isAllowed(text) {
      if (!ipaddr.isValid(text)) return false;
      const address = effective(ipaddr.process(text));
      const isListed = ranges.some(
        ([base, bits]) => base.kind() === address.kind() && address.match(base, bits),
      );
      return isListed || isPublic(address);
    },
  };
}

/** What is reached behind the address: IPv4 in its mapped form, or behind the NAT64 of an IPv6-only cluster. */
function effective(address: Address): Address {
  if (address instanceof ipaddr.IPv4) return address;
  const [base, bits] = nat64;
  return address.match(base, bits) ? new ipaddr.IPv4(address.toByteArray().slice(12)) : address;
}

const nat64 = ipaddr.IPv6.parseCIDR("64:ff9b::/96");

function isPublic(address: Address): boolean {
  if (address.range() !== "unicast") return false;
  // Whatever the table of ranges does not know yet: global unicast is 2000::/3 (RFC 4291 2.4, IANA).
  return address instanceof ipaddr.IPv4 || ((address.toByteArray()[0] ?? 0) & 0xe0) === 0x20;
}
