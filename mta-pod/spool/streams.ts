/**
 * Makes the pool's streams and its KV bucket; several pods may race. Never empties or deletes anything, and what it
 * shrinks by losing a race it grows again.
 * Throws when a stream of that name stores something else, when the server has no room for it, or after a minute
 * without an answer.
 */
import type { PoolNames } from "#crds/wire/subject.ts";
import { type ApiResult, apiCodes, callApi, isRecord } from "./api.ts";
import { pause, type Spool, type SpoolOptions } from "./connection.ts";

/** A JetStream stream configuration in the server's words; durations are ns. */
export interface StreamConfig {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly [option: string]: unknown;
}

const nsPerMs = 1_000_000;
const hourMs = 3_600_000;
const duplicateWindowNs = 120_000 * nsPerMs;
const eventAgeNs = 72 * hourMs * nsPerMs;
const defaultBodyAgeMs = 9 * 24 * hourMs;
/** Delete markers of the bucket outlive any watcher's reconnect. */
const markerTtlNs = 60_000 * nsPerMs;
const bucketBytes = 64 * 1024 * 1024;
const maxEventBytes = 1024 ** 3;
const maxSinkBytes = 64 * 1024 ** 2;
const maxSinkMessages = 1000;
/** A cluster that elects its meta leader answers nothing for up to 9 s, and a rolling restart is longer. */
const giveUpMs = 60_000;
const retryMs = 500;

/** Filter of all event subjects of a pool. */
export function eventFilter(names: PoolNames): string {
  return names.eventSubject(0).replace(/0$/, "*");
}

/** Every stream of the pool as `ensureStreams` wants it; also what to size a server by (the sum of `max_bytes`). */
export function streamConfigs(names: PoolNames, options: SpoolOptions): StreamConfig[] {
  const common = { storage: "file", retention: "limits", num_replicas: options.replicas, allow_direct: true };
  const shards = Array.from({ length: options.shards }, (_, shard) => ({
    ...common,
    name: names.shardStream(shard),
    subjects: names.shardSubjects(shard),
    description: `mailboat spool of ${options.pool}, shard ${shard}`,
    max_age: 0,
    max_bytes: options.maxBytesPerShard,
    discard: "new",
    allow_rollup_hdrs: true,
    duplicate_window: duplicateWindowNs,
  }));
  const bodies = {
    ...common,
    name: names.bodyStream,
    subjects: [names.bodyFilter("*")],
    description: `mailboat bodies of ${options.pool}`,
    // A chunk that is stored again takes the place of its former self.
    max_msgs_per_subject: 1,
    max_age: (options.bodyMaxAgeMs ?? defaultBodyAgeMs) * nsPerMs,
    max_bytes: options.maxBytesPerShard,
    discard: "new",
    duplicate_window: duplicateWindowNs,
  };
  const events = {
    ...common,
    name: names.eventStream,
    subjects: [eventFilter(names), names.settledSubject],
    description: `mailboat events of ${options.pool}`,
    max_age: eventAgeNs,
    max_bytes: Math.min(options.maxBytesPerShard, maxEventBytes),
    discard: "old",
  };
  // As @nats-io/kv makes one with history 1 and limit markers (ADR-8, ADR-48).
  const bucket = {
    ...common,
    name: `KV_${names.bucket}`,
    subjects: [`$KV.${names.bucket}.>`],
    description: `mailboat leases and members of ${options.pool}`,
    max_msgs_per_subject: 1,
    max_bytes: bucketBytes,
    discard: "new",
    allow_rollup_hdrs: true,
    deny_delete: true,
    allow_msg_ttl: true,
    subject_delete_marker_ttl: markerTtlNs,
    duplicate_window: duplicateWindowNs,
  };
  return [...shards, bodies, events, bucket];
}

/**
 * Made only when something is to be kept: a pool that sends never has one. 1,000 messages, 64 MiB, 72 hours.
 */
export function sinkStreamConfig(names: PoolNames, { pool, replicas }: SpoolOptions): StreamConfig {
  return {
    storage: "file",
    retention: "limits",
    num_replicas: replicas,
    allow_direct: true,
    name: names.sinkStream,
    subjects: [names.sinkSubject("*")],
    description: `mailboat sink of ${pool}: the last messages, for a look`,
    max_age: eventAgeNs,
    max_bytes: maxSinkBytes,
    max_msgs: maxSinkMessages,
    discard: "old",
  };
}

/**
 * Idempotent; `streams` = all of the pool's unless given. @throws Error as the head of this file says, or when the spool
 * is closed meanwhile
 */
