/** The newest edition of the manifest: its own, or the one beside a slot that was written after it. Pure, never throws. */
import { digestOf } from "#crds/pod-config/encode.ts";
import { parseEdition } from "#crds/pod-config/parse.ts";
import type { Edition, Manifest } from "#crds/pod-config/schema.ts";
import type { Issue, Parsed } from "#crds/values/issue.ts";

interface Found {
  readonly file: string;
  readonly edition: Edition;
}

/**
 * The manifest as of the newest edition. Its digest proves that the manifest's other parts are of that edition too; whether the
 * slots are, is for who reads them by the digests that it names.
 * @param files texts of the edition files, by name
 */
export function newestManifest(manifest: Manifest, files: ReadonlyMap<string, string>): Parsed<Manifest> {
  const issues: Issue[] = [];
  let newest: Found | undefined;
  for (const [file, text] of files) {
    const parsed = parseEdition(jsonIn(text));
    if (!parsed.ok) issues.push(...parsed.issues.map((issue) => ({ ...issue, source: file })));
    else if (parsed.value.generation > (newest?.edition ?? manifest).generation)
      newest = { file, edition: parsed.value };
  }
  if (issues.length > 0) return { ok: false, issues };
  if (newest === undefined) return { ok: true, value: manifest };
  const { generation, digest, slots } = newest.edition;
  const { generation: _generation, digest: _digest, ...content } = { ...manifest, slots };
  const got = digestOf(content);
  if (got === digest) return { ok: true, value: { ...content, generation, digest } };
  const expected = `${digest} of the manifest with the slots of generation ${generation}`;
  return { ok: false, issues: [{ source: newest.file, where: "digest", expected, got }] };
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
