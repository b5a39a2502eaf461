/** CORRIDOR: the children of a parent entry: who is in which, under which name each is stored, and storing one. Never rejects. */
import { hash32 } from "#crds/values/hash.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import { shardOf } from "#crds/wire/subject.ts";
import { envelopeOf, type Group, type Intake, type StoredAt } from "./intake.ts";
import type { Pod } from "./pod.ts";

export interface Child {
  readonly group: Group;
  /** Into the parent's recipients, ascending. */
  readonly indexes: readonly number[];
}

export interface ChildrenDeps {
  readonly pod: Pick<Pod, "publisher">;
  readonly intake: Pick<Intake, "group">;
  readonly shards: number;
  owns(shard: number): boolean;
  stored(at: StoredAt, envelope: Envelope, body: Buffer): void;
}

export interface Children {
  /** Groups those of the parent's recipients anew, by what is known of their sites now. */
  of(parent: Envelope, open: readonly number[]): Promise<readonly Child[]>;
  /** False = it could not be stored, or that is not known. */
  publish(parent: Envelope, body: Buffer, child: Child): Promise<boolean>;
}

export function createChildren({ pod, intake, shards, owns, stored }: ChildrenDeps): Children {
  return {
    async of(parent, open) {
      const to = open.map((index) => parent.to[index] ?? "");
      return childrenOf(parent, await intake.group({ id: parent.id, to }));
    },
    publish(parent, body, { group, indexes }) {
      const {
        bodyChunks,
        site: _site,
        size: _size,
        moves: _moves,
        attempt: _attempt,
        due: _due,
        ...facts
      } = parent;
      const made = envelopeOf({ ...facts, to: group.to, body }, group.site, group.maxAgeMs);
      const shard = shardOf(group.site, shards);
      const envelope = { ...made, bodyChunks, isBodyShared: bodyChunks > 0, size: parent.size };
      const messageId = messageIdOf(parent.id, indexes);
      return new Promise((resolve) => {
        pod.publisher.store(
          { shard, envelope, body, messageId, by: "pod", isForeign: !owns(shard) },
          (said) => {
            if (said.kind === "stored" && !said.duplicate)
              stored({ shard, seq: said.seq, subject: said.subject }, envelope, body);
            resolve(said.kind === "stored");
          },
        );
      });
    },
  };
}

/**
 * Names who is in it: when the recipients are grouped in another way after a crash, since a site has changed, a child with others in it must not
 * be taken for one that is stored.
 */
function messageIdOf(id: string, indexes: readonly number[]): string {
  const name = `${id}:${indexes[0] ?? 0}`;
  return indexes.length === 1 ? name : `${name}:${hash32(indexes.join()).toString(36)}`;
}

/** The same address may stand in an envelope twice: each of its places goes to one child. */
function childrenOf(parent: Envelope, groups: readonly Group[]): Child[] {
  const places = new Map<string, number[]>();
  for (const [index, address] of parent.to.entries())
    places.set(address, [...(places.get(address) ?? []), index]);
  return groups.map((group) => ({
    group,
    indexes: [...new Set(group.to.flatMap((address) => places.get(address) ?? []))].sort((a, b) => a - b),
  }));
}
