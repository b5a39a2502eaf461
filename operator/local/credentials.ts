/** The tenants' logins as local mode writes them down (STATE/credentials.json, 0600) for `mailboat send`. Parsing never throws. */
import { z } from "zod";
import { isCalled } from "./endpoint.ts";

const loginSchema = z.object({
  tenant: z.string(),
  /** `namespace/name` of the pool that takes its mail. */
  pool: z.string().optional(),
  username: z.string(),
  password: z.string(),
  /** An address the tenant may send from, when it has a domain. */
  from: z.string().optional(),
});

export interface Login {
  readonly tenant: string;
  readonly pool: string | undefined;
  readonly username: string;
  readonly password: string;
  readonly from: string | undefined;
}

/** In the order of the tenants; empty when the text is something else. */
export function parseCredentials(text: string): Login[] {
  try {
    const result = z.array(loginSchema).safeParse(JSON.parse(text));
    return result.success
      ? result.data.map((login) => ({ ...login, pool: login.pool, from: login.from }))
      : [];
  } catch {
    return [];
  }
}

export interface LoginChoice {
  readonly user?: string | undefined;
  /** `name` or `namespace/name`. */
  readonly pool?: string | undefined;
}

/** The first login that fits. */
export function chosenLogin(logins: readonly Login[], { user, pool }: LoginChoice): Login | undefined {
  return logins.find(
    (login) =>
      (user === undefined || login.username === user) &&
      (pool === undefined || (login.pool !== undefined && isCalled(login.pool, pool))),
  );
}
