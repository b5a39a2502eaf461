/** The provider's control port: statistics, received messages and rules over HTTP. Unauthenticated: bind it to loopback only. */
import { Readable } from "node:stream";
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from "fastify";
import { formatIssue } from "#crds/values/issue.ts";
import type { Audit } from "./audit.ts";
import type { MessageStore } from "./message-store.ts";
import { parseRules, type ProviderRules } from "./rules.ts";

export interface ControlOptions {
  readonly host: string;
  readonly port: number;
  readonly audit: Audit;
  readonly messages: MessageStore;
  rules(): ProviderRules;
  setRules(rules: ProviderRules): void;
}

export interface Control {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Serves `GET /v1/stats`, `GET /v1/messages?to=&limit=`, `GET /v1/messages/:number` (the raw message),
 * `DELETE /v1/messages`, `GET /v1/refusals?limit=`, `GET /v1/ids` (JSON lines), `GET` and `PUT /v1/rules`.
 */
export async function startControl(options: ControlOptions): Promise<Control> {
  const server = Fastify({
    bodyLimit: 4 * 1024 * 1024,
    forceCloseConnections: true,
    // A path that cannot be decoded comes to no other handler.
    frameworkErrors: (error, _request, answer) => void refuse(answer, refusalOf(error)),
  });
  refuseAsPods(server);
  addReaders(server, options);
  addRules(server, options);
  await server.listen({ host: options.host, port: options.port });
  const address = server.server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : options.port,
    close: async () => server.close(),
  };
}

/** Fastify's own refusals by status, in the words of the pods' ports. */
const codes: Readonly<Record<number, string>> = {
  400: "bad-request",
  404: "not-found",
  413: "too-large",
  415: "unsupported-media-type",
};

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

function refuse(answer: FastifyReply, { status, code, message }: Refusal): FastifyReply {
  return answer.code(status).send({ error: { code, message } });
}

function refusalOf({ statusCode: status = 500, message }: FastifyError): Refusal {
  return { status, code: codes[status] ?? (status < 500 ? "refused" : "internal"), message };
}

function refuseAsPods(server: FastifyInstance): void {
  server.setErrorHandler((error: FastifyError, _request, answer) => refuse(answer, refusalOf(error)));
  server.setNotFoundHandler((_request, answer) =>
    refuse(answer, { status: 404, code: "not-found", message: "no such resource" }),
  );
}

function addReaders(server: FastifyInstance, { audit, messages }: ControlOptions): void {
  server.get("/v1/stats", () => audit.stats());
  server.get<{ Querystring: { to?: string; limit?: string } }>("/v1/messages", ({ query }) => ({
    messages: messages.list({ to: query.to, limit: limitOf(query.limit) }),
  }));
  server.get<{ Params: { number: string } }>("/v1/messages/:number", (request, answer) => {
    const raw = messages.raw(Number(request.params.number));
    if (raw !== undefined) return answer.type("message/rfc822").send(raw);
    const message = `Cannot find message ${request.params.number}: expected one that is kept`;
    return refuse(answer, { status: 404, code: "not-found", message });
  });
  server.delete("/v1/messages", (_request, answer) => {
    messages.clear();
    return answer.code(204).send();
  });
  server.get<{ Querystring: { limit?: string } }>("/v1/refusals", ({ query }) => ({
    refusals: audit.refusals(limitOf(query.limit)),
  }));
  server.get("/v1/ids", (_request, answer) =>
    answer.type("application/x-ndjson").send(Readable.from(idLines(audit))),
  );
}

function addRules(server: FastifyInstance, { rules, setRules }: ControlOptions): void {
  server.get("/v1/rules", () => rules());
  server.put("/v1/rules", (request, answer) => {
    const parsed = parseRules(request.body);
    if (!parsed.ok) {
      const message = parsed.issues.map(formatIssue).join("; ");
      return refuse(answer, { status: 422, code: "invalid", message });
    }
    setRules(parsed.value);
    return answer.send(parsed.value);
  });
}

/** Counts of every id as JSON lines, a thousand at a time: there may be millions. */
function* idLines(audit: Audit): Generator<string> {
  let lines: string[] = [];
  for (const count of audit.ids.entries()) {
    lines.push(`${JSON.stringify(count)}\n`);
    if (lines.length < 1000) continue;
    yield lines.join("");
    lines = [];
  }
  if (lines.length > 0) yield lines.join("");
}

function limitOf(text: string | undefined): number {
  const limit = Number(text ?? 100);
  return Number.isInteger(limit) && limit > 0 ? Math.min(limit, 10_000) : 100;
}
