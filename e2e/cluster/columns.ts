/** What `kubectl get` prints, by the names of its columns. Pure. */

/** A table's columns begin where the words of its head do. @example cellsOf("NAME  READY", "x     1").READY === "1" */
export function cellsOf(head: string, row: string): Record<string, string> {
  const starts = [...head.matchAll(/\S+/g)];
  return Object.fromEntries(
    starts.map(({ 0: name, index }, at) => [name, row.slice(index, starts[at + 1]?.index).trim()]),
  );
}
