/** Credentials inside SASL messages (RFC 4616, LOGIN draft), both directions of base64. Pure; undefined when malformed. */
import { isUtf8 } from "node:buffer";

/** Bytes a user name or a password may have. */
const maxCredentialBytes = 1024;

/** Strict base64 (RFC 4648 §4, padding required). */
export function decodeBase64(text: string): Buffer | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  return Buffer.from(text, "base64");
}

/** One credential as text: UTF-8, not empty, bounded, no NUL. */
export function credentialText(bytes: Buffer): string | undefined {
  if (bytes.length === 0 || bytes.length > maxCredentialBytes || !isUtf8(bytes) || bytes.includes(0))
    return undefined;
  return bytes.toString();
}

export interface PlainCredentials {
  readonly username: string;
  readonly password: string;
}

/** `[authzid] NUL authcid NUL password`; an identity to act as that is not the login's own is refused. */
export function parsePlain(message: Buffer): PlainCredentials | undefined {
  const first = message.indexOf(0);
  const second = first < 0 ? -1 : message.indexOf(0, first + 1);
  if (second < 0) return undefined;
  const username = credentialText(message.subarray(first + 1, second));
  const password = credentialText(message.subarray(second + 1));
  if (username === undefined || password === undefined) return undefined;
  const actAs = message.subarray(0, first);
  if (actAs.length > 0 && credentialText(actAs) !== username) return undefined;
  return { username, password };
}
