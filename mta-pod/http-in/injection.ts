/** The HTTP front for tenants: posts messages through the same hooks as SMTP, shows a tenant its own. See `startInjection`. */
import { isAscii } from "node:buffer";
import { randomBytes } from "node:crypto";
import { maxMessageBytes as largest } from "#crds/values/message-bounds.ts";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Log, silentLog } from "#mta-pod/runtime/log.ts";
import type { InboundHooks, Login, SessionFacts } from "#mta-pod/smtp/inbound.ts";
import { type Reply, reply } from "#mta-pod/smtp/reply.ts";
import { type Composed, composeJson, composeRaw } from "./compose.ts";
import { authorizationOf, credentialsOf } from "./credentials.ts";
import { headerText } from "./header-text.ts";
import { parsePostedMessage } from "./message-schema.ts";
import { overloaded, Problem, problemOf, unauthorized } from "./problem.ts";
import { createServer, type HttpAddress, type HttpServer, listen } from "./server.ts";

interface InjectionHooks extends InboundHooks {
  /** What is known of a message of this tenant; null = nothing, or another tenant's. */
  explain(tenant: string, id: string): Promise<unknown>;
}

export interface InjectionOptions extends HttpAddress {
  readonly hooks: InjectionHooks;
  /** Default: silent. */
  readonly log?: Log;
  /** The tenant's largest message, bytes; 0 = it is not known here just now. */
  maxMessageBytes(login: Login): number;
  /** Bodies of all requests under way. Default 128 MiB. */
  readonly maxBufferedBytes?: number;
}

const defaultBufferedBytes = 128 * 1024 * 1024;
/** base64 in JSON against the message: 4/3, and some air. */
const jsonFactor = 1.5;
/** Of a request: what JSON says beside the bodies of a message. */
const otherBytes = 65_536;

declare module "fastify" {
  interface FastifyRequest {
    facts: SessionFacts | null;
    /** Bytes this request counts for. */
    reserved: number;
  }
}

/**
 * `POST /v1/messages` (JSON, or message/rfc822 with X-Mailboat-From, -To and -Stream) answers 202 `{id, recipients}`,
 * `GET /v1/messages/:id` what is known. Basic or Bearer `user:password`. Refusals carry the SMTP codes (problem.ts).
 */
export async function startInjection(options: InjectionOptions): Promise<HttpServer> {
  const { hooks, log = silentLog } = options;
  const server = createServer(requestBytes(largest), log);
  server.decorateRequest("facts", null);
  server.decorateRequest("reserved", 0);
  server.addHook("onRequest", async (request) => {
    request.facts = await authenticate(request, options);
    refuseLength(Number(request.headers["content-length"] ?? 0), options.maxMessageBytes(loginOf(request)));
  });
  boundBodies(server, options.maxBufferedBytes ?? defaultBufferedBytes);
  server.addContentTypeParser("message/rfc822", { parseAs: "buffer" }, (_request, body, done) => {
    done(null, body);
  });
  server.post("/v1/messages", async (request, answer) => {
    const composed = await compose(request);
    const accepted = await submit(composed, knownFacts(request), options);
    const id = /queued as (\S+)/.exec(accepted.text)?.[1] ?? "";
    return answer.code(202).send({ id, recipients: composed.to.length });
  });
  server.get<{ Params: { id: string } }>("/v1/messages/:id", async (request) => {
    const known = await hooks.explain(loginOf(request).tenant, request.params.id);
    if (known === null || known === undefined) throw new Problem(404, "not-found", "no such message");
    return known;
  });
  return listen(server, options);
}

function requestBytes(messageBytes: number): number {
  return Math.ceil(messageBytes * jsonFactor) + otherBytes;
}

/** What cannot become a message within the tenant's limit is not read. */
function refuseLength(length: number, maxBytes: number): void {
  if (maxBytes > 0 && length > requestBytes(maxBytes)) throw tooLarge(maxBytes);
}

function tooLarge(maxBytes: number): Problem {
  return problemOf(reply(552, "5.3.4", `message above the limit of ${maxBytes} bytes`));
}

/**
 * Keeps the sum of announced bodies within a bound: what is not announced is not read. A tenant has half of it, or one message: else it could
 * keep out all others by announcing what it never sends.
 */
