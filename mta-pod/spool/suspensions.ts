/**
 * What operators have suspended, for the whole pool: a key each in the pool's bucket, watched by every pod, so that it
 * holds at all pods at once and outlives each of them. Never throws; while NATS is away the last known ones stand.
 */
import { hashToken } from "#crds/values/hash.ts";
import { covers, isOfMessages, type Selection } from "#crds/wire/selection.ts";
import { callApi, isRecord } from "./api.ts";
import { openBucket } from "./bucket.ts";
import { pause, type Spool } from "./connection.ts";
import { type Feed, openFeed } from "./feed.ts";

export interface Suspension {
  /** These two and the next two absent = everything. */
  readonly tenant?: string;
  readonly site?: string;
  /** Messages with a recipient there, of that tenant, to that site. */
  readonly domain?: string;
  readonly id?: string;
  /** ms since 1970; absent = until it is resumed. */
  readonly until?: number;
  /** Who asked for it, and when (ms since 1970). */
  readonly by: string;
  readonly at: number;
}

export interface SuspensionHandlers {
  onSuspended(suspension: Suspension): void;
  /** `remaining` are those that still stand. */
  onLifted(suspension: Suspension, remaining: readonly Suspension[]): void;
}

export type Stated =
  /** `revision`: a pod whose `seen()` is at least this has taken it in. */
  | { readonly kind: "stated"; readonly revision: number; readonly count: number }
  | { readonly kind: "unavailable" };

export interface Suspensions {
  /** Resolves once those that stand are told. */
  start(): Promise<void>;
  list(): readonly Suspension[];
  /** Revision of the newest change that was told. */
  seen(): number;
  /** Replaces one for the same selection. */
  suspend(suspension: Suspension): Promise<Stated>;
  /** Lifts all within the selection. */
  lift(selector: Selection): Promise<Stated>;
}

const prefix = "suspend.";
/** An operator waits for a leader election, but not for ever. */
const attempts = 15;
const retryMs = 200;
/** A key outlives its `until`, so that the server's clock never ends one early; so does the mark of a lifted one. */
const slackSeconds = 3600;
const markSeconds = 3600;
const maxTextBytes = 4096;

export function createSuspensions(spool: Spool, handlers: SuspensionHandlers): Suspensions {
  const standing = new Map<string, Suspension>();
  let feed: Feed | undefined;
  let seen = 0;
  /** Keys given since the feed began anew: what is not among them is gone. */
  let given: Set<string> | undefined = new Set();

  const lift = (key: string): void => {
    const lifted = standing.get(key);
    standing.delete(key);
    if (lifted !== undefined) handlers.onLifted(lifted, [...standing.values()]);
  };
  const take = (key: string, text: string): void => {
    given?.add(key);
    const suspension = text === "" ? undefined : decode(text);
    if (suspension === undefined) return lift(key);
    standing.set(key, suspension);
    return handlers.onSuspended(suspension);
  };

  return {
    start: () =>
      new Promise((resolve) => {
        feed ??= openFeed({
          spool,
          stream: `KV_${spool.names.bucket}`,
          filter: `$KV.${spool.names.bucket}.${prefix}>`,
          start: { kind: "last-per-subject" },
          headersOnly: false,
          handlers: {
            onMessage: (revision, read) => {
              const message = read();
              take(message.subject.slice(message.subject.lastIndexOf(".") + 1), message.string());
              seen = Math.max(seen, revision);
            },
            onCaughtUp: () => {
              for (const key of standing.keys()) if (given?.has(key) === false) lift(key);
              given = undefined;
              resolve();
            },
            onRestarted: () => {
              given = new Set();
            },
          },
        });
      }),
    list: () => [...standing.values()],
    seen: () => seen,
    async suspend(suspension) {
      const seconds =
        suspension.until === undefined
          ? undefined
          : Math.max(1, Math.ceil((suspension.until - suspension.at) / 1000)) + slackSeconds;
      const written = await write(spool, keyOf(suspension), { text: encode(suspension), seconds });
      return written === undefined
        ? { kind: "unavailable" }
        : { kind: "stated", revision: written, count: 1 };
    },
    async lift(selector) {
      const found = await stored(spool);
      if (found === undefined) return { kind: "unavailable" };
      let revision = 0;
      let count = 0;
      for (const { key, suspension } of found) {
        if (!covers(selector, suspension)) continue;
        const written = await write(spool, key, { text: "", seconds: markSeconds });
        if (written === undefined) return { kind: "unavailable" };
        revision = Math.max(revision, written);
        count++;
      }
      return { kind: "stated", revision, count };
    },
  };
}

