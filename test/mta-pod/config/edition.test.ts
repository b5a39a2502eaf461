/** Slots come one by one: whatever has arrived of a history of edits, a pod runs one of its states or none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { canonicalJson, digestOf } from "#crds/pod-config/encode.ts";
import type { Edition, Manifest, TenantSlot } from "#crds/pod-config/schema.ts";
import { editionFile, slotFile } from "#crds/pod-config/slots.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { loadConfig } from "#mta-pod/config/loader.ts";
import { manifestContent, project, temporaryFolders } from "./folders.ts";

const slotNames = ["00", "01", "02"] as const;

/** One edit: the weight of a tenant in each of these slots, and perhaps the pool's own settings. */
interface Edit {
  readonly slots: readonly number[];
  readonly isPool: boolean;
}

/** Files of one ConfigMap, which arrive together. */
type Source = ReadonlyMap<string, string | Buffer>;

interface State {
  readonly text: string;
  /** By ConfigMap, as they are after this edit. */
  readonly sources: ReadonlyMap<string, Source>;
}

function slotOf(name: string, weight: number): TenantSlot {
  return {
    version: 1,
    tenants: [
      {
        id: `mail/t${name}`,
        state: "Active",
        weight,
        domains: [],
        credentials: [],
        limits: { recipientsPerMessage: 100, messageSizeBytes: 1_000_000 },
        streams: [{ name: "default", class: "transactional" }],
        retry: {},
      },
    ],
  };
}

/** As the operator writes them: the slots that changed with the edition beside them, the manifest when it says something else. */
function historyOf(edits: readonly Edit[]): State[] {
  const weights = slotNames.map(() => 1);
  let drainTimeoutMs = 1000;
  let sources = new Map<string, Source>();
  const history: State[] = [];
  const all = [{ slots: [0, 1, 2], isPool: true }, ...edits];
  for (const [index, { slots: changed, isPool }] of all.entries()) {
    const generation = index + 1;
    for (const slot of changed) weights[slot] = generation;
    if (isPool) drainTimeoutMs = 1000 + generation;
    const values = slotNames.map((name, at) => slotOf(name, weights[at] ?? 0));
    const slots = Object.fromEntries(slotNames.map((name, at) => [name, digestOf(values[at])]));
    const content = { ...manifestContent(slots), drainTimeoutMs };
    const manifest: Manifest = { ...content, generation, digest: digestOf(content) };
    const edition: Edition = { version: 1, generation, digest: manifest.digest, slots };
    sources = new Map(sources);
    for (const slot of changed) {
      const name = slotNames[slot] ?? "";
      const files = new Map([
        [slotFile(name), gzipSync(canonicalJson(values[slot]))],
        [editionFile(name), Buffer.from(canonicalJson(edition))],
      ]);
      sources.set(name, files);
    }
    if (isPool || changed.length === 0)
      sources.set("pool", new Map([["pool.json", canonicalJson(manifest)]]));
    history.push({ text: canonicalJson({ generation, weights, drainTimeoutMs }), sources });
  }
  return history;
}

function loaded(sources: readonly Source[]): { text: string } | { issues: string } {
  using folders = temporaryFolders();
  project(folders.configDir, new Map(sources.flatMap((source) => [...source])));
  const result = loadConfig(folders.configDir, folders.keysDir);
  if (!result.ok) return { issues: result.issues.map(formatIssue).join("\n") };
  const { manifest, tenants } = result.config;
  const weights = slotNames.map((name) => tenants.get(`mail/t${name}`)?.weight);
  const { generation, drainTimeoutMs } = manifest;
  return { text: canonicalJson({ generation, weights, drainTimeoutMs }) };
}

const edit = fc.record({ slots: fc.uniqueArray(fc.nat({ max: 2 })), isPool: fc.boolean() });

test("each state of a history loads, whatever was written for it", () => {
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 6 }), (edits) => {
      for (const { text, sources } of historyOf(edits))
        assert.deepEqual(loaded([...sources.values()]), { text });
    }),
    { numRuns: 50 },
  );
});

test("ConfigMaps that have arrived as of different edits make one state of the history, or none", () => {
  const seen = fc.array(fc.nat({ max: 6 }), { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 6 }), seen, (edits, ages) => {
      const history = historyOf(edits);
      const sources = [...slotNames, "pool"].map((name, at) => {
        const state = history[Math.min(ages[at] ?? 0, history.length - 1)];
        return state?.sources.get(name) ?? new Map<string, Buffer>();
      });
      const result = loaded(sources);
      if ("text" in result)
        assert.ok(
          history.some(({ text }) => text === result.text),
          result.text,
        );
    }),
    { numRuns: 300 },
  );
});

test("what has not arrived is named", () => {
  const [first, second, third] = historyOf([
    { slots: [0, 1], isPool: false },
    { slots: [2], isPool: true },
  ]);
  const of = (state: State | undefined, name: string): Source => state?.sources.get(name) ?? new Map();
  const mixed = (...sources: Source[]): string => {
    const result = loaded(sources);
    return "issues" in result ? result.issues : result.text;
  };
  assert.match(
    mixed(of(second, "00"), of(first, "01"), of(first, "02"), of(first, "pool")),
    /^01\.json\.gz: digest: expected [0-9a-f]{64} of the manifest/,
  );
  assert.match(
    mixed(of(third, "00"), of(third, "01"), of(third, "02"), of(first, "pool")),
    /^02\.edition\.json: digest: expected [0-9a-f]{64} of the manifest with the slots of generation 3/,
  );
  const torn = new Map([...of(second, "00"), [editionFile("00"), Buffer.from("{")] as const]);
  assert.match(mixed(torn, of(second, "01"), of(first, "02"), of(first, "pool")), /^00\.edition\.json: /);
});
