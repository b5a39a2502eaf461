/**
 * Pods with a limit of queued messages in a world of false time: streams with sequences, owners whose index is behind, pods that
 * answer late or not, a store whose answers get lost, kills. What is queued is checked whenever something is stored.
 */
import { createQueueLimits, type QueueLimits, type Room } from "#mta-pod/queue-limits.ts";
import type { Cells } from "#mta-pod/spool/cells.ts";
import { random } from "#test/kit/random.ts";

export const tenant = "mail/acme";

interface Stored {
  readonly shard: number;
  readonly seq: number;
  /** Of a parent: the entries that will come of it; of others 1. */
  readonly weight: number;
  isGone: boolean;
}

interface Shard {
  lastSeq: number;
  /** The owner's index has come so far; undefined = nobody has the whole of it. */
  indexed: number | undefined;
  owner: number;
}

interface Pod {
  incarnation: string;
  isDead: boolean;
  limits: QueueLimits;
  marks: Map<number, number>;
}

export interface Trouble {
  /** Shares of answers of pods and of the store that are lost. */
  readonly lostAnswers: number;
  readonly lostWrites: number;
  readonly maxLagMs: number;
}

export function queueWorld(
  seed: number,
  { limit: firstLimit, pods: podCount, trouble }: { limit: number; pods: number; trouble: Trouble },
) {
  let limit = firstLimit;
  const chance = random(seed);
  const upTo = (ms: number): number => Math.ceil(chance() * ms);
  let now = 1_000_000;
  let order = 0;
  const agenda: { at: number; order: number; run(): void }[] = [];
  const after = (ms: number, run: () => void): (() => void) => {
    const event = { at: now + ms, order: order++, run };
    agenda.push(event);
    return () => void (event.run = () => {});
  };
  const wait = (ms: number): Promise<void> => new Promise((resolve) => after(ms, resolve));

  const shards: Shard[] = [0, 1, 2].map((index) => ({ lastSeq: 0, indexed: 0, owner: index % podCount }));
  const entries = new Set<Stored>();
  const seen = { most: 0, accepted: 0, full: 0, unknown: 0, asked: 0, claims: 0 };
  const queued = (): number => [...entries].reduce((sum, { weight }) => sum + weight, 0);

  const put = (shard: number, weight: number): Stored => {
    const at = shards[shard] as Shard;
    // Of others.
    at.lastSeq += 1 + Math.floor(chance() * 3);
    const entry = { shard, seq: at.lastSeq, weight, isGone: false };
    entries.add(entry);
    seen.most = Math.max(seen.most, queued());
    after(upTo(trouble.maxLagMs), () => {
      if (at.indexed !== undefined) at.indexed = Math.max(at.indexed, entry.seq);
    });
    return entry;
  };
  const remove = (entry: Stored): void => {
    entry.isGone = true;
    entries.delete(entry);
  };

  const kept = { text: undefined as string | undefined, revision: 0 };
  const cellsOf = (pod: () => Pod): Cells => ({
    async update(_key, _seconds, change) {
      for (let attempt = 0; attempt < 12; attempt++) {
        await wait(upTo(5));
        const { revision } = kept;
        const { text, result } = change(kept.text);
        if (text === undefined) return result;
        await wait(upTo(5));
        if (kept.revision !== revision || pod().isDead) continue;
        const isLost = chance() < trouble.lostWrites;
        if (isLost && chance() < 0.5) return undefined;
        kept.text = text;
        kept.revision++;
        seen.claims++;
        await wait(upTo(5));
        return isLost ? undefined : result;
      }
      return undefined;
    },
  });

  const answerOf = (index: number) => {
    const owned = shards.flatMap((shard, number) => (shard.owner === index ? [{ ...shard, number }] : []));
    let count = 0;
    for (const entry of entries) {
      const shard = shards[entry.shard];
      if (shard?.owner === index && shard.indexed !== undefined && entry.seq <= shard.indexed)
        count += entry.weight;
    }
    return {
      count,
      through: owned.flatMap(({ number, indexed }) =>
        indexed === undefined ? [] : [[number, indexed] as const],
      ),
      marks: [...(pods[index]?.marks ?? [])],
    };
  };
  const ask = async (): Promise<ReturnType<typeof answerOf>[]> => {
    seen.asked++;
    const answers = await Promise.all(
      pods.map(async (pod, index) => {
        await wait(upTo(20));
        const answer = answerOf(index);
        await wait(pod.isDead || chance() < trouble.lostAnswers ? 400 : upTo(20));
        return pod.isDead || chance() < trouble.lostAnswers ? undefined : answer;
      }),
    );
    return answers.filter((answer) => answer !== undefined);
  };

  let born = 0;
  const dead = new Set<string>();
  const createPod = (name: string): Pod => {
    const marks = new Map<number, number>();
    const incarnation = `i${born++}`;
    const pod: Omit<Pod, "limits"> & { limits?: QueueLimits } = { incarnation, isDead: false, marks };
    const limits = createQueueLimits({
      self: { pod: name, incarnation },
      shards: shards.length,
      cells: cellsOf(() => pod as Pod),
      clock: { now: () => now, monotonic: () => now },
      timers: {
        after: (ms, run) => after(ms, () => !pod.isDead && run()),
        every(ms, run) {
          const again = (): void => {
            if (pod.isDead) return;
            run();
            after(ms, again);
          };
          after(ms, again);
          return () => {};
        },
      },
      marks: { of: () => new Map(marks) },
      ask,
      pods: () => podCount,
      isDead: (holder) => dead.has(holder.incarnation),
    });
    return Object.assign(pod, { limits });
  };
  const pods = Array.from({ length: podCount }, (_, index) => createPod(`pod-${index}`));
  const mark = (pod: Pod, { shard, seq }: Stored): void =>
    void pod.marks.set(shard, Math.max(pod.marks.get(shard) ?? 0, seq));

  /** Its owner publishes the children, then the parent is gone. */
  const split = (parent: Stored): void => {
    const pod = pods[shards[parent.shard]?.owner ?? 0] as Pod;
    if (shards[parent.shard]?.indexed === undefined || pod.isDead)
      return void after(200, () => split(parent));
    remove(parent);
    // In one moment, as seen by whoever counts what is queued: a parent and its children are the same mail.
    for (let child = 0; child < parent.weight; child++)
      mark(pod, put(Math.floor(chance() * shards.length), 1));
  };

  return {
    seen,
    queued,
    setLimit: (to: number): void => void (limit = to),
    now: (): number => now,
    after,
    chance,
    /** One message for a pod; what becomes of it is up to chance. */
    offer(index: number, done: (room: Room) => void = () => {}): void {
      const pod = pods[index] as Pod;
      const weight = Math.min(chance() < 0.2 ? 1 + upTo(2) : 1, limit);
      pod.limits.take(tenant, { limit, weight }, (room) => {
        if (room !== "open") seen[room]++;
        done(room);
        if (room !== "open") return;
        if (chance() < 0.05) return void after(upTo(10), () => pod.limits.end(tenant, weight, "unused"));
        after(upTo(30), () => {
          seen.accepted++;
          const entry = put(Math.floor(chance() * shards.length), weight);
          if (weight > 1) after(upTo(100), () => split(entry));
          after(upTo(20), () => {
            if (pod.isDead) return;
            mark(pod, entry);
            pod.limits.end(tenant, weight, "stored");
          });
        });
      });
    },
    settleOne(): void {
      const [entry] = [...entries].filter(({ weight }) => weight === 1);
      if (entry !== undefined) remove(entry);
    },
    /** Nobody knows all of the shard for a while; then its owner is another. */
    moveShard(number: number, ms: number): void {
      const shard = shards[number] as Shard;
      shard.indexed = undefined;
      after(ms, () => {
        shard.owner = Math.floor(chance() * podCount);
        shard.indexed = shard.lastSeq;
      });
    },
    /** Its shards are nobody's for a while; it comes back as another. */
    kill(index: number): void {
      const pod = pods[index] as Pod;
      pod.isDead = true;
      for (const [number, shard] of shards.entries())
        if (shard.owner === index) this.moveShard(number, 300 + upTo(500));
      after(250, () => {
        dead.add(pod.incarnation);
        pods[index] = createPod(`pod-${index}`);
      });
    },
    async run(ms: number): Promise<void> {
      const until = now + ms;
      for (;;) {
        agenda.sort((a, b) => a.at - b.at || a.order - b.order);
        const [next] = agenda;
        if (next === undefined || next.at > until) break;
        agenda.shift();
        now = next.at;
        next.run();
        await new Promise((resolve) => setImmediate(resolve));
      }
      now = until;
    },
  };
}
