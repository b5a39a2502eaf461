/** The dashboard of providers and of the pool: how mail leaves, what holds it back, how pods and queue are. Pure data. */
import type { Dashboard } from "./panels.ts";
import { figure, inPool, line, namespaceVariable, ofProvider, poolVariable, rate } from "./words.ts";

/** Recipients that an attempt left open. */
const deferred = `sum by (provider) (rate(mailboat_deferrals_total{${ofProvider}}${rate}))`;

export const providersDashboard: Dashboard = {
  name: "providers",
  title: "Mailboat / Providers and pool",
  about: "How mail leaves, what holds it back, and how the pool's pods and queue are.",
  variables: [
    namespaceVariable,
    poolVariable,
    {
      name: "provider",
      label: "Provider",
      query: `label_values(mailboat_attempts_total{${inPool}}, provider)`,
    },
  ],
  rows: [
    {
      title: "Providers",
      panels: [
        line(["Attempts", "Transactions tried, by provider."], "reqps", [
          {
            expr: `sum by (provider) (rate(mailboat_attempts_total{${ofProvider}}${rate}))`,
            legend: "{{provider}}",
          },
        ]),
        line(
          ["Attempts by result", "Outcome of the first recipient, or the stage of the fault."],
          "reqps",
          [
            {
              expr: `sum by (result) (rate(mailboat_attempts_total{${ofProvider}}${rate}))`,
              legend: "{{result}}",
            },
          ],
          { stacked: true },
        ),
        line(["Connections", "Open connections; limits hold per source and provider."], "short", [
          {
            expr: `sum by (provider, source) (mailboat_connections{${ofProvider}})`,
            legend: "{{provider}} from {{source}}",
          },
        ]),
        line(
          [
            "What holds ready mail back",
            "Seconds per second that ready mail waited, by the limit that bound it.",
          ],
          "short",
          [
            {
              expr: `sum by (provider, limit) (rate(mailboat_site_limit_seconds_total{${ofProvider}}${rate}))`,
              legend: "{{provider}}: {{limit}}",
            },
          ],
        ),
        line(["Deferrals by class", "Slow down, or something of ours to repair?"], "reqps", [
          {
            expr: `sum by (provider, class) (rate(mailboat_deferrals_total{${ofProvider}}${rate}))`,
            legend: "{{provider}}: {{class}}",
          },
        ]),
        line(["Deferred share", "Of the recipients that were tried, those that stay open."], "percentunit", [
          {
            expr: `${deferred} / (${deferred} + (sum by (provider) (rate(mailboat_recipients_total{${ofProvider}}${rate})) or 0 * ${deferred}))`,
            legend: "{{provider}}",
          },
        ]),
        line(["Attempts by source", "The share of each egress address."], "reqps", [
          {
            expr: `sum by (source) (rate(mailboat_attempts_total{${ofProvider}}${rate}))`,
            legend: "{{source}}",
          },
        ]),
        line(["Outcomes by provider", "Recipients that came to their end."], "reqps", [
          {
            expr: `sum by (provider, outcome) (rate(mailboat_recipients_total{${ofProvider}}${rate}))`,
            legend: "{{provider}}: {{outcome}}",
          },
        ]),
      ],
    },
    {
      title: "Pool",
      panels: [
        figure("Pods", "Pods that answer.", "short", `count(mailboat_shards_owned{${inPool}})`),
        figure(
          "Shards owned",
          "All of `queue.shards`, or mail waits in those without an owner.",
          "short",
          `sum(mailboat_shards_owned{${inPool}})`,
        ),
        figure(
          "Sendable backlog",
          "Messages that could leave now if limits allowed it; autoscaling looks at those that no limit holds back.",
          "short",
          `sum(mailboat_sendable_backlog{${inPool}})`,
        ),
        figure(
          "Store",
          "Fill of the fullest spool stream in use; intake stops at 80 %.",
          "percentunit",
          `max(mailboat_store_used_ratio{${inPool}})`,
        ),
        figure(
          "Configurations",
          "Different generations among the pods: 1 when all run the same.",
          "short",
          `max(count by (namespace, pool) (count_values by (namespace, pool) ("generation", mailboat_config_generation{${inPool}})))`,
        ),
        figure(
          "Possible duplicates, 24 h",
          "Messages whose outcome became unknown while they were sent.",
          "short",
          `sum(increase(mailboat_possible_duplicates_total{${inPool}}[24h]))`,
        ),
        line(["Backlog by pool", "Messages that could leave now."], "short", [
          {
            expr: `sum by (namespace, pool) (mailboat_sendable_backlog{${inPool}})`,
            legend: "{{namespace}}/{{pool}}",
          },
        ]),
        line(["Shards by pod", "An even share each."], "short", [
          { expr: `sum by (pod) (mailboat_shards_owned{${inPool}})`, legend: "{{pod}}" },
        ]),
        line(["Configuration by pod", "The generation that each runs."], "short", [
          { expr: `max by (pod) (mailboat_config_generation{${inPool}})`, legend: "{{pod}}" },
        ]),
        line(["JetStream, p99", "Round trips, one in 16 timed."], "s", [
          {
            expr: `histogram_quantile(0.99, sum by (op, le) (rate(mailboat_spool_seconds_bucket{${inPool}}${rate})))`,
            legend: "{{op}}",
          },
        ]),
        line(["Store", "Fill of the fullest spool stream that a pod uses."], "percentunit", [
          { expr: `max by (pod) (mailboat_store_used_ratio{${inPool}})`, legend: "{{pod}}" },
        ]),
        line(["Trouble", "Configurations refused, events given up, possible duplicates."], "short", [
          {
            expr: `sum(increase(mailboat_config_errors_total{${inPool}}${rate}))`,
            legend: "configurations refused",
          },
          {
            expr: `sum(increase(mailboat_events_dropped_total{${inPool}}${rate}))`,
            legend: "events given up",
          },
          {
            expr: `sum(increase(mailboat_possible_duplicates_total{${inPool}}${rate}))`,
            legend: "possible duplicates",
          },
        ]),
      ],
    },
    {
      title: "Egress proxies (mode Proxy)",
      panels: [
        figure(
          "Proxies",
          "Proxies that answer.",
          "short",
          `count(mailboat_proxy_open_connections{${inPool}})`,
        ),
        figure(
          "Refused",
          "Connections per second that came to nothing: not let in, not allowed, or nobody there.",
          "reqps",
          `sum(rate(mailboat_proxy_requests_total{${inPool}, result!="connected"}${rate}))`,
        ),
        line(["Open connections by proxy", "Through to a destination; each proxy is a source."], "short", [
          { expr: `sum by (pod) (mailboat_proxy_open_connections{${inPool}})`, legend: "{{pod}}" },
        ]),
        line(
          ["Connections by result", "What became of those that the proxies took."],
          "reqps",
          [
            {
              expr: `sum by (result) (rate(mailboat_proxy_requests_total{${inPool}}${rate}))`,
              legend: "{{result}}",
            },
          ],
          { stacked: true },
        ),
        line(["Bytes", "Of connections that ended, to destinations (out) and back (in)."], "Bps", [
          {
            expr: `sum by (pod, direction) (rate(mailboat_proxy_bytes_total{${inPool}}${rate}))`,
            legend: "{{pod}} {{direction}}",
          },
        ]),
        line(
          [
            "Stopped at a proxy",
            "As the pods see it, by source: proxy away, login or destination refused. Its share goes by other sources.",
          ],
          "reqps",
          [
            {
              expr: `sum by (source) (rate(mailboat_attempts_total{${ofProvider}, result="proxy"}${rate}))`,
              legend: "{{source}}",
            },
          ],
        ),
        line(["Event loop of proxies, p99", "A turn that takes long holds everything up."], "s", [
          {
            expr: `max by (pod) (nodejs_eventloop_lag_p99_seconds{job="mailboat-proxy", ${inPool}})`,
            legend: "{{pod}}",
          },
        ]),
      ],
    },
    {
      title: "Pods",
      panels: [
        line(["CPU", "Cores."], "short", [
          {
            expr: `sum by (pod) (rate(process_cpu_seconds_total{job="mailboat-pod", ${inPool}}${rate}))`,
            legend: "{{pod}}",
          },
        ]),
        line(["Memory", "Resident."], "bytes", [
          {
            expr: `sum by (pod) (process_resident_memory_bytes{job="mailboat-pod", ${inPool}})`,
            legend: "{{pod}}",
          },
        ]),
        line(["Event loop, p99", "A turn that takes long holds everything up."], "s", [
          {
            expr: `max by (pod) (nodejs_eventloop_lag_p99_seconds{job="mailboat-pod", ${inPool}})`,
            legend: "{{pod}}",
          },
        ]),
      ],
    },
  ],
};
