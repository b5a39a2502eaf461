/** Remembers DNS answers, negative ones too, and asks each question once at a time; bounded; time is the clock's. */
import { LRUCache } from "lru-cache";
import type { Clock } from "#mta-pod/runtime/clock.ts";
import type { AddressRecord, Answer, MxRecord, Resolver } from "./resolver.ts";

export interface Cached<Item> {
  readonly answer: Answer<Item>;
  /** By the monotonic clock, ms. */
  readonly expires: number;
}

export interface DnsCache {
  /** Without asking; undefined when it is not known, or not any more. */
  peekMx(name: string): Cached<MxRecord> | undefined;
  mx(name: string): Promise<Cached<MxRecord>>;
  addresses(name: string): Promise<Cached<AddressRecord>>;
}

const second = 1000;
/** Node tells no TTL of MX records. */
const mxMs = 300 * second;
const addressMinMs = 30 * second;
const addressMaxMs = 3600 * second;
const noneMs = 60 * second;
const failedMs = 10 * second;

const maxNames = 20_000;
/** Questions under way at once, of either kind: more are answered with a failure instead of being queued. */
const maxQuestions = 1000;

export function createDnsCache(resolver: Resolver, clock: Clock): DnsCache {
  const mx = createTable(
    clock,
    (name) => resolver.mx(name),
    () => mxMs,
  );
  const addresses = createTable(clock, (name) => resolver.addresses(name), addressTtl);
  return { peekMx: mx.peek, mx: mx.get, addresses: addresses.get };
}

function addressTtl(records: readonly AddressRecord[]): number {
  const ttl = Math.min(...records.map((record) => record.ttl)) * second;
  return Math.max(addressMinMs, Math.min(ttl, addressMaxMs));
}

function lifetime<Item>(answer: Answer<Item>, foundMs: (records: readonly Item[]) => number): number {
  switch (answer.kind) {
    case "found":
      return foundMs(answer.records);
    case "none":
      return noneMs;
    case "failed":
      return failedMs;
    default:
      return answer satisfies never;
  }
}

function createTable<Item>(
  clock: Clock,
  ask: (name: string) => Promise<Answer<Item>>,
  foundMs: (records: readonly Item[]) => number,
) {
  const known = new LRUCache<string, Cached<Item>>({ max: maxNames });
  const underWay = new Map<string, Promise<Cached<Item>>>();
  const peek = (name: string): Cached<Item> | undefined => {
    const cached = known.get(name);
    return cached !== undefined && cached.expires > clock.monotonic() ? cached : undefined;
  };
  const question = async (name: string): Promise<Cached<Item>> => {
    try {
      const answer = await ask(name);
      const cached = { answer, expires: clock.monotonic() + lifetime(answer, foundMs) };
      known.set(name, cached);
      return cached;
    } finally {
      underWay.delete(name);
    }
  };
  const get = (name: string): Promise<Cached<Item>> => {
    const cached = peek(name);
    if (cached !== undefined) return Promise.resolve(cached);
    const asked = underWay.get(name);
    if (asked !== undefined) return asked;
    if (underWay.size >= maxQuestions) {
      const answer = { kind: "failed", text: "too many DNS questions at once" } as const;
      return Promise.resolve({ answer, expires: clock.monotonic() });
    }
    const asking = question(name);
    underWay.set(name, asking);
    return asking;
  };
  return { peek, get };
}
