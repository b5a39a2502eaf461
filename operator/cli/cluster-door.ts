/** Test messages into a pool of a cluster: HTTP injection through the API server's proxy, as a tenant. Fails with CommandError: no login to be had. */
import { z } from "zod";
import type { ClusterObject, ClusterPool } from "./cluster.ts";
import { told } from "./cluster-admin.ts";
import { CommandError, messageOf } from "./command-io.ts";
import type { Door, Mail, Sent } from "./door.ts";

/** What of a Tenant tells how it logs in. */
const tenantSchema = z.object({
  poolRef: z.object({ name: z.string(), namespace: z.string().optional() }),
  domains: z.array(z.object({ name: z.string() })).min(1),
  credentials: z.array(z.object({ type: z.string(), secretRef: z.object({ name: z.string() }) })).default([]),
});

/** What the operator says of its domains, once it has looked. */
const statusSchema = z.object({
  domains: z.array(z.object({ name: z.string(), reason: z.string().optional() })),
});

const acceptedSchema = z.object({ id: z.string() });

interface TenantLogin {
  readonly username: string;
  readonly password: string;
  readonly from: string | undefined;
}

export interface GivenLogin {
  readonly user?: string | undefined;
  readonly password?: string | undefined;
}

export async function openClusterDoor(pool: ClusterPool, given: GivenLogin): Promise<Door> {
  const { username, password, from } = await loginOf(pool, given);
  const basic = Buffer.from(`${username}:${password}`).toString("base64");
  const headers = { "x-mailboat-authorization": `Basic ${basic}` };
  return {
    from,
    send: (mail) => post(pool, { headers, mail }),
    close: () => undefined,
  };
}

async function post(
  pool: ClusterPool,
  { headers, mail }: { headers: Record<string, string>; mail: Mail },
): Promise<Sent> {
  const to = mail.to;
  try {
    const answer = await pool
      .ask("http", { method: "POST", path: "/v1/messages", headers, body: JSON.stringify(mail) })
      .catch(told);
    const { id } = acceptedSchema.parse(answer);
    return { to, id, reply: `202 queued as ${id}` };
  } catch (error) {
    return { to, reply: messageOf(error) };
  }
}

async function loginOf(pool: ClusterPool, { user, password }: GivenLogin): Promise<TenantLogin> {
  if (user !== undefined && password !== undefined) return { username: user, password, from: undefined };
  if (user !== undefined || password !== undefined)
    throw new CommandError("Cannot send: expected --user with --password, got one of them", 2);
  for (const tenant of await pool.tenants()) {
    const login = await tenantLogin(pool, tenant);
    if (login !== undefined) return login;
  }
  throw new CommandError(
    `Cannot send: expected a tenant of pool ${pool.namespace}/${pool.name} with a password (or --user and --password), got none`,
  );
}

async function tenantLogin(
  pool: ClusterPool,
  { metadata, spec, status }: ClusterObject,
): Promise<TenantLogin | undefined> {
  const { namespace } = metadata;
  const { success, data } = tenantSchema.safeParse(spec);
  if (!success) return undefined;
  const { poolRef, domains, credentials } = data;
  if (poolRef.name !== pool.name || (poolRef.namespace ?? namespace) !== pool.namespace) return undefined;
  const credential = credentials.find(({ type }) => type === "Password");
  if (credential === undefined) return undefined;
  const secret = { namespace, name: credential.secretRef.name };
  const username = await pool.secretValue(secret, "username");
  const password = await pool.secretValue(secret, "password");
  const verdicts = statusSchema.safeParse(status).data?.domains ?? [];
  const isRefused = (domain: string): boolean =>
    verdicts.some(({ name, reason }) => name === domain && reason === "DomainConflict");
  const domain = domains.find(({ name }) => !isRefused(name));
  return { username, password, from: domain === undefined ? undefined : `test@${domain.name}` };
}
