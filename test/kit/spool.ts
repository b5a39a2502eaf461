/** A spool on a test's nats-server, with its streams made, and entries to put into it. */
import type { Envelope } from "#crds/wire/envelope.ts";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { connectSpool, type Spool, type SpoolOptions } from "#mta-pod/spool/connection.ts";
import { ensureStreams } from "#mta-pod/spool/streams.ts";

export type TestSpool = Spool & AsyncDisposable;

export function spoolOptions(url: string, overrides: Partial<SpoolOptions> = {}): SpoolOptions {
  return {
    servers: [url],
    pool: "mail/test",
    pod: "pod-0",
    incarnation: "a",
    shards: 2,
    replicas: 1,
    maxBytesPerShard: 100_000_000,
    log: silentLog,
    clock: systemClock,
    ...overrides,
  };
}

/** Streams are made unless told otherwise. @example await using spool = await startTestSpool(nats.url); */
export async function startTestSpool(
  url: string,
  overrides: Partial<SpoolOptions> = {},
  { makeStreams = true }: { readonly makeStreams?: boolean } = {},
): Promise<TestSpool> {
  const spool = await connectSpool(spoolOptions(url, overrides));
  try {
    if (makeStreams) await ensureStreams(spool);
  } catch (error) {
    // Left open it would look for its server for ever, and its test would never end.
    await spool.close();
    throw error;
  }
  return { ...spool, [Symbol.asyncDispose]: () => spool.close() };
}

/** An envelope with the given fields, the rest plausible. */
export function envelope(fields: Partial<Envelope> = {}): Envelope {
  return {
    id: "01jz0000000000000000000001",
    tenant: "mail/acme",
    stream: "default",
    class: "transactional",
    from: "news@acme.example",
    to: ["someone@example.net"],
    site: "example.net",
    receivedAt: 1_700_000_000_000,
    expiresAt: 1_700_100_000_000,
    sendAt: 0,
    size: 0,
    eightBit: false,
    smtpUtf8: false,
    bodyChunks: 0,
    isBodyShared: false,
    moves: 0,
    attempt: 0,
    due: 0,
    ...fields,
  };
}

/** Polls until `condition` is true; throws after `boundMs`, naming what it waited for. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  boundMs = 10_000,
): Promise<void> {
  const until = performance.now() + boundMs;
  while (!(await condition())) {
    if (performance.now() > until) throw new Error(`Cannot see ${what} within ${boundMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
