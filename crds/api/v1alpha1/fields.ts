/** Building blocks of the resources' schemas: bounded texts, keyed lists and rules that exist in CEL and here alike. Pure. */
import { isIP } from "node:net";
import { z } from "zod";
import { domainPattern, maxDomainLength } from "#crds/values/domain.ts";
import { durationPattern, maxDurationLength, parseDuration } from "#crds/values/duration.ts";
import { maxRateLength, ratePattern } from "#crds/values/rate.ts";

/** A rule as the API server checks it (`rule`, in CEL) and as we do offline. Without `fault`: only the server can know (oldSelf). */
export interface FieldRule<Value> {
  readonly rule: string;
  /** What is expected, as a noun phrase: the text of both checks. */
  readonly expected: string;
  /** What there is in place of what is expected; undefined when the rule holds. */
  fault?(value: Value): string | undefined;
}

/** `schema` with the rules, and with what was already said about it. */
export function withRules<Schema extends z.ZodType>(
  schema: Schema,
  rules: readonly FieldRule<z.output<Schema>>[],
): Schema {
  const meta = schema.meta() ?? {};
  let ruled = schema;
  for (const { expected, fault } of rules)
    if (fault !== undefined) ruled = ruled.check(faultCheck(expected, fault));
  const validations = rules.map(({ rule, expected }) => ({ rule, message: `expected ${expected}` }));
  return ruled.meta({ ...meta, "x-kubernetes-validations": validations });
}

/** Adds what was found to zod's issue, for `got`. */
function faultCheck<Value>(
  expected: string,
  fault: (value: Value) => string | undefined,
): z.core.CheckFn<Value> {
  return ({ value, issues }) => {
    const got = fault(value);
    if (got !== undefined)
      issues.push({ code: "custom", message: expected, input: value, params: { got }, continue: true });
  };
}

function firstRepeated(texts: readonly string[]): string | undefined {
  const repeated = texts.find((text, index) => texts.indexOf(text) !== index);
  return repeated === undefined ? undefined : `${JSON.stringify(repeated)} more than once`;
}

/** A list whose items are told apart by the field `key`; the order is kept. */
export function keyedList<Item extends z.ZodObject>(item: Item, key: string, max: number): z.ZodArray<Item> {
  const keyOf = (one: object): string => String(Reflect.get(one, key));
  return z
    .array(item)
    .max(max)
    .check(faultCheck(`items with a different ${key} each`, (items) => firstRepeated(items.map(keyOf))))
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key] });
}

/** A list of different texts. */
export function textSet(item: z.ZodString, max: number): z.ZodArray<z.ZodString> {
  return z
    .array(item)
    .max(max)
    .check(faultCheck("different items", firstRepeated))
    .meta({ "x-kubernetes-list-type": "set" });
}

const expectedText = "texts by names such as example.com/name";

