/**
 * CORRIDOR: an entry becomes another one: in another shard since its site changed, or anew in its own since the lease changed under it
 * (design.md §3, Moves). Publish → ack → delete, so a crash in between leaves both, never none.
 */
import { hash32 } from "#crds/values/hash.ts";
import { type Envelope, entryName } from "#crds/wire/envelope.ts";
import type { Pod } from "./pod.ts";
import type { Repeats } from "./spool/outbox.ts";

interface Moving {
  readonly shard: number;
  readonly seq: number;
  readonly subject: string | undefined;
  /** Of its state record, 0 = none. */
  readonly stateSeq: number;
  /** When both were read or stored, monotonic ms. */
  readonly since?: number | undefined;
  readonly envelope: Envelope;
  readonly body: Buffer;
  /** Indexes of the recipients that go along: who has the mail already must not get it once more, and the state record stays behind. */
  readonly open: readonly number[];
}

interface MovedTo {
  readonly shard: number;
  /** What travels in the envelope since the state record does not. */
  readonly changed: Pick<Envelope, "attempt" | "due"> &
    Partial<Pick<Envelope, "site" | "moves" | "isBodyShared">>;
  /** Whether it is still ours to move: another owner of its shard may be through with it. */
  readonly repeats?: () => Repeats;
}

/** `done` once the old entry is deleted; false = it could not be stored there, and stays. */
export function moveEntry(
  pod: Pick<Pod, "publisher" | "entries" | "states" | "settled">,
  from: Moving,
  to: MovedTo,
  done: (isMoved: boolean) => void,
): void {
  copyEntry(pod, from, to, (isStored, envelope) => {
    if (!isStored) return done(false);
    return removeMoved(pod, from, { as: envelope, done: () => done(true) });
  });
}

/** What is left of it is stored `as` another one. `done` once it is deleted. */
export function removeMoved(
  { entries, states, settled }: Pick<Pod, "entries" | "states" | "settled">,
  { shard, seq, subject, since, stateSeq, envelope }: Omit<Moving, "body" | "open">,
  { as, done }: { as: Envelope; done(): void },
): void {
  // Should its delete be forgotten, whoever owns the shard then is to know; but of the same name the new one would be taken for it.
  if (entryName(as) !== entryName(envelope)) settled.note(envelope);
  entries.remove({ shard, seq, entry: envelope, subject, since }, () => {
    done();
    if (stateSeq > 0) states.remove(shard, stateSeq, { of: seq, since });
  });
}

/** Stores a part of it; the old entry stays. False = it could not be stored. */
export function copyEntry(
  { publisher }: Pick<Pod, "publisher">,
  { shard, seq, envelope: old, body, open }: Moving,
  { shard: target, changed, repeats }: MovedTo,
  done: (isStored: boolean, envelope: Envelope) => void,
): void {
  const to = open.map((index) => old.to[index] ?? "");
  const envelope: Envelope = { ...old, ...changed, to };
  // Names what is moved as well: of the sequence another part may have been stored elsewhere before, or another entry, as a server that
  // lost its end uses sequences again.
  const messageId = `mv:${shard}:${seq}:${hash32(entryName(envelope)).toString(36)}`;
  publisher.store({ shard: target, envelope, body, messageId, by: "pod", repeats }, (stored) =>
    done(stored.kind !== "refused", envelope),
  );
}
