/** How the operator reaches a pool's NATS: the servers of its spec, the login and certificates of its Secrets. Pure. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource, SecretResource } from "#crds/api/v1alpha1/snapshot.ts";
import type { NatsLogin, NatsSettings } from "#operator/streams/connection.ts";

/** By `namespace/name`. */
type SecretOf = (key: string) => SecretResource | undefined;

export function natsSettings(
  { metadata, spec }: Resource<SendingPoolSpec>,
  secretOf: SecretOf,
): NatsSettings {
  const { servers, credentialsSecretRef, tlsSecretRef } = spec.queue;
  const of = (ref: { name: string } | undefined) =>
    ref === undefined ? undefined : secretOf(`${metadata.namespace}/${ref.name}`);
  const tls = of(tlsSecretRef)?.data;
  return {
    servers,
    login: loginIn(of(credentialsSecretRef)?.data),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            ...textIn(tls, "ca.crt", "ca"),
            ...textIn(tls, "tls.crt", "cert"),
            ...textIn(tls, "tls.key", "key"),
          },
        }),
  };
}

type Data = ReadonlyMap<string, Uint8Array>;

function loginIn(data: Data | undefined): NatsLogin {
  const text = (key: string): string =>
    Buffer.from(data?.get(key) ?? [])
      .toString("utf8")
      .trim();
  const creds = data?.get("nats.creds");
  if (creds !== undefined) return { kind: "creds", creds };
  const [username, password, token] = [text("username"), text("password"), text("token")];
  if (username !== "") return { kind: "password", username, password };
  return token === "" ? { kind: "none" } : { kind: "token", token };
}

function textIn(data: Data, key: string, name: "ca" | "cert" | "key") {
  const bytes = data.get(key);
  return bytes === undefined ? {} : { [name]: Buffer.from(bytes).toString("utf8") };
}
