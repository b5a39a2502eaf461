/** The admin port of a pool in a cluster, asked through the API server's proxy. Fails with CommandError: refused, not there. */
import { withQuery } from "#operator/kube/paths.ts";
import { KubeError } from "#operator/kube/errors.ts";
import { childNames } from "#operator/resources/object.ts";
import type { AdminClient } from "./admin-client.ts";
import type { ClusterPool } from "./cluster.ts";
import { CommandError, messageOf } from "./command-io.ts";

/** `token` absent: the one of the pool's Secret, for whoever may read it. */
export async function createClusterAdmin(pool: ClusterPool, token: string | undefined): Promise<AdminClient> {
  const { namespace, name } = pool;
  const secret = { namespace, name: childNames.admin(name) };
  const bearer = token ?? (await pool.secretValue(secret, "token")).trim();
  const headers = { "x-mailboat-authorization": `Bearer ${bearer}` };
  return {
    get: (path, query = {}) =>
      pool.ask("admin", { method: "GET", path: withQuery(path, query), headers }).catch(told),
    async find(path) {
      try {
        return await pool.ask("admin", { method: "GET", path, headers });
      } catch (error) {
        if (isOfThePool(error) && error.status === 404) return undefined;
        return told(error);
      }
    },
    post: (path, body) =>
      pool.ask("admin", { method: "POST", path, headers, body: JSON.stringify(body) }).catch(told),
  };
}

/** The API server's refusals have a reason; the pod's come through as they are. */
function isOfThePool(error: unknown): error is KubeError {
  return error instanceof KubeError && error.status > 0 && error.reason === "";
}

/** @throws CommandError with the words of whoever refused */
export function told(error: unknown): never {
  const said = isOfThePool(error) ? saidIn(error.message) : undefined;
  throw new CommandError(said ?? messageOf(error));
}

function saidIn(text: string): string | undefined {
  const said = /"message":("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
  return said === undefined ? undefined : `Cannot do that: ${String(JSON.parse(said))}`;
}
