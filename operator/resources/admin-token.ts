/** The bearer token of a pool's admin port: made once, then kept whatever happens around it. Pure. */
import { child, childNames } from "./object.ts";
import type { KubeObject, PoolIdentity } from "./object.ts";

const tokenKey = "token";

/** Enough that a hand-made one is believed. */
const minTokenLength = 16;

/** The token in `existing` (the Secret as the API server has it), else what `create` makes: 32 or more characters, by chance. */
export function adminTokenOf(existing: KubeObject | undefined, create: () => string): string {
  const data: unknown = existing?.["data"];
  const value: unknown = typeof data === "object" && data !== null ? Reflect.get(data, tokenKey) : undefined;
  const token = typeof value === "string" ? Buffer.from(value, "base64").toString("utf8").trim() : "";
  return token.length >= minTokenLength ? token : create();
}

export function adminSecret(pool: PoolIdentity, token: string): KubeObject {
  return child(
    { pool, apiVersion: "v1", kind: "Secret", name: childNames.admin(pool.name) },
    { type: "Opaque", data: { [tokenKey]: Buffer.from(token).toString("base64") } },
  );
}
