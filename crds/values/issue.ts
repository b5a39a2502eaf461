/** What is wrong with an input: where, what was expected, what was there. Every parser of the contract speaks it. */

export interface Issue {
  /** Path in the document, in JavaScript's notation: `spec.rules[2].limits.messageRate`. */
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  /** File and document it came from, when known. */
  readonly source?: string;
}

/** Either the value or every issue found, never both. */
export type Parsed<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly issues: readonly Issue[] };

/** @example formatIssue({ where: "spec.weight", expected: "an integer", got: '"x"' }) === 'spec.weight: expected an integer, got "x"' */
export function formatIssue(issue: Issue): string {
  const source = issue.source === undefined ? "" : `${issue.source}: `;
  // A rule of the whole document has no place in it.
  const where = issue.where === "" ? "" : `${issue.where}: `;
  return `${source}${where}expected ${issue.expected}, got ${issue.got}`;
}