export async function ensureStreams(
  spool: Spool,
  streams: readonly StreamConfig[] = streamConfigs(spool.names, spool.options),
): Promise<void> {
  const until = spool.options.clock.monotonic() + giveUpMs;
  let left = streams;
  while (left.length > 0) {
    const changed: StreamConfig[] = [];
    // In sequence: R3 creation places a Raft group, and many at once only queue up behind the meta leader.
    for (const wanted of left)
      if ((await ensureStream(spool, wanted, until)) === "changed") changed.push(wanted);
    if (changed.length === 0 || spool.options.clock.monotonic() >= until) return;
    // The server knows no compare-and-set of configurations: a pod with smaller wishes that read before our update
    // and wrote behind it has undone it. Whoever wishes most looks again, and so has the last word.
    await pause(spool.timers, retryMs, spool.closing);
    left = changed;
  }
}

async function ensureStream(
  spool: Spool,
  wanted: StreamConfig,
  until: number,
): Promise<"as wanted" | "changed"> {
  for (;;) {
    if (spool.closing.aborted) throw new Error(`Cannot make stream ${wanted.name}: the spool is closed`);
    const found = await callApi(spool, { subject: `STREAM.INFO.${wanted.name}` });
    const result =
      found.kind === "ok"
        ? await adjust(spool, wanted, found.value["config"])
        : found.kind === "refused" && found.code === apiCodes.streamNotFound
          ? await callApi(spool, { subject: `STREAM.CREATE.${wanted.name}`, body: wanted })
          : found;
    if (result.kind === "changed") return "changed";
    if (result.kind === "ok") return "as wanted";
    // Somebody else made it a moment ago, with other options (an older release, say): look again.
    const raced = result.kind === "refused" && result.code === apiCodes.streamNameInUse;
    if (!raced && isFinal(result)) throw refusal(wanted, result);
    if (spool.options.clock.monotonic() >= until) throw refusal(wanted, result);
    await pause(spool.timers, retryMs, spool.closing);
  }
}

/** Cluster trouble (no leader, no quorum: codes 10008, 10009 and the like, HTTP 503) passes; a wrong request does not. */
function isFinal(result: ApiResult): boolean {
  if (result.kind !== "refused") return false;
  return finalCodes.has(result.code);
}

/**
 * Resources and storage exceeded (10002, 10023, 10028, 10047), invalid configuration (10052), JetStream not enabled
 * (10039, 10076), subjects overlap (10065), more replicas than servers (10005, 10074), permission (10052).
 */
const finalCodes = new Set([10002, 10005, 10023, 10028, 10039, 10047, 10052, 10065, 10074, 10076]);

function refusal(wanted: StreamConfig, result: ApiResult): Error {
  const text = result.kind === "ok" ? "an answer" : result.text;
  const code = result.kind === "refused" ? ` (${result.code})` : "";
  return new Error(
    `Cannot make stream ${wanted.name}: expected the server to hold ${String(wanted["max_bytes"])} bytes x ${String(wanted["num_replicas"])}, got "${text}"${code}`,
  );
}

/** What the stream must be for our use of it to be right; differences cannot be repaired by an update. */
const fixed = ["storage", "retention", "discard", "max_msgs_per_subject"] as const;
/** What an older release may not have asked for and is safe to turn on. */
const switches = ["allow_rollup_hdrs", "allow_direct", "allow_msg_ttl", "subject_delete_marker_ttl"] as const;
/** What only ever grows. */
const growing = ["max_bytes", "num_replicas", "max_age"] as const;

async function adjust(
  spool: Spool,
  wanted: StreamConfig,
  existing: unknown,
): Promise<ApiResult | { readonly kind: "changed" }> {
  if (!isRecord(existing)) return { kind: "unanswered", text: "stream information without a configuration" };
  for (const option of fixed) {
    const value = wanted[option];
    if (value !== undefined && existing[option] !== value)
      throw new Error(
        `Cannot use stream ${wanted.name}: expected ${option} ${String(value)}, got ${String(existing[option])}`,
      );
  }
  const changes: Record<string, unknown> = {};
  for (const option of switches)
    if (wanted[option] !== undefined && !existing[option]) changes[option] = wanted[option];
  for (const option of growing)
    if (isSmaller(existing[option], wanted[option])) changes[option] = wanted[option];
  const subjects = Array.isArray(existing["subjects"]) ? existing["subjects"] : [];
  const missing = wanted.subjects.filter((subject) => !subjects.includes(subject));
  if (missing.length > 0) changes["subjects"] = [...subjects, ...missing];
  const names = Object.keys(changes);
  if (names.length === 0) return { kind: "ok", value: {} };
  spool.options.log.info("stream grows", { stream: wanted.name, changes });
  const result = await callApi(spool, {
    subject: `STREAM.UPDATE.${wanted.name}`,
    body: { ...existing, ...changes },
  });
  if (result.kind === "ok") return { kind: "changed" };
  if (!isFinal(result)) return result;
  // No room to grow: what is there goes on as it is, since a pod that does not start would be worse.
  spool.options.log.error("stream cannot grow", { stream: wanted.name, changes, result });
  return { kind: "ok", value: {} };
}

/** -1 and 0 mean "no limit" to the server, which is never too small. */
function isSmaller(existing: unknown, wanted: unknown): boolean {
  return typeof existing === "number" && typeof wanted === "number" && existing > 0 && existing < wanted;
}
