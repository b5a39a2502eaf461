/** The HTTP server both ports are made of: bounds, JSON errors, listening, closing. Rejects when the port cannot be had. */
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from "fastify";
import type { Log } from "#mta-pod/runtime/log.ts";
import { Problem } from "./problem.ts";

export interface HttpServer {
  readonly port: number;
  /** Answers what is open, then ends. What is not through after `graceMs` is cut off. */
  close(graceMs: number): Promise<void>;
}

export interface HttpAddress {
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
  readonly reusePort: boolean;
}

/** For a whole request, and between two on one connection. */
const requestMs = 120_000;
const keepAliveMs = 65_000;
const maxConnections = 2000;
/** Between two looks for connections that have become idle, while it closes. */
const idleLookMs = 100;

/** Fastify's own refusals by status: their texts are fit for clients. */
const codes: Readonly<Record<number, string>> = {
  400: "bad-request",
  404: "not-found",
  405: "method-not-allowed",
  411: "length-required",
  413: "too-large",
  415: "unsupported-media-type",
  503: "closing",
};

function asProblem(error: unknown, log: Log): Problem {
  if (error instanceof Problem) return error;
  const { statusCode = 500, message } = error as Partial<FastifyError>;
  if (statusCode < 500 || statusCode === 503)
    return new Problem(statusCode, codes[statusCode] ?? "refused", message ?? "refused");
  log.error("http request failed", { error: String(error) });
  return new Problem(500, "internal", "local error, try again later");
}

function refuse(answer: FastifyReply, { status, code, message, headers }: Problem): FastifyReply {
  return answer.code(status).headers(headers).send({ error: { code, message } });
}

/** A server without routes. */
export function createServer(bodyLimit: number, log: Log): FastifyInstance {
  const server = fastify({
    logger: false,
    bodyLimit,
    requestTimeout: requestMs,
    connectionTimeout: requestMs,
    keepAliveTimeout: keepAliveMs,
    forceCloseConnections: "idle",
    trustProxy: false,
    routerOptions: { maxParamLength: 128 },
    // A path that cannot be decoded comes to no other handler.
    frameworkErrors: (error, _request, answer) => void refuse(answer, asProblem(error, log)),
  });
  server.removeContentTypeParser("text/plain");
  refuseMethods(server);
  server.server.maxConnections = maxConnections;
  server.setErrorHandler((error, _request, answer) => refuse(answer, asProblem(error, log)));
  server.setNotFoundHandler(async (_request, answer) => {
    await answer.code(404).send({ error: { code: "not-found", message: "no such resource" } });
  });
  return server;
}

/** Of a resource that exists, with another method: 405 and what it takes (RFC 9110 §15.5.6). Before any other hook. */
function refuseMethods(server: FastifyInstance): void {
  const methods = new Map<string, Set<string>>();
  server.addHook("onRoute", ({ url, method }) => {
    const taken = methods.get(url) ?? new Set();
    methods.set(url, taken);
    for (const one of [method].flat()) taken.add(one);
  });
  server.addHook("onRequest", async ({ is404, url, method }) => {
    if (!is404) return;
    const [path = ""] = url.split("?", 1);
    const allow = [...methods]
      .flatMap(([pattern, taken]) => (isAt(pattern, path) ? [...taken] : []))
      .join(", ");
    if (allow !== "")
      throw new Problem(405, "method-not-allowed", `expected ${allow}, got ${method}`, { allow });
  });
}

/** Is `path` what `pattern` (`/v1/messages/:id`) stands for? */
function isAt(pattern: string, path: string): boolean {
  const wanted = pattern.split("/");
  const parts = path.split("/");
  return (
    wanted.length === parts.length && wanted.every((one, at) => one.startsWith(":") || one === parts[at])
  );
}

export async function listen(server: FastifyInstance, address: HttpAddress): Promise<HttpServer> {
  // Fastify hands these options to net.Server, and only its type does not know reusePort.
  const options: HttpAddress & { readonly backlog: number } = { ...address, backlog: 1024 };
  await server.listen(options);
  const bound = server.server.address();
  const port = bound !== null && typeof bound === "object" ? bound.port : address.port;
  return {
    port,
    async close(graceMs) {
      // Idle ones are closed at the start alone: one whose refused body comes in after its answer would be kept for a minute.
      const looking = setInterval(() => server.server.closeIdleConnections(), idleLookMs);
      const cutting = setTimeout(() => server.server.closeAllConnections(), graceMs);
      try {
        await server.close();
      } finally {
        clearInterval(looking);
        clearTimeout(cutting);
      }
    },
  };
}
