/** The admin port: the queue, a message, the busiest, and acts on queued mail, for holders of the token. See `startAdmin`. */
import { z } from "zod";
import { normalizeDomain } from "#crds/values/domain.ts";
import { maxListed } from "#crds/wire/peer.ts";
import { type Log, silentLog } from "#mta-pod/runtime/log.ts";
import { authorizationOf, hasToken } from "./credentials.ts";
import { parsedBy } from "./message-schema.ts";
import { Problem, unauthorized } from "./problem.ts";
import { createServer, type HttpAddress, type HttpServer, listen } from "./server.ts";

const name = z.string().min(1).max(1024);
/** As it is compared everywhere; what is no domain name (an address literal) as it stands. */
const domainName = name.transform((text) => normalizeDomain(text) ?? text.toLowerCase());
const selector = {
  tenant: name.optional(),
  site: name.optional(),
  domain: domainName.optional(),
  id: name.optional(),
};
const listQuery = z.strictObject({
  ...selector,
  limit: z.coerce.number().int().min(1).max(maxListed).optional(),
});
const isChoice = ({ all, tenant, site, domain, id }: QueueSelector & { all?: true | undefined }): boolean =>
  (all === true) !== [tenant, site, domain, id].some((value) => value !== undefined);
const actSelector = { ...selector, all: z.literal(true).optional() };
const actRule = "either tenant, site, domain or id, or all: true";
const actQuery = z.strictObject(actSelector).refine(isChoice, actRule);
const maxSuspendSeconds = 366 * 86_400;
const suspendQuery = z
  .strictObject({ ...actSelector, forSeconds: z.number().int().min(1).max(maxSuspendSeconds).optional() })
  .refine(isChoice, actRule);
const tenantsQuery = z.strictObject({ name });
const sinkQuery = z.strictObject({ limit: z.coerce.number().int().min(1).max(1000).default(20) });
const death = z.strictObject({ pod: name, incarnation: name });
const actionName = z.enum(["retry", "bounce"]);

interface QueueSelector {
  readonly tenant?: string | undefined;
  readonly site?: string | undefined;
  readonly domain?: string | undefined;
  readonly id?: string | undefined;
  readonly limit?: number | undefined;
}

interface AdminHooks {
  queue(query: QueueSelector): Promise<unknown>;
  /** null = no such message. */
  message(id: string): Promise<unknown>;
  top(): Promise<unknown>;
  /** The tenants of this pool that are called so, with or without a namespace. */
  tenants(name: string): Promise<unknown>;
  /** On every queued entry the selector fits; an empty one fits all. */
  act(action: "retry" | "bounce", query: QueueSelector): Promise<unknown>;
  /** How far an act is; null = nobody knows it. */
  progress(job: string): Promise<unknown>;
  /** Mail that is queued and mail that comes, in the whole pool, until resumed or for so long. */
  suspend(selection: QueueSelector, forSeconds?: number): Promise<unknown>;
  resume(selection: QueueSelector): Promise<unknown>;
  /** What mode Sink took last, the newest first. */
  sunk(limit: number): Promise<readonly unknown[]>;
  /** One of them, with the message; null = not kept. */
  sunkMessage(id: string): Promise<unknown>;
  /** Somebody knows that this incarnation of a pod is dead. */
  witness(pod: string, incarnation: string): Promise<unknown>;
}

export interface AdminOptions extends HttpAddress {
  /** Asked for each request; "" = nobody is let in. */
  token(): string;
  readonly hooks: AdminHooks;
  /** Default: silent. */
  readonly log?: Log;
}

const bodyLimit = 64 * 1024;

function parsed<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  return parsedBy(schema, input ?? {});
}

/**
 * `GET /v1/queue?tenant&site&domain&id&limit`, `GET /v1/messages/:id`, `GET /v1/top`, `GET /v1/tenants?name`, `POST /v1/queue/retry` and `/bounce`
 * (JSON selector, or `{"all": true}`), `GET /v1/acts/:job` (how far that is), `POST /v1/queue/suspend` and `/resume`, `GET /v1/sink?limit` and `/v1/sink/:id` (mode Sink), `POST /v1/witness` (`{pod, incarnation}`). Every request needs `Bearer <token>`.
 */
export async function startAdmin(options: AdminOptions): Promise<HttpServer> {
  const { hooks, log = silentLog } = options;
  const server = createServer(bodyLimit, log);
  server.addHook("onRequest", async (request) => {
    if (!hasToken(authorizationOf(request.headers), options.token()))
      throw unauthorized("give the admin token: Bearer TOKEN");
  });
  server.get("/v1/queue", (request) => hooks.queue(parsed(listQuery, request.query)));
  server.get("/v1/top", () => hooks.top());
  server.get("/v1/tenants", (request) => hooks.tenants(parsed(tenantsQuery, request.query).name));
  server.get<{ Params: { id: string } }>("/v1/messages/:id", async ({ params }) => {
    const known = await hooks.message(params.id);
    if (known === null || known === undefined) throw new Problem(404, "not-found", "no such message");
    return known;
  });
  server.get("/v1/sink", async (request) => ({
    messages: await hooks.sunk(parsed(sinkQuery, request.query).limit),
  }));
  server.get<{ Params: { id: string } }>("/v1/sink/:id", async ({ params }) => {
    const known = await hooks.sunkMessage(params.id);
    if (known === null) throw new Problem(404, "not-found", "no such message is kept");
    return known;
  });
  server.post("/v1/queue/suspend", ({ body }) => {
    const { tenant, site, domain, id, forSeconds } = parsed(suspendQuery, body);
    return hooks.suspend({ tenant, site, domain, id }, forSeconds);
  });
  server.post("/v1/queue/resume", ({ body }) => {
    const { tenant, site, domain, id } = parsed(actQuery, body);
    return hooks.resume({ tenant, site, domain, id });
  });
  server.post<{ Params: { action: string } }>("/v1/queue/:action", async ({ params, body }) => {
    const action = actionName.safeParse(params.action);
    if (!action.success) throw new Problem(404, "not-found", "an action is retry, bounce, suspend or resume");
    const { tenant, site, domain, id } = parsed(actQuery, body);
    return hooks.act(action.data, { tenant, site, domain, id });
  });
  server.get<{ Params: { job: string } }>("/v1/acts/:job", async ({ params }) => {
    const known = await hooks.progress(params.job);
    if (known === null || known === undefined) throw new Problem(404, "not-found", "no such act");
    return known;
  });
  server.post("/v1/witness", async ({ body }) => {
    const { pod, incarnation } = parsed(death, body);
    return (await hooks.witness(pod, incarnation)) ?? {};
  });
  return listen(server, options);
}