function keyOf(suspension: Suspension): string {
  const { tenant, site, domain, id } = suspension;
  const messages = isOfMessages(suspension) ? [domain ?? null, id ?? null] : [];
  return prefix + hashToken(JSON.stringify([tenant ?? null, site ?? null, ...messages]));
}

/** Resolves to the revision, undefined when the server did not take it. */
async function write(
  spool: Spool,
  key: string,
  { text, seconds }: { text: string; seconds: number | undefined },
): Promise<number | undefined> {
  const bucket = openBucket(spool);
  for (let attempt = 0; attempt < attempts && !spool.closing.aborted; attempt++) {
    const read = await bucket.read(key);
    if (read.kind !== "failed") {
      const expected = read.revision;
      const written = await (seconds === undefined
        ? bucket.write(key, text, expected)
        : bucket.writeFor(key, text, { expected, seconds }));
      if (written.kind === "written") return written.seq;
    }
    await pause(spool.timers, retryMs, spool.closing);
  }
  return undefined;
}

/** All that stand, as the leader knows them: the watch may lag behind what another pod was just told. */
async function stored(spool: Spool): Promise<{ key: string; suspension: Suspension }[] | undefined> {
  for (let attempt = 0; attempt < attempts && !spool.closing.aborted; attempt++) {
    const found = await readStored(spool);
    if (found !== undefined) return found;
    await pause(spool.timers, retryMs, spool.closing);
  }
  return undefined;
}

async function readStored(spool: Spool): Promise<{ key: string; suspension: Suspension }[] | undefined> {
  const bucket = openBucket(spool);
  const subjects = `$KV.${spool.names.bucket}.${prefix}`;
  const info = await callApi(spool, {
    subject: `STREAM.INFO.KV_${spool.names.bucket}`,
    body: { subjects_filter: `${subjects}>` },
  });
  if (info.kind !== "ok" || !isRecord(info.value["state"])) return undefined;
  const names = info.value["state"]["subjects"];
  const found = [];
  for (const subject of isRecord(names) ? Object.keys(names) : []) {
    const key = prefix + subject.slice(subjects.length);
    const read = await bucket.read(key);
    if (read.kind === "failed") return undefined;
    const suspension = read.kind === "found" ? decode(read.text) : undefined;
    if (suspension !== undefined) found.push({ key, suspension });
  }
  return found;
}

/** Of messages it has another version: a release that does not know them would take it for one of all mail. */
function versionOf(suspension: Selection): number {
  return isOfMessages(suspension) ? 2 : 1;
}

function encode(suspension: Suspension): string {
  return JSON.stringify({ v: versionOf(suspension), ...suspension });
}

/** undefined for what this release cannot read. */
function decode(text: string): Suspension | undefined {
  if (text.length > maxTextBytes) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  const { v, tenant, site, domain, id, until, by, at } = value;
  if (typeof by !== "string" || typeof at !== "number") return undefined;
  const names = { tenant, site, domain, id };
  for (const name of Object.values(names))
    if (name !== undefined && typeof name !== "string") return undefined;
  if (until !== undefined && typeof until !== "number") return undefined;
  const selection = Object.fromEntries(Object.entries(names).filter(([, name]) => name !== undefined));
  if (v !== versionOf(selection)) return undefined;
  return {
    ...(selection as Pick<Suspension, "tenant" | "site" | "domain" | "id">),
    ...(until === undefined ? {} : { until }),
    by,
    at,
  };
}