function boundBodies(server: FastifyInstance, maxBytes: number): void {
  let held = 0;
  const ofTenants = new Map<string, number>();
  server.addHook("onRequest", async (request) => {
    if (request.method === "GET" || request.method === "HEAD") return;
    const length = Number(request.headers["content-length"] ?? Number.NaN);
    if (!Number.isSafeInteger(length))
      throw new Problem(411, "length-required", "the request needs a Content-Length");
    const { tenant } = loginOf(request);
    const own = ofTenants.get(tenant) ?? 0;
    if (held + length > maxBytes && held > 0) throw overloaded();
    if (own + length > maxBytes / 2 && own > 0) throw overloaded();
    held += length;
    ofTenants.set(tenant, own + length);
    request.reserved = length;
  });
  const release = async (request: FastifyRequest): Promise<void> => {
    const { reserved } = request;
    if (reserved === 0) return;
    held -= reserved;
    request.reserved = 0;
    const { tenant } = loginOf(request);
    const left = (ofTenants.get(tenant) ?? 0) - reserved;
    if (left > 0) ofTenants.set(tenant, left);
    else ofTenants.delete(tenant);
  };
  server.addHook("onResponse", release);
  server.addHook("onRequestAbort", release);
}

const idPrefix = randomBytes(5).toString("hex");
let requests = 0;

async function authenticate(
  request: FastifyRequest,
  { hooks, log = silentLog }: InjectionOptions,
): Promise<SessionFacts> {
  const credentials = credentialsOf(authorizationOf(request.headers));
  if (credentials === undefined)
    throw unauthorized("give a tenant's credentials: Basic, or Bearer user:password");
  const facts: SessionFacts = {
    id: `${idPrefix}-h${(requests++).toString(36)}`,
    remoteAddress: request.ip.replace(/^::ffff:(?=\d+\.)/i, ""),
    remotePort: request.socket.remotePort ?? 0,
    listener: "http",
    helo: "http-client",
    protocol: "ESMTPA",
    tls: "",
    login: null,
  };
  const { username, password } = credentials;
  const verdict = await hooks.authenticate(facts, username, password).catch((error: unknown) => {
    log.error("authenticate hook failed", { session: facts.id, error: String(error) });
    throw problemOf(reply(454, "4.7.0", "authentication not possible now"));
  });
  if (!verdict.ok) throw problemOf(verdict.reply);
  return { ...facts, login: verdict.login };
}

function knownFacts({ facts }: FastifyRequest): SessionFacts {
  if (facts === null) throw unauthorized("authentication required");
  return facts;
}

function loginOf(request: FastifyRequest): Login {
  const { login } = knownFacts(request);
  if (login === null) throw unauthorized("authentication required");
  return login;
}

async function compose(request: FastifyRequest): Promise<Composed> {
  const { body, headers } = request;
  if (!Buffer.isBuffer(body)) return composeJson(parsePostedMessage(body));
  const stream = headerText(headers["x-mailboat-stream"]);
  if (stream !== undefined && !/^[a-z0-9-]{1,63}$/.test(stream))
    throw new Problem(400, "bad-request", "X-Mailboat-Stream: expected a stream's name");
  return composeRaw(body, {
    from: headerText(headers["x-mailboat-from"]),
    to: headerText(headers["x-mailboat-to"]),
    stream,
  });
}

/** The three questions of SMTP, in its order; throws Problem with the first no. */
async function submit(
  message: Composed,
  session: SessionFacts,
  { hooks, maxMessageBytes }: InjectionOptions,
): Promise<Reply> {
  const { from, to, body } = message;
  // The hook first: it knows the tenant's limits, and counts what it refuses.
  const refusal = hooks.mail(session, from, body.length);
  if (refusal !== null) throw problemOf(refusal);
  const maxBytes = session.login === null ? 0 : maxMessageBytes(session.login);
  if (body.length > maxBytes) throw tooLarge(maxBytes);
  const accepted: string[] = [];
  for (const next of to) {
    const no = hooks.recipient(session, from, accepted, next);
    if (no !== null) throw problemOf({ ...no, text: `recipient ${next}: ${no.text}` });
    accepted.push(next);
  }
  const eightBit = !isAscii(body);
  // Its way in takes longer than waiting for others would save.
  const inbound = { from, to: accepted, body, isLast: true, eightBit, smtpUtf8: true, session };
  const answer = await new Promise<Reply>((resolve) => hooks.message(inbound, resolve));
  if (answer.code >= 300) throw problemOf(answer);
  return answer;
}
