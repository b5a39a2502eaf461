/** How long to wait where no rule says so: what the compiler fills in, and what a pod takes for a site without a rule. Pure. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { parseDuration } from "#crds/values/duration.ts";
import type { Rule } from "./schema.ts";

export const defaultTimeouts: Rule["timeouts"] = {
  connectMs: milliseconds(compiledDefaults.connectTimeout),
  bannerMs: milliseconds(compiledDefaults.bannerTimeout),
  commandMs: milliseconds(compiledDefaults.commandTimeout),
  dataMs: milliseconds(compiledDefaults.dataTimeout),
  finalMs: milliseconds(compiledDefaults.finalTimeout),
};

function milliseconds(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new RangeError(`Cannot read a default: expected e.g. "90s", got "${text}"`);
  return ms;
}
