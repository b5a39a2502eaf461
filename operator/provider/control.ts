/** The provider's control port: statistics, received messages and rules over HTTP. Unauthenticated: bind it to loopback only. */
import { Readable } from "node:stream";
import Fastify, { type FastifyInstance } from "fastify";
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
  const server = Fastify({ bodyLimit: 4 * 1024 * 1024, forceCloseConnections: true });
  addReaders(server, options);
  addRules(server, options);
  await server.listen({ host: options.host, port: options.port });
  const address = server.server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : options.port,
    close: async () => server.close(),
  };
}

function addReaders(server: FastifyInstance, { audit, messages }: ControlOptions): void {
  server.get("/v1/stats", () => audit.stats());
  server.get<{ Querystring: { to?: string; limit?: string } }>("/v1/messages", ({ query }) => ({
    messages: messages.list({ to: query.to, limit: limitOf(query.limit) }),
  }));
  server.get<{ Params: { number: string } }>("/v1/messages/:number", (request, answer) => {
    const raw = messages.raw(Number(request.params.number));
    if (raw !== undefined) return answer.type("message/rfc822").send(raw);
    return answer
      .code(404)
      .send({ error: `Cannot find message ${request.params.number}: expected one that is kept` });
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
    if (!parsed.ok) return answer.code(422).send({ error: parsed.issues.map(formatIssue).join("; ") });
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
