/** What the operator made for the scene's pool, as data: two looks are alike when nothing that it stands for has changed between them. */
import { manifestFile } from "#crds/pod-config/slots.ts";
import { poolLabel } from "#operator/resources/object.ts";
import type { Cluster } from "./cluster.ts";
import { namespace, pool } from "./mail-scene.ts";

const kinds = ["configmap", "secret", "service", "serviceaccount", "deployment", "statefulset"].concat([
  "poddisruptionbudget",
  "networkpolicy",
]);

interface Child {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels: object };
  readonly spec?: unknown;
  readonly type?: unknown;
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: unknown;
}

/** `Kind/name` → labels, spec and data. Left out is what counts: the editions of a configuration, and the status. */
export async function poolChildren(cluster: Cluster): Promise<Record<string, unknown>> {
  const selector = `${poolLabel}=${pool}`;
  const { items } = (await cluster.get(["-n", namespace, "-l", selector, kinds.join()])) as {
    items: Child[];
  };
  return Object.fromEntries(
    items.map(({ kind, metadata: { name, labels }, spec, type, data = {}, binaryData }) => {
      const texts = Object.entries(data)
        .filter(([file]) => !file.endsWith(".edition.json"))
        .map(([file, text]) => [file, file === manifestFile ? lasting(text) : text]);
      return [`${kind}/${name}`, { labels, spec, type, data: Object.fromEntries(texts), binaryData }];
    }),
  );
}

/** An edit of one tenant leaves the manifest's own number, digest and slots as they are; its slot is compared by itself. */
function lasting(text: string): object {
  return { ...(JSON.parse(text) as object), generation: undefined, digest: undefined, slots: undefined };
}
