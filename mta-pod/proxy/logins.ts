/** Who is let in: the login of a mounted folder, read again as it changes. Throws Error while there was never a usable one. */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../runtime/clock.ts";
import type { Login } from "./socks-session.ts";

/** Pods hear of a new login at about the same time as we do: the one before it stays good for a while. */
const graceMs = 600_000;
const rereadMs = 5000;

/** @returns whether a login is good, in constant time */
export function createLogins(folder: string, clock: Clock): (login: Login) => boolean {
  let current = digestOf(readLogin(folder));
  let before: { readonly digest: Buffer; readonly until: number } | undefined;
  let readAt = clock.monotonic();

  const refresh = (now: number): void => {
    if (now - readAt < rereadMs) return;
    readAt = now;
    let digest: Buffer;
    try {
      digest = digestOf(readLogin(folder));
    } catch {
      // Being replaced, or gone: the last good one stays.
      return;
    }
    if (digest.equals(current)) return;
    before = { digest: current, until: now + graceMs };
    current = digest;
  };

  return (login) => {
    const now = clock.monotonic();
    refresh(now);
    const digest = digestOf(login);
    const isCurrent = timingSafeEqual(digest, current);
    const isBefore = before !== undefined && timingSafeEqual(digest, before.digest) && now < before.until;
    return isCurrent || isBefore;
  };
}

function readLogin(folder: string): Login {
  const read = (key: string): string => {
    const text = readFileSync(join(folder, key), "utf8");
    if (text !== "" && Buffer.byteLength(text) <= 255) return text;
    throw new Error(
      `Cannot read ${join(folder, key)}: expected 1 to 255 bytes, got ${Buffer.byteLength(text)}`,
    );
  };
  return { username: read("username"), password: read("password") };
}

function digestOf({ username, password }: Login): Buffer {
  return createHash("sha256")
    .update(JSON.stringify([username, password]))
    .digest();
}