/** Labels, annotations and their like. The names are checked here alone: a structural schema cannot. */
export function textMap(max: number, maxValueLength: number): z.ZodRecord<z.ZodString, z.ZodString> {
  const badName = (map: Record<string, string>): string | undefined =>
    Object.keys(map).find(
      (name) => !/^([a-z0-9.-]{1,253}\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/.test(name),
    );
  return z
    .record(z.string(), z.string().max(maxValueLength))
    .check(
      faultCheck(expectedText, (map) => {
        const name = badName(map);
        return name === undefined ? undefined : JSON.stringify(name);
      }),
      faultCheck(`at most ${max} of them`, (map) => {
        const count = Object.keys(map).length;
        return count > max ? String(count) : undefined;
      }),
    )
    .meta({ maxProperties: max });
}

/** A whole number from 0 to `most`, or a text of the pattern: the one union that the API server knows. */
export function numberOrText(
  most: number,
  { pattern, max, expected }: { readonly pattern: string; readonly max: number; readonly expected: string },
): z.ZodUnion<readonly [z.ZodInt, z.ZodString]> {
  return z
    .union([z.int().min(0).max(most), patterned(pattern, max, expected)], { error: expected })
    .meta({ "x-kubernetes-int-or-string": true });
}

/** A quantity of Kubernetes, for processors and memory. */
export const quantity = numberOrText(1_000_000_000_000_000, {
  pattern: "^[0-9]{1,15}([.][0-9]{1,3})?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$",
  max: 24,
  expected: "a quantity such as 500m or 1Gi",
});

/** A list that is only ever replaced as a whole, in its order. */
export function orderedList<Item extends z.ZodType>(item: Item, max: number): z.ZodArray<Item> {
  return z.array(item).max(max).meta({ "x-kubernetes-list-type": "atomic" });
}

function patterned(pattern: string, max: number, expected: string): z.ZodString {
  return z.string().max(max).regex(new RegExp(pattern), { error: expected });
}

/** Name of a thing inside a resource, or of a namespace: a DNS label. */
export const itemName = patterned(
  "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
  63,
  "a name of lower-case letters, digits and inner hyphens",
);

/** Name of another resource. */
export const objectName = patterned(
  "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
  253,
  "the name of a resource: lower-case letters, digits, inner hyphens and dots",
);

/** Names of the pool's Services and of its pods' revisions are made of it, and they end at 63 characters. */
export const poolName = patterned(
  "^[a-z0-9]([a-z0-9-]{0,34}[a-z0-9])?$",
  36,
  "the name of a pool: up to 36 lower-case letters, digits and inner hyphens",
);

/** With at least two labels. */
export const fullDomain = patterned(
  domainPattern.replace(/[*]\$$/, "+$"),
  maxDomainLength,
  "a full domain name (two labels or more) as A-labels in lower case",
);

const bareDomainPattern = domainPattern.slice(1, -1);

export const domainMatch = patterned(
  `^([*]|([*][.])?${bareDomainPattern})$`,
  maxDomainLength + 2,
  'a domain name as A-labels in lower case, "*.name" for those below it, or "*" for every one',
);

export const hostSuffix = patterned(
  `^[.]?${bareDomainPattern}$`,
  maxDomainLength + 1,
  "a host name in lower case, or a suffix with a leading dot",
);

/** A host name or an address. */
export const host = patterned("^[A-Za-z0-9_.:-]+$", maxDomainLength, "a host name or an IP address");

export const port = z.int().min(1).max(65_535);

const bareRate = patterned(ratePattern, maxRateLength, "a rate <count>/<s|m|h|d>, such as 30/s");
export const rate = bareRate;

/** A duration within bounds, both as users write them. */
export function duration(least: string, most: string): z.ZodString {
  const text = patterned(durationPattern, maxDurationLength, "a duration in h, m, s and ms, such as 1h30m");
  const limits = { least: parseDuration(least) ?? 0, most: parseDuration(most) ?? 0 };
  return withRules(text, [
    {
      rule: `duration(self) >= duration('${least}') && duration(self) <= duration('${most}')`,
      expected: `a duration from ${least} to ${most}`,
      fault: (value) => {
        const ms = parseDuration(value);
        // Malformed: the pattern has said so.
        const isWithin = ms === undefined || (ms >= limits.least && ms <= limits.most);
        return isWithin ? undefined : JSON.stringify(value);
      },
    },
  ]);
}

export const ipAddress = withRules(z.string().max(45), [
  {
    rule: "isIP(self)",
    expected: "an IP address",
    fault: (value) => (isIP(value) > 0 && !value.includes("%") ? undefined : JSON.stringify(value)),
  },
]);

export const cidr = withRules(z.string().max(43), [
  {
    rule: "isCIDR(self)",
    expected: "an address range such as 10.0.0.0/8 or fd00::/8",
    fault: (value) => (isCidr(value) ? undefined : JSON.stringify(value)),
  },
]);

function isCidr(text: string): boolean {
  const [, address = "", bits = ""] = /^([0-9A-Fa-f.:]+)\/(0|[1-9][0-9]{0,2})$/.exec(text) ?? [];
  const family = isIP(address);
  const mapped = family === 6 && address.includes(".");
  return family > 0 && !mapped && Number(bits) <= (family === 4 ? 32 : 128);
}

/** @example describe("What it is.", schema): the description shown by `kubectl explain` and the field table. */
export function described<Schema extends z.ZodType>(description: string, schema: Schema): Schema {
  return schema.meta({ ...schema.meta(), description });
}
