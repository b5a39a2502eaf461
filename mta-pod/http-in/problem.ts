/** What HTTP says where SMTP would reply: status, headers and `{error: {code, message}}`. Pure. */
import type { Reply } from "#mta-pod/smtp/reply.ts";

/** Thrown by routes; the server answers with it. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, text: string, headers: Readonly<Record<string, string>> = {}) {
    super(text);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** Where the reply does not say: a tenant's rate clears soon, trouble of ours takes longer. */
const rateRetrySeconds = "1";
const troubleRetrySeconds = "10";

const challenge = { "www-authenticate": 'Basic realm="mailboat", charset="UTF-8"' };

function statusOf({ code, enhanced }: Reply): number {
  if (code === 530 || code === 535) return 401;
  if (code === 552 || enhanced === "5.3.4" || enhanced === "5.2.3") return 413;
  // Too many recipients: waiting does not help, a shorter list does.
  if (enhanced === "4.5.3" || enhanced === "5.5.3") return 422;
  if (enhanced.startsWith("5.7.")) return 403;
  if (code >= 500) return 422;
  return enhanced === "4.7.1" ? 429 : 503;
}

/** @example problemOf(reply(451, "4.7.1", "slow down")) // 429, "451 4.7.1", Retry-After: 1 */
export function problemOf(refusal: Reply): Problem {
  const status = statusOf(refusal);
  const code = refusal.enhanced === "" ? String(refusal.code) : `${refusal.code} ${refusal.enhanced}`;
  const headers: Record<number, Readonly<Record<string, string>>> = {
    401: challenge,
    429: { "retry-after": refusal.retrySeconds?.toString() ?? rateRetrySeconds },
    503: { "retry-after": troubleRetrySeconds },
  };
  return new Problem(status, code, refusal.text, headers[status] ?? {});
}

export function unauthorized(text: string): Problem {
  return new Problem(401, "unauthorized", text, challenge);
}

export function overloaded(): Problem {
  return new Problem(503, "overloaded", "too much is being taken at once, try again later", {
    "retry-after": troubleRetrySeconds,
  });
}
