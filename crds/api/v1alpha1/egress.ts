/** SendingPool's `egress`: where its mail leaves from and may go to. Schema; pure. */
import { z } from "zod";
import { compiledDefaults, storedDefaults } from "./defaults.ts";
import {
  cidr,
  described,
  duration,
  fullDomain,
  host,
  ipAddress,
  itemName,
  keyedList,
  objectName,
  orderedList,
  port,
  withRules,
} from "./fields.ts";

const proxyOfSource = withRules(
  z.strictObject({
    ordinal: described(
      "One of the proxies that the operator runs, by its number: its name and its source stay together for ever.",
      z.int().min(0).max(63),
    ).optional(),
    host: described("A proxy of your own: host name or address.", host).optional(),
    port: described(`Port of your own proxy; ${compiledDefaults.proxyPort} unless set.`, port).optional(),
  }),
  [
    {
      rule: "has(self.ordinal) != has(self.host) && !(has(self.ordinal) && has(self.port))",
      expected: "either ordinal, or host with or without port",
      fault: ({ ordinal, host: named, port: at }) =>
        (ordinal === undefined) === (named === undefined) || (ordinal !== undefined && at !== undefined)
          ? `ordinal ${ordinal ?? "unset"}, host ${named ?? "unset"}, port ${at ?? "unset"}`
          : undefined,
    },
  ],
);

const source = z.strictObject({
  name: described("Name of the source, in metrics and events.", itemName),
  address: described(
    "Address that connections leave from, else the kernel's choice. HostNetwork: only pods whose host has it use the source. " +
      "Proxy: an address of the proxy's host, asked of it as `username@address` (which `mailboat proxy` understands) or in the PROXY header.",
    ipAddress,
  ).optional(),
  ehlo: described("Name in EHLO, else the pool's hostname.", fullDomain).optional(),
  weight: described(
    "Share of the mail, relative to other sources.",
    z.int().min(1).max(1000).default(storedDefaults.sourceWeight),
  ),
  proxy: described(
    "The proxy that the source's connections go through, in mode Proxy.",
    proxyOfSource,
  ).optional(),
});

const proxy = z.strictObject({
  protocol: described(
    "What the proxies speak: SOCKS5 (RFC 1928), or HAProxy's PROXY header of version 2 with the destination in it.",
    z.enum(["SOCKS5", "PROXYv2"]).default(storedDefaults.proxyProtocol),
  ),
  connectTimeout: described(
    `Until a proxy is reached and has let the pod in; ${compiledDefaults.proxyConnectTimeout} unless set.`,
    duration("1s", "60s"),
  ).optional(),
  secretRef: described(
    "The pods' login at the proxies (RFC 1929): a Secret of the pool's namespace with `username` and `password`. The operator makes one for the proxies that it runs.",
    z.strictObject({ name: described("Name of the Secret.", objectName) }),
  ).optional(),
  hostNetwork: described(
    "The operator's proxies send from their nodes' addresses.",
    z.boolean().default(storedDefaults.proxyHostNetwork),
  ),
});

export const egress = withRules(
  z.strictObject({
    mode: described(
      "How mail leaves: from the pods' own addresses, from their hosts', through proxies, or not at all: Sink takes it, counts it as delivered and keeps the last for a look.",
      z.enum(["PodNetwork", "HostNetwork", "Proxy", "Sink"]).default(storedDefaults.egressMode),
    ),
    allowDestinations: described(
      "Private, loopback and cluster ranges that mail may go to; all others of that kind are refused.",
      orderedList(cidr, 64),
    ).optional(),
    sources: described(
      "Sources to send from; one called `default` unless set.",
      keyedList(source, "name", 64).min(1),
    ).optional(),
    proxy: described("How the pods use proxies, in mode Proxy.", proxy).optional(),
  }),
  [
    {
      rule: "self.mode != 'Proxy' || (has(self.sources) && self.sources.all(s, has(s.proxy)))",
      expected: "a proxy for each source in mode Proxy",
      fault: ({ mode, sources }) => {
        if (mode !== "Proxy") return undefined;
        const bare = sources?.find((one) => one.proxy === undefined);
        if (sources === undefined) return "no sources";
        return bare === undefined ? undefined : `${JSON.stringify(bare.name)} without one`;
      },
    },
    {
      rule: "!has(self.proxy) || self.proxy.protocol != 'PROXYv2' || !has(self.sources) || self.sources.all(s, has(s.address) && has(s.proxy) && has(s.proxy.host))",
      expected:
        "an address and a proxy host for each source with PROXYv2 (the operator's proxies speak SOCKS5)",
      fault: ({ proxy: used, sources }) => {
        if (used?.protocol !== "PROXYv2") return undefined;
        const bare = sources?.find((one) => one.address === undefined || one.proxy?.host === undefined);
        return bare === undefined ? undefined : `${JSON.stringify(bare.name)} without one`;
      },
    },
  ],
);

export type EgressSpec = z.infer<typeof egress>;

/** Name of the StatefulSet, the headless Service and the Secret of the proxies that the operator runs for a pool. */
export function egressProxyName(pool: string): string {
  return `mailboat-${pool}-egress`;
}

/** Host name of one of them, inside the cluster. */
export function egressProxyHost(
  pool: { readonly namespace: string; readonly name: string },
  ordinal: number,
): string {
  const name = egressProxyName(pool.name);
  return `${name}-${ordinal}.${name}.${pool.namespace}.svc`;
}
