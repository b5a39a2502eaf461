/** The way through an egress proxy, before the first byte of SMTP: a SOCKS5 client or a PROXY header. Pure; refusals are steps. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/** The proxy that a source's connections go through. */
export interface Hop {
  readonly protocol: "SOCKS5" | "PROXYv2";
  readonly host: string;
  readonly port: number;
  /** SOCKS5: RFC 1929; absent = none is offered. */
  readonly login?: { readonly username: string; readonly password: string };
  /** The proxy's address to send from: of SOCKS5 asked for as `username@address`, of PROXYv2 the header's source. */
  readonly address?: string;
  /** Until the proxy is reached and has let us in. */
  readonly connectMs: number;
}

export type HopStep =
  | { readonly kind: "wait" }
  /** `reached`: the proxy has let us in, what follows is up to the destination. */
  | { readonly kind: "write"; readonly bytes: Buffer; readonly reached: boolean }
  /** Connected: `rest` came behind it; `address` = where the proxy sends from, "" = it did not say. */
  | { readonly kind: "through"; readonly rest: Buffer; readonly address: string }
  /** `byProxy`: it says nothing of the destination. */
  | { readonly kind: "refused"; readonly byProxy: boolean; readonly text: string };

export interface Destination {
  readonly address: string;
  readonly port: number;
}

/** A reply to CONNECT is at most 262 bytes; what is longer without an end is no SOCKS. */
const maxReplyBytes = 512;

/** RFC 1928 §6. */
const replyTexts: Readonly<Record<number, string>> = {
  1: "general failure",
  2: "destination not allowed",
  3: "network unreachable",
  4: "host unreachable",
  5: "connection refused",
  6: "timed out",
  7: "command not supported",
  8: "address type not supported",
};
/** Those that speak of the destination. */
const destinationReplies = new Set([3, 4, 5, 6]);

/** One conversation with a SOCKS5 proxy: `start`, then `push` with what comes, until through or refused. */
export class SocksClient {
  readonly #hop: Hop;
  readonly #destination: Destination;
  #expected: "method" | "login" | "reply" | "over" = "method";
  #held: Buffer = Buffer.alloc(0);

  constructor(hop: Hop, destination: Destination) {
    this.#hop = hop;
    this.#destination = destination;
  }

  start(): Buffer {
    return Buffer.from([5, 1, this.#hop.login === undefined ? 0 : 2]);
  }

  push(chunk: Buffer): HopStep {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const held = this.#held;
    switch (this.#expected) {
      case "method":
        return held.length < 2 ? { kind: "wait" } : this.#method(held);
      case "login":
        return held.length < 2 ? { kind: "wait" } : this.#login(held);
      case "reply":
        return this.#reply(held);
      case "over":
        return { kind: "wait" };
      default:
        return this.#expected satisfies never;
    }
  }

  #method(held: Buffer): HopStep {
    const { login, address } = this.#hop;
    if (held[0] !== 5) return this.#refuse(`it does not speak SOCKS5, it says ${hex(held)}`);
    // Nothing was asked yet that more bytes could answer.
    if (held.length > 2) return this.#refuse("it says more than it was asked");
    this.#held = Buffer.alloc(0);
    if (held[1] === 0 && login === undefined) return this.#ask();
    if (held[1] !== 2 || login === undefined)
      return this.#refuse(login === undefined ? "it wants a login" : "it takes no login");
    this.#expected = "login";
    const username = Buffer.from(address === undefined ? login.username : `${login.username}@${address}`);
    const password = Buffer.from(login.password);
    const bytes = Buffer.concat([
      Buffer.from([1, username.length]),
      username,
      Buffer.from([password.length]),
      password,
    ]);
    return { kind: "write", bytes, reached: false };
  }

  #login(held: Buffer): HopStep {
    if (held[1] !== 0) return this.#refuse("it refuses the login");
    if (held.length > 2) return this.#refuse("it says more than it was asked");
    this.#held = Buffer.alloc(0);
    return this.#ask();
  }

  #ask(): HopStep {
    this.#expected = "reply";
    const { address, port } = this.#destination;
    if (isIP(address) === 0) return this.#refuse(`it is asked for ${JSON.stringify(address)}, no address`);
    const bytes = Buffer.concat([Buffer.from([5, 1, 0]), socksAddress(address), portBytes(port)]);
    return { kind: "write", bytes, reached: true };
  }

  #reply(held: Buffer): HopStep {
    const code = held[1];
    if (held[0] !== 5) return this.#refuse(`it does not speak SOCKS5, it says ${hex(held)}`);
    if (code === undefined) return { kind: "wait" };
    // The address behind a refusal says nothing, and some leave it out.
    if (code !== 0) return this.#refuse(replyTexts[code] ?? `reply ${code}`, !destinationReplies.has(code));
    const bound = boundAddress(held);
    if (bound === "malformed") return this.#refuse("its reply is malformed");
    if (bound === undefined)
      return held.length > maxReplyBytes ? this.#refuse("its reply has no end") : { kind: "wait" };
    this.#expected = "over";
    return { kind: "through", rest: held.subarray(bound.length), address: bound.address };
  }

  #refuse(text: string, byProxy = true): HopStep {
    this.#expected = "over";
    const { host, port } = this.#hop;
    return { kind: "refused", byProxy, text: `proxy ${host}:${port}: ${text}` };
  }
}

/** ATYP and address, as RFC 1928 §5 writes them. */
function socksAddress(address: string): Buffer {
  const bytes = Buffer.from(ipaddr.parse(address).toByteArray());
  return Buffer.concat([Buffer.from([bytes.length === 4 ? 1 : 4]), bytes]);
}

function portBytes(port: number): Buffer {
  return Buffer.from([port >> 8, port & 255]);
}

function boundAddress(
  held: Buffer,
): { readonly address: string; readonly length: number } | "malformed" | undefined {
  const type = held[3];
  if (type === undefined) return undefined;
  const size = type === 1 ? 4 : type === 4 ? 16 : type === 3 ? 1 + (held[4] ?? 255) : 0;
  if (size === 0) return "malformed";
  const length = 4 + size + 2;
  if (held.length < length) return undefined;
  if (type === 3) return { address: held.toString("latin1", 5, 4 + size), length };
  return { address: ipaddr.fromByteArray([...held.subarray(4, 4 + size)]).toString(), length };
}

function hex(bytes: Buffer): string {
  return bytes.subarray(0, 8).toString("hex");
}

const proxySignature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/**
 * The header of the PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt §2.2): sent by `source`, for `destination`.
 * @returns undefined when both are not of one family
 */
export function proxyHeader(source: string, destination: Destination): Buffer | undefined {
  if (isIP(source) === 0 || isIP(source) !== isIP(destination.address)) return undefined;
  const addresses = Buffer.concat([
    Buffer.from(ipaddr.parse(source).toByteArray()),
    Buffer.from(ipaddr.parse(destination.address).toByteArray()),
    // The port that the proxy sends from is its own choice.
    portBytes(0),
    portBytes(destination.port),
  ]);
  const family = isIP(source) === 4 ? 0x11 : 0x21;
  return Buffer.concat([proxySignature, Buffer.from([0x21, family]), portBytes(addresses.length), addresses]);
}
