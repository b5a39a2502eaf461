/**
 * CORRIDOR: groups the recipients of a message by site and stores it: one entry for one site, one parent entry for
 * several (design.md §3), so that one PubAck stands behind each 250. Serves the front doors and our own DSNs.
 */
import type { Envelope } from "#crds/wire/envelope.ts";
import { parentShardOf, parentSite, shardOf } from "#crds/wire/subject.ts";
import { type Router, sliceFor, type SiteRoute } from "./route/router.ts";
import { domainOf } from "./smtp/address.ts";
import type { Publisher, Stored } from "./spool/publisher.ts";

/** How long intake waits for DNS; a domain unknown by then is its own provisional site. */
const routeBoundMs = 2000;

/** Where an entry is stored. */
export interface StoredAt {
  readonly shard: number;
  readonly seq: number;
  readonly subject: string;
}

/** What storing adds to a message to make it an envelope. */
type Added = "site" | "size" | "bodyChunks" | "isBodyShared" | "moves" | "attempt" | "due";

export interface Message extends Omit<Envelope, Added> {
  readonly body: Buffer;
}

/** Recipients that can share transactions: one site, one set of hosts. */
export interface Group {
  readonly site: string;
  readonly maxAgeMs: number | undefined;
  readonly to: string[];
  /** Index of the first recipient: names the child of a parent the same way each time it is made. */
  readonly first: number;
}

export interface IntakeOptions {
  readonly router: Router;
  readonly publisher: Publisher;
  readonly shards: number;
  owns(shard: number): boolean;
  /** Calls `next` when the shard can take more, at once or within a moment. */
  enter(shard: number, next: () => void): void;
  /** Told of each stored entry, so that an owner can index its own mail without waiting for the tail. */
  stored(at: StoredAt, envelope: Envelope, body: Buffer): void;
}

interface Put {
  /** The Nats-Msg-Id, default the message's id. */
  readonly messageId?: string;
  /** Not held for others to share a write with. Default false. */
  readonly isUrgent?: boolean;
}

export interface Intake {
  /** Calls `done` once. */
  put(message: Message, done: (stored: Stored) => void, how?: Put): void;
  /** Groups without storing: for the owner of a parent. Never rejects. */
  group({ id, to }: Pick<Message, "id" | "to">): Promise<Group[]>;
}

export function createIntake(options: IntakeOptions): Intake {
  const { router } = options;
  const group = async ({ id, to }: Pick<Message, "id" | "to">): Promise<Group[]> => {
    const domains = to.map(domainOf);
    const routes = new Map<string, SiteRoute | undefined>();
    const find = async (domain: string) => routes.set(domain, await routeWithin(router, domain));
    await Promise.all([...new Set(domains)].map(find));
    return groupsOf({ id, to, domains }, (domain) => routes.get(domain));
  };
  const store = (
    message: Message,
    groups: readonly Group[],
    { messageId = message.id, isUrgent }: Put,
    done: (s: Stored) => void,
  ) => {
    const [only] = groups;
    const single = groups.length === 1 && only !== undefined ? only : undefined;
    const site = single?.site ?? parentSite;
    const shard = single ? shardOf(site, options.shards) : parentShardOf(message.id, options.shards);
    const envelope = envelopeOf(message, site, single?.maxAgeMs);
    const { body } = message;
    const by = message.from === "" ? "pod" : "intake";
    const publish = (): void =>
      options.publisher.store(
        { shard, envelope, body, messageId, by, isForeign: !options.owns(shard), isUrgent },
        (stored) => {
          if (stored.kind === "stored" && !stored.duplicate) {
            const { seq, subject, bodyChunks } = stored;
            const isAsMade = bodyChunks === envelope.bodyChunks;
            options.stored({ shard, seq, subject }, isAsMade ? envelope : { ...envelope, bodyChunks }, body);
          }
          done(stored);
        },
      );
    if (by === "pod") publish();
    else options.enter(shard, publish);
  };
  return {
    group,
    put(message, done, how = {}) {
      const known = groupsFromCache(router, message);
      if (known !== undefined) return store(message, known, how, done);
      void group(message).then((groups) => store(message, groups, how, done));
      return undefined;
    },
  };
}

/** The stored envelope of `message` for `site`; a rule's own maxAge may shorten what the tenant was given. */
export function envelopeOf(message: Message, site: string, maxAgeMs: number | undefined): Envelope {
  const from = Math.max(message.receivedAt, message.sendAt);
  const expiresAt = maxAgeMs === undefined ? message.expiresAt : Math.min(message.expiresAt, from + maxAgeMs);
  // Field by field: to copy all of an object but its body is slow.
  return {
    id: message.id,
    tenant: message.tenant,
    stream: message.stream,
    class: message.class,
    from: message.from,
    to: message.to,
    site,
    receivedAt: message.receivedAt,
    expiresAt,
    sendAt: message.sendAt,
    eightBit: message.eightBit,
    smtpUtf8: message.smtpUtf8,
    size: message.body.length,
    isBodyShared: false,
    bodyChunks: 0,
    moves: 0,
    attempt: 0,
    due: message.sendAt,
  };
}

function groupsFromCache(router: Router, { id, to }: Pick<Message, "id" | "to">): Group[] | undefined {
  const domains = to.map(domainOf);
  for (const domain of domains) if (router.peek(domain) === undefined) return undefined;
  return groupsOf({ id, to, domains }, (domain) => {
    const routed = router.peek(domain);
    return routed?.kind === "site" ? routed.site : undefined;
  });
}

async function routeWithin(router: Router, domain: string): Promise<SiteRoute | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, routeBoundMs, undefined);
  });
  try {
    const routed = await Promise.race([router.route(domain), bound]);
    return routed?.kind === "site" ? routed.site : undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** A domain without a site (unknown as yet, or refused for good) is its own: the owner asks again and settles it. */
function groupsOf(
  { id, to, domains }: Pick<Message, "id" | "to"> & { readonly domains: readonly string[] },
  routeOf: (domain: string) => SiteRoute | undefined,
): Group[] {
  const groupAt = (first: number, address: string, route: SiteRoute | undefined): Group => {
    const domain = domains[first] ?? "";
    const site = route === undefined ? domain : sliceFor(route, id).id;
    return { site, maxAgeMs: route?.rule?.retry.maxAgeMs, to: [address], first };
  };
  const [only] = to;
  // Most have one recipient, and nothing to be grouped by.
  if (to.length === 1 && only !== undefined) return [groupAt(0, only, routeOf(domains[0] ?? ""))];
  const groups = new Map<string, Group>();
  for (const [index, address] of to.entries()) {
    const domain = domains[index] ?? "";
    const route = routeOf(domain);
    const key = route === undefined ? `?${domain}` : hostsKey(route);
    const group = groups.get(key);
    if (group !== undefined) group.to.push(address);
    else groups.set(key, groupAt(index, address, route));
  }
  return [...groups.values()];
}

/** One site of a rule can have many host sets (every customer of a provider has its own): a transaction needs one. */
export function hostsKey(route: SiteRoute): string {
  let key = route.id;
  for (const hop of route.hops) key += `|${hop.host}:${hop.port}`;
  return key;
}
