/** Files and folders of YAML and JSON → a Snapshot and issues. Reads the file system; what cannot be read is an issue, never a throw. */
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Issue } from "#crds/values/issue.ts";
import { type Documents, documentsOf, type SourceDocument } from "./documents.ts";
import { createGatherer, type Gathered, isForeign } from "./resources.ts";

const maxFileBytes = 16 * 1024 * 1024;
const maxTotalBytes = 256 * 1024 * 1024;
const maxFiles = 20_000;
const maxDepth = 16;

export function isResourceFile(name: string): boolean {
  return /\.(ya?ml|json)$/i.test(name);
}

interface Found {
  readonly files: string[];
  readonly issues: Issue[];
}

export type ReadResources = (paths: readonly string[]) => Gathered;

/**
 * Reads every path: a file whatever its name, a folder with everything below it that is .yaml, .yml or .json and not hidden, but for
 * kinds of others (a Deployment, a Kustomization), which folders of GitOps hold. Whoever
 * reads again after an edit keeps the reader: what stands in files that stayed the same is the same resources again.
 */
export function createResourceReader(): ReadResources {
  const gather = createGatherer();
  let known: ReadonlyMap<string, KnownFile> = new Map();
  return (paths) => {
    const read = new Map<string, KnownFile>();
    const gathered = readWith(paths, (file, text) => {
      const before = known.get(file);
      const documents = before?.text === text ? before.documents : documentsOf(file, text);
      read.set(file, { text, documents });
      return documents;
    });
    known = read;
    const { snapshot, issues } = gather(gathered.documents);
    return { snapshot, issues: [...gathered.issues, ...issues] };
  };
}

/** Once, as `createResourceReader()` does. */
export function readResources(paths: readonly string[]): Gathered {
  return createResourceReader()(paths);
}

interface KnownFile {
  readonly text: string;
  readonly documents: Documents;
}

function readWith(paths: readonly string[], parse: (file: string, text: string) => Documents): Documents {
  const found: Found = { files: [], issues: [] };
  for (const path of paths) find(path, 0, found);
  const given = new Set(paths);
  const documents: SourceDocument[] = [];
  const issues: Issue[] = [...found.issues];
  let total = 0;
  for (const file of new Set(found.files)) {
    const text = textOf(file);
    if (!text.ok) {
      issues.push(text.issue);
      continue;
    }
    total += text.bytes;
    if (total > maxTotalBytes) {
      issues.push(fileIssue(file, `at most ${maxTotalBytes} bytes in all files`, "more"));
      break;
    }
    const parsed = parse(file, text.text);
    for (const document of parsed.documents)
      if (given.has(file) || !isForeign(document.value)) documents.push(document);
    issues.push(...parsed.issues);
  }
  return { documents, issues };
}

function find(path: string, depth: number, found: Found): void {
  try {
    if (!statSync(path).isDirectory()) {
      if (found.files.push(path) === maxFiles + 1)
        found.issues.push(fileIssue(path, `at most ${maxFiles} files`, "more"));
      return;
    }
    if (depth === maxDepth) {
      found.issues.push(fileIssue(path, `folders at most ${maxDepth} deep`, "a deeper one"));
      return;
    }
    for (const entry of readdirSync(path, { withFileTypes: true }).sort(byName)) {
      if (entry.name.startsWith(".") || found.files.length > maxFiles) continue;
      // A symbolic link to a folder is not followed: it may lead back to where we are.
      if (entry.isDirectory() || isResourceFile(entry.name)) find(join(path, entry.name), depth + 1, found);
    }
  } catch (error) {
    found.issues.push(fileIssue(path, "a file or folder that can be read", reasonOf(error)));
  }
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

type Text =
  | { readonly ok: true; readonly text: string; readonly bytes: number }
  | { readonly ok: false; readonly issue: Issue };

function textOf(file: string): Text {
  try {
    const size = statSync(file).size;
    if (size > maxFileBytes)
      return { ok: false, issue: fileIssue(file, `at most ${maxFileBytes} bytes`, `${size} bytes`) };
    const bytes = readFileSync(file);
    return { ok: true, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), bytes: bytes.length };
  } catch (error) {
    return { ok: false, issue: fileIssue(file, "a text in UTF-8 that can be read", reasonOf(error)) };
  }
}

function fileIssue(source: string, expected: string, got: string): Issue {
  return { source, where: "file", expected, got };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
