/** Resource versions: decimal numbers of any length, comparable within a kind (KEP-5504). Pure. */

/** Negative: `a` is older. undefined where one is no such number, or there is none. */
export function compareVersions(a: string | undefined, b: string | undefined): number | undefined {
  if (a === undefined || b === undefined || !isNumber(a) || !isNumber(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  return a === b ? 0 : a < b ? -1 : 1;
}

function isNumber(version: string): boolean {
  return /^(?:0|[1-9]\d{0,40})$/.test(version);
}
