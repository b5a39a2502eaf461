/** Takes over edits of the resources while the pods run; what cannot be used is said, and the last good stays. */
import type { Config } from "./config.ts";
import type { LocalOptions } from "./options.ts";
import type { PoolRunner } from "./pool-runner.ts";
import { watchPaths } from "./watch.ts";

export interface Edited {
  readonly options: Pick<LocalOptions, "json" | "print" | "complain">;
  readonly config: Config;
  readonly runners: readonly PoolRunner[];
  /** `signatureOf` the files before they were read for the start. */
  readonly seen: string;
  /** After a change that was taken over. */
  onTaken(): void;
}

/** An editor writes a file in several steps. */
const quietMs = 250;

/** @returns what ends the watching and waits for a change that is being taken over */
export function followEdits(files: readonly string[], edited: Edited): () => Promise<void> {
  let working: Promise<void> = Promise.resolve();
  const complain = (error: unknown): void => edited.options.complain(String(error));
  const end = watchPaths({
    paths: files,
    quietMs,
    seen: edited.seen,
    onChange: () => void (working = working.then(() => takeOver(edited)).catch(complain)),
    onError: (error) => edited.options.complain(`Cannot watch the files: ${error.message}`),
  });
  return () => {
    end();
    return working;
  };
}

async function takeOver({ options, config, runners, onTaken }: Edited): Promise<void> {
  const pools = await config.reload();
  if (pools === undefined)
    return options.complain("the files have errors: the last good configuration stays in force");
  for (const { pool } of pools)
    if (!runners.some((runner) => runner.pool === pool))
      options.complain(`pool ${pool} is new: it runs after a restart`);
  for (const runner of runners) {
    const compiled = pools.find(({ pool }) => pool === runner.pool);
    if (compiled === undefined) {
      options.complain(`pool ${runner.pool} is gone from the files: it goes on until a restart`);
      continue;
    }
    const { generation } = compiled.manifest;
    try {
      if (!(await runner.apply(compiled))) continue;
      if (!options.json) options.print(`pool ${runner.pool} takes over generation ${generation}`);
    } catch (error) {
      // Others take it over; and of this one some pods may have been started.
      options.complain(
        `pool ${runner.pool} cannot take over all of generation ${generation}: ${textOf(error)}`,
      );
    }
    onTaken();
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
