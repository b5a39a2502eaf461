/** Mailbox providers that a rule can name, by the MX hosts that are theirs. Pure data. */

/**
 * Microsoft's edges are three sites with limits of their own (consumer, 365, 365 with DANE), hence three names.
 * MX hosts of small providers change; a rule with `mxSuffixes` says the same for any other.
 */
export const providerSuffixes = {
  Google: [".google.com", ".googlemail.com"],
  Outlook: [".olc.protection.outlook.com"],
  Microsoft365: [".mail.protection.outlook.com"],
  Microsoft365Dane: [".mx.microsoft"],
  Yahoo: [".yahoodns.net"],
  Apple: [".mail.icloud.com"],
  Comcast: [".comcast.net"],
  Orange: [".orange.fr", ".wanadoo.fr"],
  Gmx: [".gmx.net", ".web.de", ".mail.com"],
  Mimecast: [".mimecast.com"],
  Proofpoint: [".pphosted.com"],
} as const;

export type ProviderName = keyof typeof providerSuffixes;

export const providerNames = [
  "Google",
  "Outlook",
  "Microsoft365",
  "Microsoft365Dane",
  "Yahoo",
  "Apple",
  "Comcast",
  "Orange",
  "Gmx",
  "Mimecast",
  "Proofpoint",
] as const satisfies readonly ProviderName[];
