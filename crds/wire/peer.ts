/** Questions to the pods of a pool over core NATS, and their answers, as they travel. Pure; decoding answers undefined, never throws. */

const version = 1;

export interface PeerQuestion {
  readonly kind: string;
  readonly query: unknown;
}

export interface PeerAnswer {
  readonly pod: string;
  readonly answer: unknown;
}

/** One answer; a pod with more to say says that it was too much. */
export const maxPeerAnswerBytes = 512 * 1024;
export const maxPeerQueryBytes = 64 * 1024;
/** Entries that a list of the queue shows at most: commands, admin port and pods know the same bound. */
export const maxListed = 1000;

export function encodePeerQuestion({ kind, query }: PeerQuestion): string {
  return JSON.stringify({ v: version, kind, query: query ?? null });
}

/** At most `maxPeerAnswerBytes`: a larger answer becomes one that says so. */
export function encodePeerAnswer({ pod, answer }: PeerAnswer): string {
  const text = JSON.stringify({ v: version, pod, answer: answer ?? null });
  if (Buffer.byteLength(text) <= maxPeerAnswerBytes) return text;
  return JSON.stringify({ v: version, pod, answer: { error: "too-large" } });
}

export function decodePeerQuestion(bytes: Uint8Array): PeerQuestion | undefined {
  if (bytes.length > maxPeerQueryBytes) return undefined;
  const { kind, query } = fieldsOf(bytes) ?? {};
  return typeof kind === "string" ? { kind, query } : undefined;
}

export function decodePeerAnswer(bytes: Uint8Array): PeerAnswer | undefined {
  if (bytes.length > maxPeerAnswerBytes) return undefined;
  const { pod, answer } = fieldsOf(bytes) ?? {};
  return typeof pod === "string" ? { pod, answer } : undefined;
}

function fieldsOf(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
    if (typeof value !== "object" || value === null) return undefined;
    const fields = value as Readonly<Record<string, unknown>>;
    return fields["v"] === version ? fields : undefined;
  } catch {
    return undefined;
  }
}
