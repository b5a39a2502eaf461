/** What the dashboards of pools have in common: selectors, variables, and short ways to write a panel. Pure data. */
import type { Panel, Query } from "./panels.ts";

export const rate = "[$__rate_interval]";
export const inPool = 'namespace=~"$namespace", pool=~"$pool"';
export const ofTenant = `${inPool}, tenant=~"$tenant"`;
export const ofProvider = `${inPool}, provider=~"$provider"`;

export const namespaceVariable = {
  name: "namespace",
  label: "Namespace",
  query: "label_values(mailboat_shards_owned, namespace)",
};
export const poolVariable = {
  name: "pool",
  label: "Pool",
  query: 'label_values(mailboat_shards_owned{namespace=~"$namespace"}, pool)',
};

export const line = (
  [title, about]: readonly [string, string],
  unit: string,
  queries: readonly Query[],
  more: Partial<Panel> = {},
): Panel => ({ kind: "timeseries", title, about, unit, queries, ...more });

export const figure = (title: string, about: string, unit: string, expr: string): Panel => ({
  kind: "stat",
  title,
  about,
  unit,
  width: 4,
  queries: [{ expr, legend: title }],
});
