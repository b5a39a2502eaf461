/** CORRIDOR: what /statusz tells of a pod. */
import type { Deliver } from "./deliver.ts";
import type { Parents } from "./parents.ts";
import type { Pod } from "./pod.ts";
import type { Poison } from "./poison.ts";

interface StatusParts {
  readonly pod: Pod;
  readonly deliver: Pick<Deliver, "running">;
  readonly parents: Pick<Parents, "size">;
  readonly poison: Pick<Poison, "list">;
}

export function statusOf({ pod, deliver, parents, poison }: StatusParts): object {
  const { total } = pod.scheduler.counts();
  const { generation, digest, pool } = pod.config().manifest;
  return {
    pool,
    pod: pod.name,
    incarnation: pod.incarnation,
    generation,
    digest,
    shards: pod.ownership.ownedShards(),
    members: pod.ownership.members().map((member) => member.pod),
    queued: total.ready + total.waiting + total.suspended + total.inflight + parents.size(),
    inFlight: deliver.running(),
    parked: [...poison.list()].length,
  };
}
