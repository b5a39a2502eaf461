/** Runs the load generator (c/generator.c) and reads what it says. Throws Error when it stalls or a message was refused for good. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { startChild } from "./child.ts";
import { senderDomain } from "./keys.ts";
import { tenantLoginStart, tenantPassword } from "./resources.ts";
import type { Scenario } from "./scenarios.ts";

const resultSchema = z.object({
  accepted: z.number(),
  refused: z.number(),
  resent: z.number(),
  lostConnections: z.number(),
  /** Sent whole and not answered: these may come twice. */
  uncertain: z.number(),
  maxLagMs: z.number(),
  messageBytes: z.number(),
  /** Seconds of CLOCK_MONOTONIC, as all times here. */
  startedAt: z.number(),
  lastAcceptedAt: z.number(),
  cpuSeconds: z.number(),
});

export interface Load {
  readonly program: string;
  readonly port: number;
  readonly scenario: Scenario;
  readonly messages: number;
  readonly firstId: number;
  readonly ratePerSecond: number;
  readonly timesFile: string;
}

export interface Generated extends z.infer<typeof resultSchema> {
  readonly firstId: number;
  /** By id from `firstId`; 0 = never. */
  readonly acceptedAt: Float64Array;
}

export async function generate(load: Load): Promise<Generated> {
  const { scenario, firstId, messages } = load;
  const args = [
    ["-p", load.port],
    ["-c", scenario.connections],
    ["-n", messages],
    ["-i", firstId],
    ["-k", scenario.messagesPerConnection],
    ["-l", scenario.bytes],
    ["-m", scenario.mode],
    ["-r", scenario.recipients],
    ["-d", scenario.domains.join(",")],
    ["-R", load.ratePerSecond],
    ["-s", `sender@${senderDomain}`],
    ...(scenario.tenants > 0 ? [["-T", scenario.tenants, "-u", tenantLoginStart, "-P", tenantPassword]] : []),
    ...(scenario.tls ? [["-x"]] : []),
    ["-o", load.timesFile],
  ];
  const child = startChild(load.program, args.flat().map(String));
  const code = await child.exited;
  const result = resultSchema.parse(JSON.parse(await child.nextLine(0)));
  if (code !== 0)
    throw new Error(
      `Cannot use this run: expected ${messages} messages to be accepted, got ${result.accepted} and ${result.refused} refused`,
    );
  const bytes = await readFile(load.timesFile);
  // Two counts, then the times of sending, then those of acceptance; see c/generator.c.
  const acceptedAt = doublesAt(bytes, 16 + messages * 8, messages);
  return { ...result, firstId, acceptedAt };
}

/** A copy: a view would need an offset that is a multiple of 8. */
export function doublesAt(bytes: Buffer, offset: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, index) => bytes.readDoubleLE(offset + index * 8));
}
