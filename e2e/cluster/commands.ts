/** Our commands as their users have them: they find a cluster's pool by the kubeconfig. */
import assert from "node:assert/strict";
import { mailboat } from "#test/kit/command-line.ts";
import type { Cluster } from "./cluster.ts";
import { namespace } from "./mail-scene.ts";

/** Asserts that each ends with 0. @example await commandsOf(cluster)("why", id) */
export function commandsOf(cluster: Cluster): (...args: string[]) => Promise<string> {
  return async (...args) => {
    const { code, out, err } = await mailboat(...args, "--kubeconfig", cluster.kubeconfig, "-n", namespace);
    assert.equal(code, 0, `mailboat ${args.join(" ")}: ${err}`);
    return out;
  };
}

/** Entries of all pods of a pool, 1,000 at most; where there is but one it needs no name. */
export async function queuedIn(cluster: Cluster, pool?: string): Promise<number> {
  const of = pool === undefined ? [] : ["--pool", pool];
  const answer = await commandsOf(cluster)("queue", "ls", "--json", "--limit", "1000", ...of);
  return (JSON.parse(answer) as { entries: readonly unknown[] }).entries.length;
}
