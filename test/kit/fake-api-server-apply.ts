/** How the fake API server merges: JSON merge patch (RFC 7386), a small server-side apply, label and field selectors. Pure. */
import type { KubeObject } from "#operator/kube/types.ts";

type Json = unknown;
export type Fields = { [field: string]: Json };

export function isFields(value: Json): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Deep equality of JSON values, in whatever order their keys stand. */
export function same(a: Json, b: Json): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => same(item, b[index]));
  if (!isFields(a) || !isFields(b)) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && same(a[key], b[key]));
}

export function mergePatch(target: Json, patch: Json): Json {
  if (!isFields(patch)) return patch;
  const merged: Fields = isFields(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

/** Lists that the real schemas merge by a key; all others are replaced whole. */
const listKeys: Readonly<Record<string, string>> = { conditions: "type", ownerReferences: "uid" };

export interface Conflict {
  readonly field: string;
}

/**
 * `applied` laid over `live` by one manager: what `previous` (the manager's last apply) had and `applied` has no more goes,
 * except what `others` hold as well. Differences from fields of `others` are conflicts; they win all the same (force).
 */
export function applyFields(
  live: Json,
  { applied, previous, others }: { applied: Json; previous: Json; others: readonly Json[] },
): { readonly merged: Json; readonly conflicts: readonly Conflict[] } {
  const conflicts: Conflict[] = [];
  const merged = lay("", live, applied, previous, others, conflicts);
  return { merged, conflicts };
}

// oxlint-disable-next-line max-params
function lay(
  path: string,
  live: Json,
  applied: Json,
  previous: Json,
  others: readonly Json[],
  conflicts: Conflict[],
): Json {
  if (isFields(applied)) {
    const result: Fields = isFields(live) ? { ...live } : {};
    if (isFields(previous))
      for (const key of Object.keys(previous))
        if (!(key in applied) && !others.some((other) => isFields(other) && key in other)) delete result[key];
    for (const [key, value] of Object.entries(applied))
      result[key] = lay(
        `${path}.${key}`,
        result[key],
        value,
        isFields(previous) ? previous[key] : undefined,
        others.flatMap((other) => (isFields(other) && key in other ? [other[key]] : [])),
        conflicts,
      );
    return result;
  }
  const listKey = listKeys[path.slice(path.lastIndexOf(".") + 1)];
  if (Array.isArray(applied) && listKey !== undefined) {
    const keyed = (list: Json): Fields =>
      Object.fromEntries(
        (Array.isArray(list) ? list : []).map((item) => [String((item as Fields)[listKey]), item]),
      );
    return Object.values(
      lay(path, keyed(live), keyed(applied), keyed(previous), others.map(keyed), conflicts) as Fields,
    );
  }
  if (Array.isArray(applied) && path.endsWith(".finalizers")) {
    const dropped = (Array.isArray(previous) ? previous : []).filter(
      (item) =>
        !applied.includes(item) && !others.some((other) => Array.isArray(other) && other.includes(item)),
    );
    const kept = (Array.isArray(live) ? live : []).filter((item) => !dropped.includes(item));
    return [...new Set([...kept, ...applied])];
  }
  if (others.some((other) => !same(other, applied))) conflicts.push({ field: path });
  return applied;
}

/** `a=b`, `a==b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`, joined by commas. */
export function matchesLabels(
  selector: string | null,
  labels: Readonly<Record<string, string>> = {},
): boolean {
  if (selector === null || selector === "") return true;
  return (selector.match(/(?:[^,(]|\([^)]*\))+/g) ?? []).every((term) => {
    const set = /^\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*$/.exec(term);
    if (set !== null) {
      const [, key = "", how, values = ""] = set;
      const listed = values.split(",").map((value) => value.trim());
      const value = labels[key];
      return how === "in" ? value !== undefined && listed.includes(value) : !listed.includes(value ?? "\n");
    }
    const [, key = "", how = "=", wanted = ""] = /^\s*([^!=]+?)\s*(!=|==?)\s*(\S*)\s*$/.exec(term) ?? [];
    if (key !== "") return how === "!=" ? labels[key] !== wanted : labels[key] === wanted;
    return term.trim().startsWith("!") ? !(term.trim().slice(1) in labels) : term.trim() in labels;
  });
}

/** `metadata.name=x`, `spec.nodeName!=y` and the like, joined by commas. */
export function matchesFields(selector: string | null, object: KubeObject): boolean {
  if (selector === null || selector === "") return true;
  return selector.split(",").every((term) => {
    const [, path = "", how, wanted] = /^([^!=]+)(!=|==?)(.*)$/.exec(term) ?? [];
    let value: Json = object;
    for (const step of path.split(".")) value = isFields(value) ? value[step] : undefined;
    return how === "!=" ? String(value ?? "") !== wanted : String(value ?? "") === wanted;
  });
}
