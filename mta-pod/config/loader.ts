/** Mounted files → PodConfig: parsed, checked against each other, or every issue. Never throws, never returns half of it. */
import { gunzipSync } from "node:zlib";
import { digestOfText } from "#crds/pod-config/encode.ts";
import { parseKeySlot, parseManifest, parseTenantSlot } from "#crds/pod-config/parse.ts";
import type { KeySlot, Manifest, PodConfig, TenantConfig, TenantSlot } from "#crds/pod-config/schema.ts";
import {
  editionFilePattern,
  keySlotFile,
  manifestFile,
  maxFileBytes,
  maxSlotTextBytes,
  slotFile,
  tenantSlotFile,
} from "#crds/pod-config/slots.ts";
import type { Issue, Parsed } from "#crds/values/issue.ts";
import { newestManifest } from "./edition.ts";
import { readFolder } from "./files.ts";
import type { FolderFiles } from "./files.ts";

export type LoadedConfig =
  | { readonly ok: true; readonly config: PodConfig }
  | { readonly ok: false; readonly issues: readonly Issue[] };

/** Reads both folders once. */
export function loadConfig(configDir: string, keysDir: string): LoadedConfig {
  return createLoader(configDir, keysDir)();
}

/**
 * A loader that remembers what it parsed, so that the edit of one tenant costs the parsing of one slot.
 * What does not fit together (a slot of another manifest, a login or a selector without its key, proxies without theirs) is an issue: files
 * of several ConfigMaps and Secrets arrive one by one, and mail must not leave unsigned in between.
 */
export function createLoader(configDir: string, keysDir: string): () => LoadedConfig {
  const tenantCache = new Map<string, Cached<TenantSlot>>();
  const keyCache = new Map<string, Cached<KeySlot>>();
  return () => {
    try {
      const config = readFolder(configDir, isConfigFile);
      const keys = readFolder(keysDir, (name) => keySlotFile.test(name));
      const written = manifestOf(config);
      if (!written.ok) return written;
      const manifest = newestManifest(written.value, editionsIn(config));
      if (!manifest.ok) return manifest;
      const slots = tenantSlotsOf(config, manifest.value, tenantCache);
      const keySlots = keySlotsOf(keys, keyCache);
      const issues = [...slots.issues, ...keySlots.issues];
      return issues.length > 0
        ? { ok: false, issues }
        : assemble(manifest.value, slots.values, keySlots.values);
    } catch (error) {
      return refused({ where: "configuration", expected: "readable files", got: String(error) });
    }
  };
}

function isConfigFile(name: string): boolean {
  return name === manifestFile || tenantSlotFile.test(name) || editionFilePattern.test(name);
}

function editionsIn({ files }: FolderFiles): Map<string, string> {
  const editions = [...files].filter(([name]) => editionFilePattern.test(name));
  return new Map(editions.map(([name, bytes]) => [name, bytes.toString("utf8")]));
}

interface Cached<Value> {
  readonly bytes: Buffer;
  readonly digest: string;
  readonly value: Value;
}

interface Slots<Value> {
  readonly values: readonly Value[];
  readonly issues: readonly Issue[];
}

function refused(issue: Issue): { ok: false; issues: Issue[] } {
  return { ok: false, issues: [issue] };
}

function from(source: string, issues: readonly Issue[]): Issue[] {
  return issues.map((issue) => ({ ...issue, source }));
}

function manifestOf({ files, tooLarge }: FolderFiles): Parsed<Manifest> {
  const bytes = files.get(manifestFile);
  if (bytes === undefined) {
    const got = tooLarge.includes(manifestFile) ? "a larger one" : "no such file";
    return refused({ source: manifestFile, where: "file", expected: `at most ${maxFileBytes} bytes`, got });
  }
  const json = parseJson(bytes.toString("utf8"));
  if (!json.ok) return { ok: false, issues: from(manifestFile, json.issues) };
  const parsed = parseManifest(json.value);
  return parsed.ok ? parsed : { ok: false, issues: from(manifestFile, parsed.issues) };
}

/** The slots that the manifest names, each with the content that it names. */
function tenantSlotsOf(
  { files, tooLarge }: FolderFiles,
  manifest: Manifest,
  cache: Map<string, Cached<TenantSlot>>,
): Slots<TenantSlot> {
  const values: TenantSlot[] = [];
  const issues: Issue[] = [];
  for (const [slot, digest] of Object.entries(manifest.slots)) {
    const name = slotFile(slot);
    const bytes = files.get(name);
    if (bytes === undefined) {
      const got = tooLarge.includes(name) ? "a larger one" : "no such file";
      issues.push({ source: name, where: "file", expected: `a slot of at most ${maxFileBytes} bytes`, got });
      continue;
    }
    const parsed = slotOf(bytes, cache.get(name), parseTenantSlot);
    if (!parsed.ok) issues.push(...from(name, parsed.issues));
    else if (parsed.value.digest !== digest)
      issues.push({
        source: name,
        where: "digest",
        expected: `${digest} of the manifest`,
        got: parsed.value.digest,
      });
    else {
      cache.set(name, parsed.value);
      values.push(parsed.value.value);
    }
  }
  return { values, issues };
}

