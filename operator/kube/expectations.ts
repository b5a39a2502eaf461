/**
 * After a write a key is not reconciled until its kind's reflector has seen the written version (KEP-5647's idea): what is decided on an
 * old map makes things twice. Pure but for the clock; forgets by itself.
 */
import type { Clock, Expectations, ResourceType } from "./types.ts";
import { compareVersions } from "./versions.ts";

export interface ExpectationsOptions {
  readonly clock: Clock;
  /** The newest version that the map of this kind reflects: `reflector.resourceVersion()`; undefined = the kind is not watched. */
  seen(type: ResourceType): string | undefined;
  /** A version that was not seen by then is not waited for: it may be outside of what is watched. Default 10 s. */
  readonly maxWaitMs?: number;
}

interface Wait {
  readonly type: ResourceType;
  readonly resourceVersion: string;
  readonly until: number;
}

/** @example expectations.wrote(key, configMaps, (await client.apply(configMaps, object)).metadata.resourceVersion ?? "") */
export function createExpectations({ clock, seen, maxWaitMs = 10_000 }: ExpectationsOptions): Expectations {
  const waits = new Map<string, Map<string, Wait>>();
  return {
    wrote(key, type, resourceVersion) {
      const byKind = waits.get(key) ?? new Map<string, Wait>();
      const kind = `${type.plural}.${type.group}`;
      const known = byKind.get(kind);
      if (known !== undefined && (compareVersions(resourceVersion, known.resourceVersion) ?? 1) < 0) return;
      byKind.set(kind, { type, resourceVersion, until: clock.monotonic() + maxWaitMs });
      waits.set(key, byKind);
    },
    fulfilled(key) {
      const byKind = waits.get(key);
      if (byKind === undefined) return true;
      for (const [kind, { type, resourceVersion, until }] of byKind) {
        const version = seen(type);
        const isSeen = version === undefined || (compareVersions(version, resourceVersion) ?? -1) >= 0;
        if (isSeen || clock.monotonic() >= until) byKind.delete(kind);
      }
      if (byKind.size === 0) waits.delete(key);
      return byKind.size === 0;
    },
    forget: (key) => void waits.delete(key),
  };
}
