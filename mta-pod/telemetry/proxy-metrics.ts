/** Every metric of an egress proxy, declared once with its prose. Never throws after start. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";

/** What is read when they are scraped; the sums only grow. */
export interface ProxyCounted {
  readonly results: Readonly<Record<string, number>>;
  readonly bytes: Readonly<Record<string, number>>;
  readonly open: number;
}

export function createProxyMetrics(counts: () => ProxyCounted): { readonly registry: Registry } {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const open = new Gauge({
    name: "mailboat_proxy_open_connections",
    help: "Connections of pods that are through to a destination.",
    registers: [],
    collect() {
      this.set(counts().open);
    },
  });
  registry.registerMetric(open);
  const sums = (name: string, help: string, label: string, read: () => Readonly<Record<string, number>>) =>
    new Counter({
      name,
      help,
      labelNames: [label],
      registers: [registry],
      collect() {
        this.reset();
        for (const [value, sum] of Object.entries(read())) this.inc({ [label]: value }, sum);
      },
    });
  sums(
    "mailboat_proxy_requests_total",
    "Connections taken, by what became of them.",
    "result",
    () => counts().results,
  );
  sums(
    "mailboat_proxy_bytes_total",
    "Bytes of connections that ended, to destinations (out) and back (in).",
    "direction",
    () => counts().bytes,
  );
  return { registry };
}
