/** The configuration in force: compiled from the files, kept when an edit cannot be used, numbered across restarts. */
import { digestOf } from "#crds/pod-config/encode.ts";
import { formatIssue, type Issue } from "#crds/values/issue.ts";
import type { CompiledPool } from "#operator/compile/compile.ts";
import type { LocalNats } from "./nats-process.ts";
import type { LocalOptions } from "./options.ts";
import { createResourceReader } from "#operator/gather/folder.ts";
import { readFormer, writeTenants } from "./draining.ts";
import { type Before, loadResources, type LocalResources } from "./resources.ts";
import { readOrCreate, type StateDir, writeAtomic } from "./state-dir.ts";

export interface Config {
  pools(): readonly CompiledPool[];
  /** Reads the files again. @returns undefined when they cannot be used and the last good configuration stays */
  reload(): Promise<readonly CompiledPool[] | undefined>;
}

export interface ConfigContext {
  readonly options: Pick<LocalOptions, "pods" | "complain">;
  readonly state: StateDir;
  readonly nats: Pick<LocalNats, "url" | "singleServer">;
}

/** @throws Error when a resource cannot be read or no pool can run; each issue has been said then */
export async function createConfig(files: readonly string[], context: ConfigContext): Promise<Config> {
  const { options, state, nats } = context;
  const generationFile = state.file("generation");
  let generation = Number(await readOrCreate(generationFile, () => "0")) || 0;
  const former: Before = await readFormer(state);
  const read = createResourceReader();
  let current: LocalResources | undefined;

  const load = (): LocalResources => {
    const settings = { nats: nats.url, singleServer: nats.singleServer, pods: options.pods };
    const numbered = { ...settings, generation: generation + 1, now: Date.now() };
    const loaded = loadResources(read(files), numbered, current ?? former);
    // Of what cannot be read, others may miss something: the cause is said, not what follows from it.
    const { unreadable, refused } = loaded;
    for (const issue of unreadable.length > 0 ? unreadable : refused) options.complain(formatIssue(issue));
    return loaded;
  };
  const take = async (loaded: LocalResources): Promise<readonly CompiledPool[]> => {
    current = loaded;
    generation++;
    await writeAtomic(generationFile, `${generation}\n`, 0o600);
    await writeAtomic(state.file("credentials.json"), `${JSON.stringify(loaded.logins, null, 2)}\n`, 0o600);
    await writeTenants(state, loaded.snapshot);
    return loaded.pools;
  };

  const first = load();
  // A tenant with a mistake would count as one that was removed: no login, and its domains free for a younger one.
  if (first.unreadable.length > 0)
    throw new Error(
      `Cannot start: expected resources that can all be used in ${files.join(", ")}, got ${count(first.unreadable)}`,
    );
  if (first.pools.length === 0)
    throw new Error(`Cannot start: expected a SendingPool that can be used in ${files.join(", ")}, got none`);
  await take(first);
  return {
    pools: () => current?.pools ?? [],
    async reload() {
      const loaded = load();
      // A document that cannot be read would take its resources away: as if an edit had deleted them.
      if (loaded.unreadable.length > 0 || loaded.pools.length === 0) return undefined;
      const before = current?.pools ?? [];
      return fingerprint(loaded.pools) === fingerprint(before) ? before : take(loaded);
    },
  };
}

function count({ length }: readonly Issue[]): string {
  return `${length} issue${length === 1 ? "" : "s"}, named above`;
}

/** Everything but the generation. */
function fingerprint(pools: readonly CompiledPool[]): string {
  return pools
    .map(
      ({ pool, replicas, manifest, keySlots }) =>
        `${pool} ${replicas} ${manifest.digest} ${digestOf(Object.fromEntries(keySlots))}`,
    )
    .join("\n");
}
