/** The mark that keeps a deleted tenant until it is drained: set before anything of it is compiled, taken off at the end. */
import type { KubeClient, KubeObject } from "#operator/kube/types.ts";
import { kinds, marks } from "./kinds.ts";

export function hasFinalizer({ metadata }: KubeObject): boolean {
  return metadata.finalizers?.includes(marks.finalizer) === true;
}

/** A tenant that is gone is fine. Rejects with KubeError, 409 when `object` is not the newest. */
export async function setFinalizer(
  client: Pick<KubeClient, "patch">,
  object: KubeObject,
  isWanted: boolean,
): Promise<void> {
  const { namespace, name, resourceVersion, finalizers = [] } = object.metadata;
  const others = finalizers.filter((one) => one !== marks.finalizer);
  // With the version that was read: a finalizer that somebody else adds meanwhile must not be lost.
  const metadata = { resourceVersion, finalizers: isWanted ? [...others, marks.finalizer] : others };
  await client.patch(kinds.tenants, { namespace, name }, { metadata });
}
