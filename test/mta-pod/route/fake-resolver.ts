/** A resolver out of a table, and a clock that stands still: for the router's tests. */
import type { AddressRecord, Answer, MxRecord, Resolver } from "#mta-pod/route/resolver.ts";

export interface FakeZone {
  readonly mx?: readonly (readonly [number, string])[];
  readonly addresses?: readonly string[];
  readonly ttl?: number;
  readonly failed?: boolean;
}

export interface FakeResolver extends Resolver {
  /** `mx a.example`, in the order asked. */
  readonly asked: string[];
  zones: Record<string, FakeZone>;
}

export function fakeResolver(zones: Record<string, FakeZone>): FakeResolver {
  const asked: string[] = [];
  const answer = <Item>(zone: FakeZone | undefined, records: Item[]): Answer<Item> => {
    if (zone === undefined) return { kind: "none", isName: false };
    if (zone.failed === true) return { kind: "failed", text: "DNS: server failure" };
    return records.length === 0 ? { kind: "none", isName: true } : { kind: "found", records };
  };
  const resolver: FakeResolver = {
    asked,
    zones,
    async mx(name) {
      asked.push(`mx ${name}`);
      const zone = resolver.zones[name];
      return answer<MxRecord>(
        zone,
        (zone?.mx ?? []).map(([preference, host]) => ({ host, preference })),
      );
    },
    async addresses(name) {
      asked.push(`addresses ${name}`);
      const zone = resolver.zones[name];
      return answer<AddressRecord>(
        zone,
        (zone?.addresses ?? []).map((address) => ({
          address,
          family: address.includes(":") ? 6 : 4,
          ttl: zone?.ttl ?? 300,
        })),
      );
    },
  };
  return resolver;
}

/** Both hands move together by `advance`. */
export function fakeClock() {
  let time = 1_000_000;
  return {
    now: () => time,
    monotonic: () => time,
    advance(ms: number) {
      time += ms;
    },
  };
}
