/** Runs the sink (c/sink.c), asks it for its counts, and reads its times at the end. Throws Error when it does not answer. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { startChild } from "./child.ts";
import { doublesAt } from "./generator.ts";
import type { CertificateFiles } from "./keys.ts";
import type { NextHop } from "./scenarios.ts";

const countsSchema = z.object({
  messages: z.number(),
  recipients: z.number(),
  mostOpen: z.number(),
  unstamped: z.number(),
  /** Ids all of whose recipients came. */
  complete: z.number(),
  /** Recipients that came once too often. */
  duplicates: z.number(),
  deferred: z.number(),
  /** Messages with a DKIM-Signature, those that were then refused included. */
  signed: z.number(),
  busiestSecond: z.number(),
  lastAt: z.number(),
});

export type SinkCounts = z.infer<typeof countsSchema>;

export interface Sink {
  readonly port: number;
  readonly pid: number;
  counts(): Promise<SinkCounts>;
  /** @returns the last counts, and by id when it was complete (0 = never) */
  end(): Promise<{ readonly counts: SinkCounts; readonly completeAt: Float64Array }>;
  /** After a failure; nothing when it has ended. */
  stop(): Promise<void>;
}

const answerMs = 10_000;

export async function startSink(options: {
  readonly program: string;
  readonly nextHop: NextHop;
  /** Recipients of an id. */
  readonly recipients: number;
  readonly timesFile: string;
  /** Absent = no TLS. */
  readonly certificate: CertificateFiles | undefined;
}): Promise<Sink> {
  const { delayMs, refusedShare, messagesPerConnection } = options.nextHop;
  const args = [
    ["-p", 0],
    ["-r", options.recipients],
    ["-o", options.timesFile],
    ["-d", delayMs],
    ["-f", refusedShare],
    ["-q", messagesPerConnection],
  ];
  const { certificate } = options;
  if (certificate !== undefined) args.push(["-T", certificate.cert], ["-K", certificate.key]);
  const child = startChild(options.program, args.flat().map(String));
  const { listening } = z.object({ listening: z.number() }).parse(JSON.parse(await child.nextLine(answerMs)));
  const nextCounts = async (): Promise<SinkCounts> =>
    countsSchema.parse(JSON.parse(await child.nextLine(answerMs)));
  return {
    port: listening,
    stop: () => child.stop(),
    pid: child.pid,
    async counts() {
      child.signal("SIGUSR1");
      return nextCounts();
    },
    async end() {
      child.signal("SIGTERM");
      const counts = await nextCounts();
      await child.exited;
      const bytes = await readFile(options.timesFile);
      return { counts, completeAt: doublesAt(bytes, 8, Number(bytes.readBigInt64LE(0))) };
    },
  };
}
