/** Who asks: Basic, or Bearer with `user:password` or a token. Pure; undefined when the header says nothing usable. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { headerText } from "./header-text.ts";
import { decodeBase64, type PlainCredentials } from "#mta-pod/smtp/sasl.ts";

/** A header longer than this is nobody's credentials. */
const maxHeaderLength = 4096;

function splitAtColon(text: string): PlainCredentials | undefined {
  const colon = text.indexOf(":");
  if (colon <= 0 || colon === text.length - 1 || text.includes("\0")) return undefined;
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** The scheme in lower case, and what follows it. */
function schemeOf(header: string | undefined): readonly [scheme: string, rest: string] | undefined {
  if (header === undefined || header.length > maxHeaderLength) return undefined;
  const blank = header.indexOf(" ");
  return blank < 0 ? undefined : [header.slice(0, blank).toLowerCase(), header.slice(blank + 1).trim()];
}

/**
 * What says who asks: `Authorization`, or the same in `X-Mailboat-Authorization`, since the API server's proxy takes the first for
 * itself and passes it on to nobody.
 */
export function authorizationOf(headers: IncomingHttpHeaders): string | undefined {
  const own = headers["x-mailboat-authorization"];
  return headerText(typeof own === "string" ? own : headers.authorization);
}

/** A login from `Authorization`. */
export function credentialsOf(header: string | undefined): PlainCredentials | undefined {
  const [scheme, rest = ""] = schemeOf(header) ?? [];
  if (scheme === "bearer") return splitAtColon(rest);
  if (scheme !== "basic") return undefined;
  const bytes = decodeBase64(rest);
  return bytes === undefined ? undefined : splitAtColon(bytes.toString());
}

/** Whether `Authorization: Bearer` carries this very token; takes the same time whatever it carries. */
export function hasToken(header: string | undefined, token: string): boolean {
  const [scheme, rest = ""] = schemeOf(header) ?? [];
  return timingSafeEqual(digest(rest), digest(token)) && scheme === "bearer" && token !== "";
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
