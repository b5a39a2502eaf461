/** SendingPool's `egress`: where its mail leaves from and may go to. Schema; pure. */
import { z } from "zod";
import { storedDefaults } from "./defaults.ts";
import { cidr, described, fullDomain, ipAddress, itemName, keyedList, orderedList } from "./fields.ts";

const source = z.strictObject({
  name: described("Name of the source, in metrics and events.", itemName),
  address: described(
    "Local address that connections leave from, else the kernel's choice.",
    ipAddress,
  ).optional(),
  ehlo: described("Name in EHLO, else the pool's hostname.", fullDomain).optional(),
  weight: described(
    "Share of the mail, relative to other sources.",
    z.int().min(1).max(1000).default(storedDefaults.sourceWeight),
  ),
});

export const egress = z.strictObject({
  mode: described(
    "How mail leaves: from the pods' own addresses.",
    z.enum(["PodNetwork"]).default(storedDefaults.egressMode),
  ),
  allowDestinations: described(
    "Private, loopback and cluster ranges that mail may go to; all others of that kind are refused.",
    orderedList(cidr, 64),
  ).optional(),
  sources: described(
    "Sources to send from; one called `default` unless set.",
    keyedList(source, "name", 64).min(1),
  ).optional(),
});
