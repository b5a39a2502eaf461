/** What the pretend provider does, by recipient: the schema of a rules file and the choice of the rule. Pure; issues, never throws. */
import { z } from "zod";
import type { Parsed } from "#crds/values/issue.ts";
import { parseBy } from "#crds/values/zod-issue.ts";

const milliseconds = z.number().min(0).max(86_400_000);
const refusalText = z.string().min(1).max(400);
/** `rcpt` refuses the recipient, `data` the message after its final dot. */
const stage = z.enum(["rcpt", "data"]);

const temporary = { code: z.int().min(400).max(499), text: refusalText };

const behaviour = {
  /** Refuse for now: the first `times` attempts of a sender and recipient (stage data: of a message), absent = always. */
  defer: z
    .strictObject({
      times: z.int().min(1).optional(),
      code: temporary.code.default(451),
      text: refusalText.default("4.3.0 try again later"),
      stage: stage.default("rcpt"),
    })
    .optional(),
  /** Refuse for good. */
  bounce: z
    .strictObject({
      code: z.int().min(500).max(599).default(550),
      text: refusalText.default("5.1.1 no such user here"),
      stage: stage.default("rcpt"),
    })
    .optional(),
  /** Over the rate (messages in any second) a recipient is refused; over the connections the client gets 421. */
  throttle: z
    .strictObject({
      messagesPerSecond: z.number().positive().optional(),
      connections: z.int().min(1).optional(),
      code: temporary.code.default(451),
      text: refusalText.default("4.7.28 rate limit exceeded, slow down"),
    })
    .optional(),
  /** End the connection after so many messages: `421` answers the next MAIL, `close` hangs up after the last reply. */
  closeAfter: z
    .strictObject({ messages: z.int().min(1), how: z.enum(["421", "close"]).default("421") })
    .optional(),
  /** Wait before the replies to RCPT and to the final dot. */
  tarpit: z.strictObject({ delayMs: milliseconds }).optional(),
  /**
   * Hang up without a reply after the final dot: the first `times` attempts of a message, or a share of all of them.
   * `record`: whether the provider keeps the message, so that a repeat is a real double.
   */
  dropAfterDot: z
    .strictObject({
      times: z.int().min(1).optional(),
      ratio: z.number().min(0).max(1).optional(),
      record: z.boolean().default(true),
    })
    .optional(),
  /** Never reply at this point; the client's time-out decides. */
  hang: z.strictObject({ stage }).optional(),
  /** Refuse a sender and recipient until `seconds` after they were first seen. */
  greylist: z
    .strictObject({
      seconds: z.number().min(0).max(86_400),
      code: temporary.code.default(451),
      text: refusalText.default("4.7.1 greylisted, come back later"),
    })
    .optional(),
};

const matchers = {
  name: z.string().max(200).optional(),
  /** Recipient domains: exact, `*.example` for those below, `*` for all. */
  domains: z.array(z.string().min(1).max(255)).max(1000).default([]),
  /** Recipient addresses with `*` for any run of characters: `bounce-*@example.net`. */
  mailboxes: z.array(z.string().min(1).max(320)).max(1000).default([]),
};

const ruleSchema = z
  .strictObject({ ...matchers, ...behaviour })
  .refine((rule) => rule.domains.length + rule.mailboxes.length > 0, {
    message: "domains or mailboxes",
    params: { got: "neither" },
  });

const rulesSchema = z.strictObject({
  /** The first rule that matches a recipient decides; none = accept. */
  rules: z.array(ruleSchema).max(10_000).default([]),
  /** Connections of all clients together; one more is greeted with 421. */
  connections: z.int().min(1).optional(),
  /** Wait before every reply of the session that a hook sees: greeting, MAIL, RCPT, final dot. */
  tarpit: z.strictObject({ delayMs: milliseconds }).optional(),
});

export type ProviderRule = z.infer<typeof ruleSchema>;
export type ProviderRules = z.infer<typeof rulesSchema>;
/** Rules as a user writes them: defaults left out. */
export type ProviderRulesInput = z.input<typeof rulesSchema>;

export const noRules: ProviderRules = { rules: [] };

/**
 * Reads a rules document.
 * @example parseRules({ rules: [{ domains: ["slow.example"], throttle: { messagesPerSecond: 5 } }] })
 */
export function parseRules(document: unknown): Parsed<ProviderRules> {
  const parsed = parseBy(rulesSchema, document ?? {});
  if (parsed.ok) return parsed;
  return { ok: false, issues: parsed.issues.map((issue) => ({ ...issue, where: issue.where || "rules" })) };
}

/** The domain of an address in lower case, "" when there is none. */
export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1).toLowerCase();
}

/** The rule for a recipient, undefined = accept. Comparison ignores case. */
export function ruleFor(rules: ProviderRules, recipient: string): ProviderRule | undefined {
  const address = recipient.toLowerCase();
  const domain = domainOf(address);
  return rules.rules.find(
    (rule) =>
      rule.domains.some((pattern) => matchesDomain(pattern.toLowerCase(), domain)) ||
      rule.mailboxes.some((pattern) => matchesGlob(pattern.toLowerCase(), address)),
  );
}

function matchesDomain(pattern: string, domain: string): boolean {
  if (pattern === "*" || pattern === domain) return true;
  return pattern.startsWith("*.") && domain.endsWith(pattern.slice(1));
}

/** `*` matches any run of characters; linear in both, since patterns and addresses may be hostile. */
export function matchesGlob(pattern: string, text: string): boolean {
  let at = 0;
  let patternAt = 0;
  let star = -1;
  let resume = 0;
  while (at < text.length) {
    if (pattern[patternAt] === "*") {
      star = patternAt++;
      resume = at;
    } else if (pattern[patternAt] === text[at]) {
      patternAt++;
      at++;
    } else if (star >= 0) {
      patternAt = star + 1;
      at = ++resume;
    } else return false;
  }
  while (pattern[patternAt] === "*") patternAt++;
  return patternAt === pattern.length;
}
