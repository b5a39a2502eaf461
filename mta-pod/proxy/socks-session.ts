/** The server's side of one SOCKS5 conversation (RFC 1928, login by RFC 1929), up to the CONNECT it asks for. Pure; bounded. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

export interface Login {
  readonly username: string;
  readonly password: string;
}

export type SocksStep =
  | { readonly kind: "wait" }
  | { readonly kind: "write"; readonly bytes: Buffer }
  /** Connect there, then write `connectReply`; `from` = the address to send from that the login asked for. */
  | { readonly kind: "connect"; readonly address: string; readonly port: number; readonly from?: string }
  /** Write the bytes and close. */
  | { readonly kind: "refused"; readonly bytes: Buffer; readonly reason: "protocol" | "login" };

/** RFC 1928 §6, those that we give. */
export const replies = {
  done: 0,
  failure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  refused: 5,
  timedOut: 6,
  commandNotSupported: 7,
  addressNotSupported: 8,
} as const;
export type ReplyCode = (typeof replies)[keyof typeof replies];

export interface SocksSession {
  /** What came from the client; after "connect" or "refused" nothing more is understood. */
  push(chunk: Buffer): SocksStep;
}

/** `isLogin` decides on a username without its `@address`, and on the password, in constant time. */
export function createSocksSession(isLogin: (login: Login) => boolean): SocksSession {
  let expected: (held: Buffer) => Understood | undefined = methods;
  let held = Buffer.alloc(0);
  let from: string | undefined;

  const login = (bytes: Buffer): Understood | undefined => {
    const parsed = loginIn(bytes);
    if (parsed === undefined || parsed === "malformed")
      return parsed === undefined ? undefined : refused("protocol", [1, 1]);
    const found = accepted(parsed, isLogin);
    if (found === undefined) return refused("login", [1, 1]);
    from = found.from;
    expected = request;
    return { length: parsed.length, step: { kind: "write", bytes: Buffer.from([1, 0]) } };
  };

  const request = (bytes: Buffer): Understood | undefined => {
    const parsed = requestIn(bytes);
    if (parsed === undefined) return undefined;
    if (typeof parsed === "number") return { length: 0, step: refusal(parsed) };
    const { address, port, length } = parsed;
    return { length, step: { kind: "connect", address, port, ...(from === undefined ? {} : { from }) } };
  };

  function methods(bytes: Buffer): Understood | undefined {
    const count = bytes[1];
    if (bytes[0] !== 5) return refused("protocol", []);
    if (count === undefined || bytes.length < 2 + count) return undefined;
    // No open proxy: nobody is let in without a login.
    if (!bytes.subarray(2, 2 + count).includes(2)) return refused("login", [5, 0xff]);
    expected = login;
    return { length: 2 + count, step: { kind: "write", bytes: Buffer.from([5, 2]) } };
  }

  return {
    push(chunk) {
      held = Buffer.concat([held, chunk]);
      const understood = expected(held);
      if (understood === undefined) return { kind: "wait" };
      const { step, length } = understood;
      // Each step is answered before the next is sent; a client that does not wait is none of ours.
      if (length < held.length && step.kind !== "refused") return refused("protocol", []).step;
      held = Buffer.alloc(0);
      return step;
    },
  };
}

/** @param bound where the connection is sent from */
export function connectReply(code: ReplyCode, bound?: { address: string; port: number }): Buffer {
  const address = bound !== undefined && isIP(bound.address) > 0 ? bound.address : "0.0.0.0";
  const bytes = ipaddr.process(address).toByteArray();
  const port = bound?.port ?? 0;
  return Buffer.from([5, code, 0, bytes.length === 4 ? 1 : 4, ...bytes, port >> 8, port & 255]);
}

interface Understood {
  /** Bytes of the step. */
  readonly length: number;
  readonly step: SocksStep;
}

function refused(reason: "protocol" | "login", bytes: readonly number[]): Understood {
  return { length: 0, step: { kind: "refused", reason, bytes: Buffer.from(bytes) } };
}

function refusal(code: ReplyCode): SocksStep {
  return { kind: "refused", reason: "protocol", bytes: connectReply(code) };
}

/** RFC 1929 §2: at most 513 bytes. */
function loginIn(bytes: Buffer): (Login & { readonly length: number }) | "malformed" | undefined {
  const [version, userLength] = bytes;
  if (version !== 1) return "malformed";
  if (userLength === undefined) return undefined;
  const passwordLength = bytes[2 + userLength];
  if (passwordLength === undefined) return undefined;
  const length = 3 + userLength + passwordLength;
  if (bytes.length < length) return undefined;
  const username = bytes.toString("utf8", 2, 2 + userLength);
  return { username, password: bytes.toString("utf8", 3 + userLength, length), length };
}

/** `username@address` asks for the address to send from. */
function accepted(
  { username, password }: Login,
  isLogin: (login: Login) => boolean,
): { readonly from?: string } | undefined {
  const at = username.lastIndexOf("@");
  const address = username.slice(at + 1);
  if (at >= 0 && isIP(address) > 0 && !address.includes("%"))
    return isLogin({ username: username.slice(0, at), password }) ? { from: address } : undefined;
  return isLogin({ username, password }) ? {} : undefined;
}

/** A number is the reply that refuses it. */
function requestIn(
  bytes: Buffer,
): { readonly address: string; readonly port: number; readonly length: number } | ReplyCode | undefined {
  const [version, command, , type] = bytes;
  if (version !== 5) return replies.failure;
  if (command === undefined || type === undefined) return undefined;
  if (command !== 1) return replies.commandNotSupported;
  // Names are the pods' business: what a name means is decided, and checked, in one place.
  if (type !== 1 && type !== 4) return replies.addressNotSupported;
  const end = 4 + (type === 1 ? 4 : 16);
  if (bytes.length < end + 2) return undefined;
  const address = ipaddr.fromByteArray([...bytes.subarray(4, end)]).toString();
  return { address, port: bytes.readUInt16BE(end), length: end + 2 };
}