function keySlotsOf({ files, tooLarge }: FolderFiles, cache: Map<string, Cached<KeySlot>>): Slots<KeySlot> {
  const values: KeySlot[] = [];
  const issues: Issue[] = tooLarge.map((source) => ({
    source,
    where: "file",
    expected: `at most ${maxFileBytes} bytes`,
    got: "a larger one",
  }));
  for (const [name, bytes] of files) {
    const parsed = slotOf(bytes, cache.get(name), parseKeySlot);
    if (!parsed.ok) issues.push(...from(name, parsed.issues));
    else {
      cache.set(name, parsed.value);
      values.push(parsed.value.value);
    }
  }
  for (const name of cache.keys()) if (!files.has(name)) cache.delete(name);
  return { values, issues };
}

function slotOf<Value>(
  bytes: Buffer,
  cached: Cached<Value> | undefined,
  parse: (input: unknown) => Parsed<Value>,
): Parsed<Cached<Value>> {
  if (cached?.bytes.equals(bytes) === true) return { ok: true, value: cached };
  let text: Buffer;
  try {
    text = gunzipSync(bytes, { maxOutputLength: maxSlotTextBytes });
  } catch (error) {
    return refused({
      where: "file",
      expected: `gzip of at most ${maxSlotTextBytes} bytes`,
      got: String(error),
    });
  }
  const json = parseJson(text.toString("utf8"));
  if (!json.ok) return json;
  const parsed = parse(json.value);
  return parsed.ok ? { ok: true, value: { bytes, digest: digestOfText(text), value: parsed.value } } : parsed;
}

/** The parser's own message would quote the text, which may be a key: it is left out. */
function parseJson(text: string): Parsed<unknown> {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch {
    return refused({ where: "file", expected: "JSON", got: `${text.length} characters of something else` });
  }
}

function assemble(
  manifest: Manifest,
  slots: readonly TenantSlot[],
  keySlots: readonly KeySlot[],
): LoadedConfig {
  const tenants = new Map<string, TenantConfig>();
  for (const slot of slots) for (const tenant of slot.tenants) tenants.set(tenant.id, tenant);
  const logins = new Map(keySlots.flatMap((slot) => slot.credentials).map((key) => [nameOfLogin(key), key]));
  const selectors = new Map(keySlots.flatMap((slot) => slot.dkim).map((key) => [nameOfSelector(key), key]));
  const credentials: KeySlot["credentials"] = [];
  const dkimKeys: KeySlot["dkim"] = [];
  const missing: string[] = [];
  for (const tenant of tenants.values()) {
    for (const { name } of tenant.credentials) {
      const login = { tenant: tenant.id, credential: name };
      take(logins, nameOfLogin(login), { kept: credentials, missing });
    }
    for (const domain of tenant.domains)
      for (const { selector } of domain.dkim) {
        const key = { tenant: tenant.id, domain: domain.name, selector };
        take(selectors, nameOfSelector(key), { kept: dkimKeys, missing });
      }
  }
  const proxyLogin = keySlots.find((slot) => slot.proxyLogin !== undefined)?.proxyLogin;
  if (manifest.egress.proxy?.hasLogin === true && proxyLogin === undefined)
    missing.push("the egress proxies");
  if (missing.length === 0)
    return {
      ok: true,
      config: {
        manifest,
        tenants,
        credentials,
        dkimKeys,
        ...(proxyLogin === undefined ? {} : { proxyLogin }),
      },
    };
  const expected = "a key for every login and selector of the configuration";
  const got = `none for ${missing.slice(0, 3).join("; ")}${missing.length > 3 ? `; and ${missing.length - 3} more` : ""}`;
  return refused({ source: "keys", where: "file", expected, got });
}

function nameOfLogin(key: { tenant: string; credential: string }): string {
  return `credential ${key.credential} of ${key.tenant}`;
}

function nameOfSelector(key: { tenant: string; domain: string; selector: string }): string {
  return `selector ${key.selector} of ${key.domain} of ${key.tenant}`;
}

function take<Key>(
  keys: ReadonlyMap<string, Key>,
  name: string,
  to: { kept: Key[]; missing: string[] },
): void {
  const key = keys.get(name);
  if (key === undefined) to.missing.push(name);
  else to.kept.push(key);
}
