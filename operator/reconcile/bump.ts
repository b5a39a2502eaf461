/** Makes the kubelets look at once: an annotation of each pod that does not run the newest configuration (decisions.md 19). */
import type { Clock, KubeClient, KubeObject } from "#operator/kube/types.ts";
import { kinds, marks } from "./kinds.ts";

export interface Bumps {
  /** Patches the pods that need it; at most once a second per pool. @returns ms until it is worth asking again; 0 = done */
  bump(pool: string, wanted: Bump): Promise<number>;
  forget(pool: string): void;
}

interface Bump {
  /** Of the configuration. */
  readonly text: string;
  /** Pods that do not run it as far as is known. */
  readonly pods: readonly KubeObject[];
}

const leastMs = 1000;
/** A kubelet whose own watch of the ConfigMaps lagged has to be told once more; each time later, as pods that cannot be asked look the same. */
const againMs = 5000;
const longestAgainMs = 60_000;
const atATime = 32;

interface Done {
  readonly text: string;
  readonly at: number;
  readonly round: number;
  readonly pods: ReadonlySet<string>;
}

export function createBumps({ client, clock }: { client: Pick<KubeClient, "patch">; clock: Clock }): Bumps {
  const done = new Map<string, Done>();
  return {
    async bump(pool, { text, pods }) {
      const before = done.get(pool);
      const now = clock.monotonic();
      if (pods.length === 0) return 0;
      const sinceMs = before === undefined ? Number.POSITIVE_INFINITY : now - before.at;
      const isNew =
        before?.text !== text || pods.some(({ metadata }) => !before.pods.has(metadata.uid ?? ""));
      const dueMs = (isNew ? leastMs : pauseAfter(before.round)) - sinceMs;
      if (dueMs > 0) return dueMs;
      const round = isNew ? 0 : before.round + 1;
      const value = round === 0 ? text : `${text}.${round}`;
      const uids = new Set(pods.map(({ metadata }) => metadata.uid ?? ""));
      done.set(pool, { text, at: now, round, pods: uids });
      const due = pods.filter(({ metadata }) => metadata.annotations?.[marks.config] !== value);
      let next = 0;
      const worker = async (): Promise<void> => {
        for (let pod = due[next++]; pod !== undefined; pod = due[next++]) {
          const { namespace, name } = pod.metadata;
          await client.patch(
            kinds.pods,
            { namespace, name },
            { metadata: { annotations: { [marks.config]: value } } },
          );
        }
      };
      await Promise.all(Array.from({ length: Math.min(atATime, due.length) }, worker));
      return pauseAfter(round);
    },
    forget: (pool) => void done.delete(pool),
  };
}

function pauseAfter(round: number): number {
  return Math.min(longestAgainMs, againMs * 2 ** Math.min(round, 8));
}
