/**
 * After a write a key is not reconciled until the reflector has seen the written version (KEP-5647's idea): what is decided on an
 * old map makes things twice. Pure but for the clock; forgets by itself.
 */
import type { Clock, Expectations, ResourceType, WrittenVersion } from "./types.ts";
import { compareVersions } from "./versions.ts";

export interface ExpectationsOptions {
  readonly clock: Clock;
  /**
   * The newest version that the map of this kind in this namespace reflects: `reflector.resourceVersion()` of the one that watches
   * it, as another's moves by itself; undefined = it is not watched.
   */
  seen(type: ResourceType, namespace: string | undefined): string | undefined;
  /** A version that was not seen by then is not waited for: it may be outside of what is watched. Default 10 s. */
  readonly maxWaitMs?: number;
}

interface Wait extends WrittenVersion {
  readonly until: number;
}

/** @example expectations.wrote(key, { type: configMaps, namespace, resourceVersion }) */
export function createExpectations({ clock, seen, maxWaitMs = 10_000 }: ExpectationsOptions): Expectations {
  const waits = new Map<string, Map<string, Wait>>();
  return {
    wrote(key, written) {
      const { type, namespace = "", resourceVersion } = written;
      const byPlace = waits.get(key) ?? new Map<string, Wait>();
      const place = `${type.plural}.${type.group}/${namespace}`;
      const known = byPlace.get(place);
      if (known !== undefined && (compareVersions(resourceVersion, known.resourceVersion) ?? 1) < 0) return;
      byPlace.set(place, { ...written, until: clock.monotonic() + maxWaitMs });
      waits.set(key, byPlace);
    },
    fulfilled(key) {
      const byPlace = waits.get(key);
      if (byPlace === undefined) return true;
      for (const [place, { type, namespace, resourceVersion, until }] of byPlace) {
        const version = seen(type, namespace);
        const isSeen = version === undefined || (compareVersions(version, resourceVersion) ?? -1) >= 0;
        if (isSeen || clock.monotonic() >= until) byPlace.delete(place);
      }
      if (byPlace.size === 0) waits.delete(key);
      return byPlace.size === 0;
    },
    forget: (key) => void waits.delete(key),
  };
}
