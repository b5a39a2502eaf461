/** The one error of this room: what the API server refused, or that it could not be reached. */

export interface KubeFailure {
  /** HTTP status; 0 = no answer came. */
  readonly status: number;
  /** The API server's (NotFound, Conflict, Expired...), or for status 0 and broken answers ours. */
  readonly reason: string;
  readonly retryAfterMs?: number | undefined;
  /** False when the request surely never reached the API server. */
  readonly wasSent?: boolean;
  readonly cause?: unknown;
}

/** Ours: the network, the time bound, an answer above the bound, the caller's signal, an answer that cannot be read. */
export type OwnReason = "Unreachable" | "Timeout" | "TooLarge" | "Aborted" | "Unreadable";

/** `message` says which request, and what came. */
export class KubeError extends Error {
  override readonly name = "KubeError";
  readonly status: number;
  readonly reason: string;
  /** How long the API server asked us to wait. */
  readonly retryAfterMs: number | undefined;
  readonly wasSent: boolean;

  constructor(message: string, { status, reason, retryAfterMs, wasSent = true, cause }: KubeFailure) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
    this.wasSent = wasSent;
  }
}

const maxMessageLength = 1000;

/** From an answer's status, its Status object (or whatever a proxy put in its place) and its Retry-After. */
export function refusalOf(
  what: string,
  { status, body, retryAfter }: { status: number; body: string; retryAfter?: string | undefined },
): KubeError {
  const told = statusObject(body);
  const message = (told.message ?? body.trim()).slice(0, maxMessageLength);
  const seconds = Number(retryAfter ?? told.retryAfterSeconds ?? Number.NaN);
  return new KubeError(`Cannot ${what}: expected success, got ${status} ${told.reason ?? ""} ${message}`, {
    status,
    reason: told.reason ?? "",
    retryAfterMs: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined,
  });
}

interface Told {
  readonly reason?: string;
  readonly message?: string;
  readonly retryAfterSeconds?: number;
}

function statusObject(body: string): Told {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return {};
  }
  const { reason, message, details } = (value ?? {}) as { [field in string]?: unknown };
  const seconds = (details as { retryAfterSeconds?: unknown } | undefined)?.retryAfterSeconds;
  return {
    ...(typeof reason === "string" ? { reason } : {}),
    ...(typeof message === "string" ? { message } : {}),
    ...(typeof seconds === "number" ? { retryAfterSeconds: seconds } : {}),
  };
}
