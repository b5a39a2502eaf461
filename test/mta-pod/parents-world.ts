/** Parents on a spool that notes what is done to them: for tests of splitting and of acts. */
import type { Envelope } from "#crds/wire/envelope.ts";
import type { StateRecord } from "#crds/wire/state-record.ts";
import { parentSite } from "#crds/wire/subject.ts";
import type { Intake } from "#mta-pod/intake.ts";
import { createParents } from "#mta-pod/parents.ts";
import { createPoison } from "#mta-pod/poison.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Entries } from "#mta-pod/spool/entries.ts";
import type { How } from "#mta-pod/spool/lease-state.ts";
import type { Publisher, Stored } from "#mta-pod/spool/publisher.ts";
import type { States } from "#mta-pod/spool/states.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

export const body = Buffer.from("Subject: x\r\n\r\n");
export const at = { shard: 3, seq: 41 };
export const retryMs = 2000;

interface Setting {
  readonly to: readonly string[];
  /** Of the shard's owner before; default none that died. */
  readonly how?: How;
  readonly fields?: Partial<Envelope>;
  readonly state?: StateRecord;
  /** Its body is not whole. */
  readonly isDamaged?: boolean;
  /** Sites of domains, asked each time; default the domain itself. */
  readonly siteOf?: (domain: string) => string;
  /** Until then what is read does not come; default at once. */
  readonly isRead?: Promise<void>;
  readonly random?: () => number;
  /** What the nth publish is answered with; default stored. */
  readonly answers?: (count: number) => Stored | undefined;
}

/** A spool of one parent that notes what is done to it, in order. Each domain is a site of its own. */
export function world(setting: Setting) {
  const { to, fields = {}, state, answers, how = "released", isDamaged = false } = setting;
  const { siteOf = (domain: string): string => domain, isRead, random = () => 0.5 } = setting;
  let parent = envelope({ id: "parent", site: parentSite, to, size: body.length, ...fields });
  const done: string[] = [];
  const children: { messageId: string | undefined; envelope: Envelope }[] = [];
  const written: StateRecord[] = [];
  const indexed: string[] = [];
  /** Parents that were noted as settled, and what was done by then. */
  const noted: { id: string; children: number; isRemoved: boolean }[] = [];
  const fetched: number[] = [];
  let isGone = false;
  let owned = true;
  let leaseSeq = 5;
  let isFenced = false;
  let isFormers = false;
  let isAwaited = false;
  let areRemovalsHeld = false;
  const entries: Pick<Entries, "fetch" | "remove"> = {
    async fetch(_shard, seq) {
      fetched.push(seq);
      await isRead;
      if (isGone) return { kind: "gone" };
      const issues = [{ where: "body", expected: "14 bytes", got: "no chunk 1 of 2" }];
      if (isDamaged) return { kind: "damaged", envelope: parent, issues };
      return { kind: "entry", subject: "", envelope: parent, body };
    },
    remove(_entry, removed) {
      if (areRemovalsHeld) return;
      done.push("parent removed");
      isGone = true;
      queueMicrotask(() => removed("removed"));
    },
  };
  const states: Pick<States, "read" | "write" | "remove"> = {
    async read() {
      const last = written.at(-1);
      if (last !== undefined) return { kind: "state", stateSeq: 100 + written.length, record: last };
      return state === undefined ? { kind: "none" } : { kind: "state", stateSeq: 7, record: state };
    },
    async write(_shard, seq, { record, leaseSeq: by }) {
      if (by !== leaseSeq || isFenced) return { kind: "fenced" };
      if (seq !== at.seq) return { kind: "written", stateSeq: 1 };
      written.push(record);
      done.push(`state: ${record.open.length} open`);
      return { kind: "written", stateSeq: 100 + written.length };
    },
    remove: (_shard, stateSeq) => void done.push(`state ${stateSeq} removed`),
  };
  const publisher: Pick<Publisher, "store"> = {
    store(entry, answer) {
      const stored = { kind: "stored", seq: 1, duplicate: false, bodyChunks: 0, subject: "mb.q" } as const;
      const said = answers?.(children.length) ?? stored;
      children.push({ messageId: entry.messageId, envelope: entry.envelope });
      queueMicrotask(() => answer(said));
    },
  };
  const intake: Pick<Intake, "group"> = {
    async group({ to: addresses }) {
      const bySite = new Map<string, string[]>();
      for (const address of addresses) {
        const site = siteOf(address.slice(address.indexOf("@") + 1));
        bySite.set(site, [...(bySite.get(site) ?? []), address]);
      }
      return [...bySite].map(([site, some]) => ({ site, maxAgeMs: undefined, to: some, first: 0 }));
    },
  };
  const pod = {
    log: silentLog,
    random,
    entries: entries as Entries,
    states: states as States,
    publisher: publisher as Publisher,
    settled: {
      was: () => false,
      note: ({ id }: Envelope) => void noted.push({ id, children: children.length, isRemoved: isGone }),
    },
  };
  const metrics = { parked: { set: () => {} } } as never;
  const poison = createPoison({
    pod: { ...pod, clock: { now: () => parent.receivedAt + 1000, monotonic: () => 0 }, metrics },
    owns: () => owned,
    leaseSeqOf: () => leaseSeq,
    concurrencyOf: () => 1,
  });
  poison.owned(at.shard, how);
  const parents = createParents({
    pod,
    intake,
    shards: 8,
    leaseSeqOf: () => leaseSeq,
    owns: () => owned,
    stored: (_at, child) => void indexed.push(child.site),
    mayBegin: () => !isFormers,
    isAwaited: () => isAwaited,
    poison,
  });
  const split = async (): Promise<void> => {
    parents.split(at.shard, at.seq, parent);
    await until("the parent to be split", () => parents.underWay(at.shard) === 0);
  };
  return {
    poison,
    parents,
    parent,
    split,
    children,
    done,
    written,
    indexed,
    noted,
    fetched,
    lose: () => void (owned = false),
    replace: (by: Envelope) => void (parent = by),
    /** Its next owner waits for us. */
    handOver(): void {
      owned = false;
      isFenced = true;
      isAwaited = true;
    },
    holdRemovals: () => void (areRemovalsHeld = true),
    /** The owner before us is at it. */
    former: (is: boolean) => void (isFormers = is),
    fence: (is: boolean) => void (isFenced = is),
    regain(): void {
      owned = true;
      leaseSeq++;
      poison.owned(at.shard, "resumed");
      parents.split(at.shard, at.seq, parent);
    },
  };
}

export function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `user@site${index}.example`);
}

/** All promises that wait for nothing but each other come to their end. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
