/**
 * HTTP to the API server: one attempt per call, bounded in time and bytes, counted. Rejects with KubeError only. Node's own client, since
 * client-node's calls have no bounds, no Retry-After and parse whole lists into classes.
 */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Access } from "./access.ts";
import { KubeError, type OwnReason, refusalOf } from "./errors.ts";
import type { Clock, KubeMetrics, Transport, TransportRequest } from "./types.ts";

export interface TransportOptions {
  readonly access: Access;
  readonly clock: Clock;
  readonly metrics?: KubeMetrics | undefined;
  /** For a whole answer of `json`, and for the headers of `lines`; default 30 s. */
  readonly timeoutMs?: number | undefined;
  /** Of an answer of `json`; default 64 MiB: a page of 500 objects of 128 KiB. */
  readonly maxBytes?: number | undefined;
}

interface Opened {
  readonly response: IncomingMessage;
  readonly request: ClientRequest;
  readonly signal: AbortSignal | undefined;
}

const maxRefusalBytes = 64 * 1024;
/** The request did not leave: it may be made again whatever it is. */
const unsentCodes = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ECERT",
]);

export function createTransport(options: TransportOptions): Transport {
  const { clock, timeoutMs = 30_000, maxBytes = 64 * 1024 * 1024 } = options;
  return {
    async json(request) {
      const what = describe(request);
      const timer = deadline(clock, timeoutMs);
      try {
        const opened = await openAuthorised(options, request, timer);
        const { response } = opened;
        const body = await text(what, opened, maxBytes, timer);
        if (!isSuccess(response)) throw refused(what, response, body);
        return parse(what, body);
      } finally {
        timer.cancel();
      }
    },
    async *lines(request, { maxLineBytes }) {
      const what = describe(request);
      const timer = deadline(clock, timeoutMs);
      let opened: Opened | undefined;
      try {
        opened = await openAuthorised(options, request, timer);
        const { response } = opened;
        if (!isSuccess(response))
          throw refused(what, response, await text(what, opened, maxRefusalBytes, timer));
        timer.cancel();
        yield* splitLines(what, response, maxLineBytes);
      } finally {
        timer.cancel();
        opened?.request.destroy();
      }
    },
  };
}

interface Deadline {
  /** Set by who can be cut short. */
  expire: () => void;
  expired: boolean;
  cancel(): void;
}

function deadline(clock: Clock, ms: number): Deadline {
  const timer: Deadline = {
    expire: () => undefined,
    expired: false,
    cancel: clock.after(ms, () => {
      timer.expired = true;
      timer.expire();
    }),
  };
  return timer;
}

/** A 401 renews the credentials, once: tokens rotate, plug-ins' answers run out. */
async function openAuthorised(
  options: TransportOptions,
  request: TransportRequest,
  timer: Deadline,
): Promise<Opened> {
  const first = await open(options, request, timer);
  if (first.response.statusCode !== 401 || !options.access.renew()) return first;
  first.response.resume();
  return open(options, request, timer);
}

async function open(options: TransportOptions, request: TransportRequest, timer: Deadline): Promise<Opened> {
  const { access, metrics } = options;
  const what = describe(request);
  if (request.signal?.aborted === true) throw ownError(what, "Aborted", { wasSent: false });
  const credentials = await access.credentials().catch((cause: unknown) => {
    throw ownError(what, "Unreachable", { cause, wasSent: false, note: "no credentials" });
  });
  const { server } = access;
  const send = server.protocol === "http:" ? httpRequest : httpsRequest;
  return new Promise<Opened>((resolve, reject) => {
    const outgoing = send(new URL(`${server.pathname.replace(/\/$/, "")}${request.path}`, server), {
      method: request.method,
      agent: credentials.agent,
      headers: {
        ...request.headers,
        ...credentials.headers,
        accept: request.accept ?? "application/json",
        "user-agent": "mailboat",
        ...(request.body === undefined
          ? {}
          : {
              "content-type": request.contentType ?? "application/json",
              "content-length": Buffer.byteLength(request.body),
            }),
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    timer.expire = () => outgoing.destroy(new Error("time-out"));
    if (timer.expired) timer.expire();
    let answered = false;
    outgoing.on("error", (cause: NodeJS.ErrnoException) => {
      if (!answered) metrics?.request("<error>", request.method, server.host);
      reject(networkError(what, request.signal, timer, cause));
    });
    outgoing.on("response", (response) => {
      answered = true;
      metrics?.request(String(response.statusCode ?? 0), request.method, server.host);
      resolve({ response, request: outgoing, signal: request.signal });
    });
    outgoing.end(request.body);
  });
}

function networkError(
  what: string,
  signal: AbortSignal | undefined,
  timer: Deadline,
  cause: NodeJS.ErrnoException,
): KubeError {
  if (signal?.aborted === true) return ownError(what, "Aborted", { cause });
  if (timer.expired) return ownError(what, "Timeout", { cause });
  return ownError(what, "Unreachable", { cause, wasSent: !unsentCodes.has(cause.code ?? "") });
}

async function text(
  what: string,
  { response, request, signal }: Opened,
  maxBytes: number,
  timer: Deadline,
): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  timer.expire = () => request.destroy(new Error("time-out"));
  if (timer.expired) timer.expire();
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        request.destroy();
        throw ownError(what, "TooLarge", { note: `more than ${maxBytes} bytes` });
      }
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof KubeError) throw cause;
    throw networkError(what, signal, timer, cause as NodeJS.ErrnoException);
  }
  const [first] = chunks;
  return (first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks, bytes)).toString("utf8");
}

const newline = 0x0a;

async function* splitLines(
  what: string,
  response: IncomingMessage,
  maxLineBytes: number,
): AsyncGenerator<string> {
  let pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      let from = 0;
      for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
        pieces.push(chunk.subarray(from, end));
        const line = Buffer.concat(pieces).toString("utf8");
        pieces = [];
        bytes = 0;
        from = end + 1;
        if (line !== "") yield line;
      }
      if (from < chunk.length) pieces.push(chunk.subarray(from));
      bytes += chunk.length - from;
      if (bytes > maxLineBytes)
        throw ownError(what, "TooLarge", { note: `a line of more than ${maxLineBytes} bytes` });
    }
  } catch (cause) {
    if (cause instanceof KubeError) throw cause;
    throw ownError(what, "Unreachable", { cause });
  }
  if (bytes > 0) throw ownError(what, "Unreachable", { note: "the answer ended in the middle of a line" });
}

function isSuccess({ statusCode = 0 }: IncomingMessage): boolean {
  return statusCode >= 200 && statusCode < 300;
}

function refused(what: string, response: IncomingMessage, body: string): KubeError {
  return refusalOf(what, {
    status: response.statusCode ?? 0,
    body,
    retryAfter: response.headers["retry-after"],
  });
}

function parse(what: string, body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch (cause) {
    throw ownError(what, "Unreadable", {
      cause,
      note: `expected JSON, got ${JSON.stringify(body.slice(0, 100))}`,
    });
  }
}

function describe({ method, path }: TransportRequest): string {
  return `${method} ${path}`;
}

function ownError(
  what: string,
  reason: OwnReason,
  { cause, wasSent = true, note }: { cause?: unknown; wasSent?: boolean; note?: string } = {},
): KubeError {
  const told = [note, cause instanceof Error ? cause.message : undefined].filter(
    (part) => part !== undefined,
  );
  return new KubeError(`Cannot ${what}: ${reason}${told.length === 0 ? "" : `: ${told.join(": ")}`}`, {
    status: 0,
    reason,
    wasSent,
    cause,
  });
}
