/** The admin port of a pool in a cluster, asked through the API server's proxy. Fails with CommandError: refused, not there. */
import { withQuery } from "#operator/kube/paths.ts";
import { KubeError } from "#operator/kube/errors.ts";
import { childNames } from "#operator/resources/object.ts";
import type { AdminClient } from "./admin-client.ts";
import type { ClusterPool } from "./cluster.ts";
import { CommandError, messageOf } from "./command-io.ts";

/** `token` absent: the one of the pool's Secret, for whoever may read it; it is read once there is something to ask. */
export function createClusterAdmin(pool: ClusterPool, token: string | undefined): AdminClient {
  const { namespace, name } = pool;
  const secret = { namespace, name: childNames.admin(name) };
  let known = token;
  const ask = async (method: "GET" | "POST", path: string, body?: unknown): Promise<unknown> => {
    known ??= (await pool.secretValue(secret, "token")).trim();
    const headers = { "x-mailboat-authorization": `Bearer ${known}` };
    const request = { method, path, headers };
    return pool.ask("admin", body === undefined ? request : { ...request, body: JSON.stringify(body) });
  };
  return {
    get: (path, query = {}) => ask("GET", withQuery(path, query)).catch(told),
    find: (path) =>
      ask("GET", path).catch((error: unknown) =>
        isOfThePool(error) && error.status === 404 ? undefined : told(error),
      ),
    post: (path, body) => ask("POST", path, body).catch(told),
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
