/**
 * Questions to several pools at once, and which of them a message or a tenant is in. A pool that cannot be asked is named, and keeps nobody
 * from seeing the others. Fails with CommandError: the only pool's failure, or a selection that does not tell which pool is meant.
 */
import { z } from "zod";
import { messageSchema, readAnswer } from "./admin-answers.ts";
import type { AdminClient, PoolAdmin } from "./admin-client.ts";
import { CommandError } from "./command-io.ts";
import type { Selection } from "./selection.ts";

export interface Said<Answer> {
  readonly pool: PoolAdmin;
  readonly answer: Answer;
}

interface Heard<Answer> {
  /** In the order of the pools. */
  readonly said: readonly Said<Answer>[];
  /** A line for each pool that could not be asked. */
  readonly complaints: readonly string[];
}

const tenantsSchema = z.object({ tenants: z.array(z.string()) });

export async function askPools<Answer>(
  pools: readonly PoolAdmin[],
  question: (admin: AdminClient) => Promise<Answer>,
): Promise<Heard<Answer>> {
  const heard = await Promise.all(
    pools.map(async (pool) => {
      try {
        return { pool, answer: await question(pool.admin) };
      } catch (error) {
        if (pools.length === 1 || !(error instanceof CommandError)) throw error;
        return `pool ${pool.name} could not be asked: ${error.message}`;
      }
    }),
  );
  return {
    said: heard.filter((one) => typeof one !== "string"),
    complaints: heard.filter((one) => typeof one === "string"),
  };
}

/** One pool's answer as it came; of several with the pool's name, one object each. */
export function jsonOf(pools: readonly PoolAdmin[], { pool, answer }: Said<unknown>): string {
  return JSON.stringify(pools.length === 1 ? answer : Object.assign({ pool: pool.name }, answer));
}

/** What is shown of each; under the pool's name where there are several. */
export function partsOf(pools: readonly PoolAdmin[], parts: readonly Said<readonly string[]>[]): string[] {
  if (pools.length === 1) return parts.flatMap(({ answer }) => answer);
  return parts.flatMap(({ pool, answer }, index) => [
    ...(index === 0 ? [] : [""]),
    `pool ${pool.name}`,
    ...answer,
  ]);
}

/** ` in pool NAME` where there are several. */
export function placeOf(pools: readonly PoolAdmin[], pool: PoolAdmin): string {
  return pools.length === 1 ? "" : ` in pool ${pool.name}`;
}

/**
 * The only pool, else the one that has the tenant, or the message, of a selection.
 * @throws CommandError when that is none or more than one; wrong usage when nothing tells which is meant
 */
export async function poolFor(
  action: string,
  pools: readonly PoolAdmin[],
  { tenant, id }: Selection,
): Promise<PoolAdmin> {
  const [only] = pools;
  if (only !== undefined && pools.length === 1) return only;
  const names = namesOf(pools);
  if (tenant === undefined && id === undefined)
    throw new CommandError(
      `Cannot ${action}: expected --pool with one of ${names}, or what is in one of them only (a tenant, a message); got neither`,
      2,
    );
  const { said, complaints } = await askPools(pools, (admin) =>
    tenant === undefined ? knowsMessage(admin, id ?? "") : hasTenant(admin, tenant),
  );
  const fits = said.filter(({ answer }) => answer).map(({ pool }) => pool);
  const [found, ...others] = fits;
  if (others.length > 0)
    throw new CommandError(
      `Cannot ${action}: expected --pool with one of ${namesOf(fits)}, which all have "${tenant ?? id}"; got none`,
      2,
    );
  if (found !== undefined) return found;
  const what = tenant === undefined ? "a message" : "a tenant";
  const unasked = complaints.length === 0 ? "" : `; ${complaints.join("; ")}`;
  throw new CommandError(
    `Cannot ${action}: expected ${what} of one of the pools ${names} (or --pool), got "${tenant ?? id}"${unasked}`,
  );
}

async function hasTenant(admin: AdminClient, tenant: string): Promise<boolean> {
  // Nobody knows it in pods of a release before: then `--pool` says it.
  const answer = await admin.find(`/v1/tenants?name=${encodeURIComponent(tenant)}`);
  return answer !== undefined && readAnswer(tenantsSchema, answer).tenants.length > 0;
}

async function knowsMessage(admin: AdminClient, id: string): Promise<boolean> {
  const answer = await admin.find(`/v1/messages/${encodeURIComponent(id)}`);
  if (answer === undefined) return false;
  const { events, entries } = readAnswer(messageSchema, answer);
  return events.length + entries.length > 0;
}

function namesOf(pools: readonly PoolAdmin[]): string {
  return pools.map(({ name }) => name).join(", ");
}
