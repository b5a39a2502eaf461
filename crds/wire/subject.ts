/** Names of streams, buckets and subjects of one pool; the only place that builds or takes apart a subject. Pure. */
import { hash32, hashToken } from "#crds/values/hash.ts";
import { remember } from "#crds/values/remember.ts";

/** Site token of a parent entry: a message for several sites that its shard's owner still has to split (design.md §3). */
export const parentSite = "_parent";

const own = "o";
const foreign = "x";

/** Entries that share a subject, so that they can be deleted together. */
interface EntryBundle {
  /** Stored by a pod that does not own the shard: its owner listens to those (`foreignFilter`). */
  readonly isForeign: boolean;
  /** A name that never comes again; one token. */
  readonly bundle: string;
}

/** Every JetStream name of the pool `namespace/name`, from its token. `shard` counts from 0. */
export interface PoolNames {
  readonly token: string;
  readonly bucket: string;
  readonly eventStream: string;
  readonly bodyStream: string;
  /** Of a pool in mode Sink: the last messages, for a look. */
  readonly sinkStream: string;
  shardStream(shard: number): string;
  /** Subjects that the stream of `shard` stores. */
  shardSubjects(shard: number): string[];
  entrySubject(shard: number, tenant: string, site: string, how?: EntryBundle): string;
  /** Filter that matches the entries of a shard, or only those of a tenant. */
  entryFilter(shard: number, tenant?: string): string;
  /** Entries stored by others than the shard's owner. */
  foreignFilter(shard: number): string;
  /** Beginning of the reply subjects of their publishes: the owner hears the acknowledgements as well. */
  ackRoot(shard: number | "*"): string;
  /** Owners tell there that they cannot keep up. */
  readonly pressureSubject: string;
  stateSubject(shard: number, seq: number): string;
  stateFilter(shard: number): string;
  leaseSubject(shard: number): string;
  bodySubject(id: string, chunk: number): string;
  bodyFilter(id: string): string;
  sinkSubject(id: string): string;
  /** `minute` is the number of minutes since 1970. */
  eventSubject(minute: number): string;
  /** What pods tell each other that they have settled; in the event stream. */
  readonly settledSubject: string;
  /** Requests that every pod of the pool answers (scatter and gather). */
  peerSubject(pod?: string): string;
}

/** @example poolNames("mail/shared").shardStream(3) === "MB_<13 characters>_3" */
export function poolNames(pool: string): PoolNames {
  const token = hashToken(pool);
  const root = `mb.${token}`;
  /** By shard: each message asks for its stream's, and what is looked up by it wants the same text again. */
  const shardStreams: string[] = [];
  return {
    token,
    bucket: `MB_${token}`,
    eventStream: `MB_${token}_EV`,
    bodyStream: `MB_${token}_BODY`,
    sinkStream: `MB_${token}_SINK`,
    shardStream: (shard) => (shardStreams[shard] ??= `MB_${token}_${shard}`),
    shardSubjects: (shard) => [`${root}.${shard}.q.>`, `${root}.${shard}.s.*`, `${root}.${shard}.lease`],
    entrySubject(shard, tenant, site, how) {
      const lane = `${root}.${shard}.q.${hashToken(tenant)}.${site === parentSite ? parentSite : hashToken(site)}`;
      return how === undefined ? lane : `${lane}.${how.isForeign ? foreign : own}.${how.bundle}`;
    },
    entryFilter: (shard, tenant) =>
      tenant === undefined ? `${root}.${shard}.q.>` : `${root}.${shard}.q.${hashToken(tenant)}.>`,
    foreignFilter: (shard) => `${root}.${shard}.q.*.*.${foreign}.*`,
    pressureSubject: `${root}.pressure`,
    ackRoot: (shard) => `${root}.${shard}.a`,
    stateSubject: (shard, seq) => `${root}.${shard}.s.${seq}`,
    stateFilter: (shard) => `${root}.${shard}.s.*`,
    leaseSubject: (shard) => `${root}.${shard}.lease`,
    bodySubject: (id, chunk) => `${root}.body.${id}.${chunk}`,
    bodyFilter: (id) => `${root}.body.${id}.*`,
    sinkSubject: (id) => `${root}.sink.${id}`,
    eventSubject: (minute) => `${root}.ev.${minute}`,
    settledSubject: `${root}.settled`,
    peerSubject: (pod) => (pod === undefined ? `${root}.peer` : `${root}.peer.${hashToken(pod)}`),
  };
}

/** Whether the entry that is stored there is the tenant's: all that one says whose envelope cannot be read. */
export function isEntryOf(subject: string, tenant: string): boolean {
  return subject.split(".")[4] === hashToken(tenant);
}

