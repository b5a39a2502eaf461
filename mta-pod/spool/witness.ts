/**
 * Frees what a pod held that somebody KNOWS to be dead: the runner that saw its process end, the operator from the
 * container's status. Never for a lost connection, which proves nothing. Never throws; works without ownership of its own.
 */
import { hashToken } from "#crds/values/hash.ts";
import { type Bucket, leaseKey, memberKey, openBucket } from "./bucket.ts";
import type { Spool } from "./connection.ts";
import { memberSeconds } from "./heartbeat.ts";
import {
  decodeLease,
  decodeMember,
  encodeLease,
  encodeMember,
  type Identity,
  isSame,
} from "./lease-record.ts";

export interface Freed {
  /** Shards that the dead pod held and that may now be claimed at once. */
  readonly shards: readonly number[];
  /** Some key could not be read or written: ask again. */
  readonly isComplete: boolean;
}

const attempts = 3;

/** Only that very incarnation: a pod that was started again keeps what it holds. */
export async function freeDead(spool: Spool, dead: Identity): Promise<Freed> {
  const bucket = openBucket(spool);
  // Membership first, or the dead pod would be given its own shards.
  let isComplete = (await rewrite(bucket, memberKey(hashToken(dead.pod)), mourn(dead))) !== "failed";
  const shards: number[] = [];
  const all = Array.from({ length: spool.options.shards }, (_, shard) => shard);
  await Promise.all(
    all.map(async (shard) => {
      const result = await rewrite(bucket, leaseKey(shard), free(dead));
      if (result === "written") shards.push(shard);
      if (result === "failed") isComplete = false;
    }),
  );
  shards.sort((a, b) => a - b);
  spool.options.log.info("dead pod freed", { ...dead, shards, isComplete });
  return { shards, isComplete };
}

/** The key's new text, or undefined when it is not about the dead. */
type Change = (text: string) => string | undefined;

function mourn(dead: Identity): Change {
  return (text) => {
    const record = decodeMember(text);
    if (record === undefined || !isSame(record, dead) || record.state === "gone") return undefined;
    return encodeMember({ ...record, state: "gone" });
  };
}

function free(dead: Identity): Change {
  return (text) => {
    const record = decodeLease(text);
    if (record === undefined || !isSame(record, dead) || record.state !== "held") return undefined;
    return encodeLease({ ...record, state: "freed" });
  };
}

async function rewrite(
  bucket: Bucket,
  key: string,
  change: Change,
): Promise<"written" | "unchanged" | "failed"> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const read = await bucket.read(key);
    if (read.kind === "failed") continue;
    const text = read.kind === "found" ? change(read.text) : undefined;
    if (text === undefined) return "unchanged";
    const expected = read.revision;
    const written = key.startsWith("pod.")
      ? await bucket.writeFor(key, text, { expected, seconds: memberSeconds })
      : await bucket.write(key, text, expected);
    if (written.kind === "written") return "written";
  }
  return "failed";
}
