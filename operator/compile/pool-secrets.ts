/** The Secrets that a pool's pods mount: what is missing is said, and the pods run (or wait) without it. Pure. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import { natsTlsFiles } from "#crds/pod-config/nats-files.ts";
import type { Problem } from "./problems.ts";
import { unresolved } from "./problems.ts";
import type { Secrets } from "./secrets.ts";

/** Keys that go together; one of the sets is enough. */
interface Mounted {
  readonly where: string;
  readonly name: string | undefined;
  readonly sets: readonly (readonly string[])[];
}

export function poolSecretProblems(
  { metadata, spec }: Resource<SendingPoolSpec>,
  secrets: Secrets,
): Problem[] {
  const [ca, cert, key] = natsTlsFiles;
  const mounted: Mounted[] = [
    { where: "spec.tls.secretRef", name: spec.tls?.secretRef.name, sets: [["tls.crt", "tls.key"]] },
    {
      where: "spec.queue.credentialsSecretRef",
      name: spec.queue.credentialsSecretRef?.name,
      sets: [["nats.creds"], ["username", "password"], ["token"]],
    },
    {
      where: "spec.queue.tlsSecretRef",
      name: spec.queue.tlsSecretRef?.name,
      sets: [[ca], [cert, key]],
    },
  ];
  return mounted.flatMap((one) => problemOf(one, { namespace: metadata.namespace, secrets }));
}

function problemOf(
  { where, name, sets }: Mounted,
  { namespace, secrets }: { readonly namespace: string; readonly secrets: Secrets },
): Problem[] {
  if (name === undefined) return [];
  const identity = `${namespace}/${name}`;
  const secret = secrets.get(identity);
  if (secret === undefined)
    return [
      unresolved("SecretNotFound", { where, expected: `the Secret ${identity}`, got: "no such Secret" }),
    ];
  const filled = [...secret.data].filter(([, bytes]) => bytes.length > 0).map(([key]) => key);
  if (sets.some((keys) => keys.every((key) => filled.includes(key)))) return [];
  const wanted = sets.map((keys) => keys.join(" and ")).join(", or ");
  const keys = filled.sort().slice(0, 8).join(", ");
  const got = keys === "" ? "a Secret without values" : `a Secret with ${keys}`;
  return [unresolved("SecretKeyNotFound", { where, expected: `${wanted} in the Secret ${identity}`, got })];
}