/** As `sliceMark`. */
const besideMark = "+";

/** Name of the site that mail of a rule's goes to where other rules' mail has its site already: at the same hosts, with limits of its own. */
export function siteBeside(place: string, rule: string): string {
  return `${place}${besideMark}${rule}`;
}

/** Stands in no rule's name. */
const guestMark = "@";

/** Name of the site at `place` that counts the connections which mail of a rule's makes there as a guest, from sites of other places; "" = of no rule. */
export function guestSite(place: string, rule: string): string {
  return siteBeside(place, guestMark + rule);
}

export function isGuestSite(site: string): boolean {
  return site.includes(besideMark + guestMark);
}

/** What sites that share their hosts have in common: the name of the first of them. A slice of a site shares with none. */
export function placeOf(site: string): string {
  const end = site.indexOf(besideMark);
  return end < 0 || sliced.test(site) ? site : site.slice(0, end);
}

const longestLabel = 24;
const longestOrganisation = 64;

/** Stands in no host's name: a token of hosts that are not the organisation's. */
const othersMark = "=";

/**
 * Name of the site of these MX hosts, the same in whatever order they come. Those of `organisation` (a registrable domain) are named, long
 * ones by a token, so that sites which have only some in common know it of each other; all others are one token.
 * @example siteOfHosts("a.example", ["mx2.a.example", "mx1.a.example"]) === "mx:a.example/mx1,mx2"
 */
export function siteOfHosts(organisation: string | undefined, hosts: readonly string[]): string {
  if (organisation === undefined || organisation.length > longestOrganisation)
    return `mx:${hostsToken(hosts)}`;
  const below = `.${organisation}`;
  const isOwn = (host: string): boolean => host === organisation || host.endsWith(below);
  const labels = hosts
    .filter(isOwn)
    .toSorted()
    .map((host) => {
      const label = host === organisation ? "@" : host.slice(0, -below.length);
      return label.length > longestLabel ? `#${hashToken(label)}` : label;
    });
  const others = hosts.filter((host) => !isOwn(host));
  if (others.length > 0) labels.push(othersMark + hostsToken(others));
  return `mx:${organisation}/${labels.join(",")}`;
}

/** One token for all of them, the same in whatever order they come. */
export function hostsToken(hosts: readonly string[]): string {
  return hashToken(hosts.toSorted().join(","));
}

/** Organisation and hosts of a place that names them. */
const hostsOfPlace = /^(mx:[^/]+)\/(.+)$/s;

/** Sites that have one of these in common share hosts. */
export function sharedPlaces(site: string): readonly string[] {
  const place = placeOf(site);
  const [, organisation, hosts] = sliced.test(site) ? [] : (hostsOfPlace.exec(place) ?? []);
  if (hosts === undefined) return [place];
  const own = hosts.split(",").filter((host) => !host.startsWith(othersMark));
  return own.map((host) => `${organisation}/${host}`);
}

/** Stands in no name of a rule, host or domain; what a client says may be one is not trusted to be. */
const sliceMark = "~";
const sliced = /^(.*)~(\d{1,2})$/s;

/** Name of one of a site's slices, which has lanes, limits and a shard of its own, as a site has. */
export function sliceName(site: string, slice: number): string {
  return `${site}${sliceMark}${slice}`;
}

/** The site that `name` is a slice of, and which; of another one itself. */
export function sliceIn(name: string): { readonly whole: string; readonly slice?: number } {
  const [, whole, slice] = sliced.exec(name) ?? [];
  return whole === undefined ? { whole: name } : { whole, slice: Number(slice) };
}

/** Is `site` the selected one, or one of its slices? */
export function isSiteWithin(site: string, selected: string): boolean {
  return site === selected || (site.includes(sliceMark) && sliced.exec(site)?.[1] === selected);
}

/**
 * Shard of a site, or of a slice of one: hash(place) + slice mod K, so that slices are in as many shards as there are, and sites that
 * share their hosts in one: those whose MX hosts are of one organisation. `shards` is the pool's K, at least 1.
 */
export function shardOf(site: string, shards: number): number {
  return siteHash(site) % shards;
}

/** The busy sites of a pod are few, and each message asks: remembered, unlike the ids of parents. */
const siteHash = remember({ max: 10_000, maxLength: 1024 }, (site: string): number => {
  // Guests of a slice go with it.
  const { whole, slice = 0 } = sliceIn(placeOf(site));
  const place = placeOf(whole);
  return hash32(`${hostsOfPlace.exec(place)?.[1] ?? place}#0`) + slice;
});

/** Shard of a parent entry, from the message's id. */
export function parentShardOf(id: string, shards: number): number {
  return hash32(id) % shards;
}
