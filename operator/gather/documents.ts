/** Text of a YAML or JSON file → its documents, or where it is not one. Pure, never throws, bounded in size and aliases. */
import { LineCounter, parseAllDocuments } from "yaml";
import type { Document } from "yaml";
import type { Issue } from "#crds/values/issue.ts";

export interface SourceDocument {
  /** `FILE[doc N]`, N from 1. */
  readonly source: string;
  readonly value: unknown;
}

export interface Documents {
  readonly documents: readonly SourceDocument[];
  readonly issues: readonly Issue[];
}

/** YAML's aliases can make a small file huge ("billion laughs"). */
const maxAliases = 100;

/** Every document of the file but the empty ones; one that does not parse is an issue and the others still count. */
export function documentsOf(file: string, text: string): Documents {
  const lines = new LineCounter();
  // Merge keys (`<<`) are not of YAML 1.2; kubectl takes them.
  const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: true, merge: true };
  const parsed = parseAllDocuments(text, options);
  const documents: SourceDocument[] = [];
  const issues: Issue[] = [];
  // Of an empty stream the library makes an empty list with properties of its own.
  for (const [index, document] of [...parsed].entries()) {
    const source = `${file}[doc ${index + 1}]`;
    const error = document.errors[0];
    if (error !== undefined) {
      const { line, col } = lines.linePos(error.pos[0]);
      const where = `line ${line}, column ${col}`;
      issues.push({ source, where, expected: "YAML", got: error.message });
      continue;
    }
    const value = valueOf(document);
    if (!value.ok) issues.push({ source, where: "document", expected: "YAML", got: value.text });
    else if (value.value !== null && value.value !== undefined)
      documents.push({ source, value: value.value });
  }
  return { documents, issues };
}

function valueOf(document: Document): { ok: true; value: unknown } | { ok: false; text: string } {
  try {
    return { ok: true, value: document.toJS({ maxAliasCount: maxAliases }) };
  } catch (error) {
    return { ok: false, text: error instanceof Error ? error.message : String(error) };
  }
}
