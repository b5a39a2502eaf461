/** A message that a pool in mode Sink took, as it is kept for a look: one header of JSON, and the message's first bytes. Pure. */
import { z } from "zod";

export const sunkHeader = "Mb-Sunk";

/** Of a message; what is longer is cut off. */
export const maxSunkBytes = 256 * 1024;

const text = z.string().max(1024);

const sunkSchema = z.object({
  id: text,
  /** ms since 1970. */
  at: z.number(),
  tenant: text,
  from: text,
  /** At most 100. */
  to: z.array(text).max(100),
  site: text,
  source: text,
  ehlo: text,
  /** Bytes of the message, signatures included. */
  size: z.number(),
});

export type Sunk = z.infer<typeof sunkSchema>;

/** ASCII, since headers go through many hands. */
export function encodeSunk(sunk: Sunk): string {
  const short = { ...sunk, to: sunk.to.slice(0, 100) };
  return JSON.stringify(short).replaceAll(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Undefined for what is none. */
export function decodeSunk(header: string): Sunk | undefined {
  try {
    return sunkSchema.safeParse(JSON.parse(header)).data;
  } catch {
    return undefined;
  }
}
