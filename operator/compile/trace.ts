/**
 * What compiling one tenant looked up and claimed, so that the next compile can tell whether it would come to the same again:
 * one edit among 10,000 tenants costs one. Pure.
 */

export interface Table<Value> {
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

interface Step {
  readonly table: string;
  readonly key: string;
  readonly value: unknown;
}

export interface Trace {
  /** What was first found, of keys that were not claimed before in the same trace. */
  readonly reads: Step[];
  readonly writes: Step[];
}

export type Tables = Readonly<Record<string, Table<unknown>>>;

export function newTrace(): Trace {
  return { reads: [], writes: [] };
}

/** `table`, noting in `trace` what goes through it. */
export function noted<Value>(name: string, table: Table<Value>, trace: Trace): Table<Value> {
  const seen = new Set<string>();
  return {
    get(key) {
      const value = table.get(key);
      if (!seen.has(key)) trace.reads.push({ table: name, key, value });
      seen.add(key);
      return value;
    },
    set(key, value) {
      seen.add(key);
      trace.writes.push({ table: name, key, value });
      table.set(key, value);
    },
  };
}

/** Whether everything would be found as it was; then what was claimed is claimed again. */
export function replays({ reads, writes }: Trace, tables: Tables): boolean {
  for (const { table, key, value } of reads) if (tables[table]?.get(key) !== value) return false;
  for (const { table, key, value } of writes) tables[table]?.set(key, value);
  return true;
}
