/**
 * Subjects for entries: some in a row of one lane, stored by one pod, share a subject (a bundle), so that their owner can
 * delete them together. Names never come again: not in another pod, not after a reconnect. Bounded, never fails.
 */
import { randomBytes } from "node:crypto";
import type { PoolNames } from "#crds/wire/subject.ts";

/** What one straggler can keep from being deleted together with the others. */
const bundleSize = 64;
const maxLanes = 10_000;

interface Lane {
  readonly shard: number;
  readonly tenant: string;
  readonly site: string;
  readonly isForeign: boolean;
}

export interface BundleNames {
  subjectFor(lane: Lane): string;
  /** Everything from now on gets a new name: the server may have lost what it had, and use its sequences again. */
  renew(): void;
}

export function createBundleNames(names: PoolNames): BundleNames {
  const prefix = randomBytes(6).toString("hex");
  const current = new Map<string, { subject: string; left: number }>();
  let made = 0;
  return {
    subjectFor({ shard, tenant, site, isForeign }) {
      const key = `${shard} ${isForeign ? "x" : "o"} ${tenant} ${site}`;
      const known = current.get(key);
      if (known !== undefined && known.left > 0) {
        known.left--;
        return known.subject;
      }
      if (known === undefined && current.size >= maxLanes) current.clear();
      const bundle = `${prefix}${(made++).toString(36)}`;
      const subject = names.entrySubject(shard, tenant, site, { isForeign, bundle });
      current.set(key, { subject, left: bundleSize - 1 });
      return subject;
    },
    renew: () => current.clear(),
  };
}
