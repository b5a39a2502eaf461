/** The dashboard of tenants: what they hand in, what becomes of it, what waits. Pure data. */
import type { Dashboard, Query } from "./panels.ts";
import { figure, inPool, line, namespaceVariable, ofTenant, poolVariable, rate } from "./words.ts";

/** Time by which a share of what was delivered had arrived. */
const deliveryQuantile = (share: number): Query => ({
  expr: `histogram_quantile(${share}, sum by (le) (rate(mailboat_delivery_seconds_bucket{${ofTenant}}${rate})))`,
  legend: `p${share * 100}`,
});

export const tenantsDashboard: Dashboard = {
  name: "tenants",
  title: "Mailboat / Tenants",
  about: "What tenants hand in, what becomes of it, what waits.",
  variables: [
    namespaceVariable,
    poolVariable,
    {
      name: "tenant",
      label: "Tenant",
      query: `label_values(mailboat_messages_received_total{${inPool}}, tenant)`,
    },
  ],
  rows: [
    {
      title: "Now",
      panels: [
        figure(
          "Accepted",
          "Messages accepted with a 250, per second.",
          "reqps",
          `sum(rate(mailboat_messages_received_total{${ofTenant}}${rate}))`,
        ),
        figure(
          "Delivered",
          "Recipients delivered to, per second.",
          "reqps",
          `sum(rate(mailboat_recipients_total{${ofTenant}, outcome="delivered"}${rate}))`,
        ),
        figure(
          "Bounced",
          "Share of the recipients that came to their end and bounced. Review above 5 %.",
          "percentunit",
          `sum(rate(mailboat_recipients_total{${ofTenant}, outcome="bounced"}${rate})) / sum(rate(mailboat_recipients_total{${ofTenant}}${rate}))`,
        ),
        figure("Queued", "Messages in the queue.", "short", `sum(mailboat_queued_messages{${ofTenant}})`),
        figure(
          "Oldest",
          "Age of the oldest of them.",
          "s",
          `max(mailboat_queue_oldest_seconds{${ofTenant}})`,
        ),
        figure(
          "Delivery, p95",
          "From our 250 to the recipient's host's, of what was delivered.",
          "s",
          deliveryQuantile(0.95).expr,
        ),
      ],
    },
    {
      title: "Mail",
      panels: [
        line(["Accepted", "Messages accepted, by tenant."], "reqps", [
          {
            expr: `sum by (tenant) (rate(mailboat_messages_received_total{${ofTenant}}${rate}))`,
            legend: "{{tenant}}",
          },
        ]),
        line(
          ["Accepted by stream", "Transactional goes before bulk; bulk keeps a floor."],
          "reqps",
          [
            {
              expr: `sum by (stream) (rate(mailboat_messages_received_total{${ofTenant}}${rate}))`,
              legend: "{{stream}}",
            },
          ],
          { stacked: true },
        ),
        line(
          ["Outcomes", "Recipients that came to their end."],
          "reqps",
          [
            {
              expr: `sum by (outcome) (rate(mailboat_recipients_total{${ofTenant}}${rate}))`,
              legend: "{{outcome}}",
            },
          ],
          { stacked: true },
        ),
        line(["Delivery time", "From our 250 to the recipient's host's."], "s", [
          deliveryQuantile(0.5),
          deliveryQuantile(0.95),
          deliveryQuantile(0.99),
        ]),
        line(
          ["Deferrals by class", "Why recipients stay open; the classes are in mta-pod/README.md."],
          "reqps",
          [
            {
              expr: `sum by (class) (rate(mailboat_deferrals_total{${ofTenant}}${rate}))`,
              legend: "{{class}}",
            },
          ],
        ),
        line(["Bounces by provider", "Recipients that bounced."], "reqps", [
          {
            expr: `sum by (provider) (rate(mailboat_recipients_total{${ofTenant}, outcome="bounced"}${rate}))`,
            legend: "{{provider}}",
          },
        ]),
      ],
    },
    {
      title: "Queue and front door",
      panels: [
        line(
          [
            "Queued",
            "Ready: under way, or held by limits alone. Waiting: deferred, or for a later time. Suspended: by an operator, or on hold.",
          ],
          "short",
          [{ expr: `sum by (state) (mailboat_queued_messages{${ofTenant}})`, legend: "{{state}}" }],
          { stacked: true },
        ),
        line(
          ["Oldest message", "By tenant; mail is returned after 72 h unless a rule says otherwise."],
          "s",
          [
            {
              expr: `max by (tenant) (mailboat_queue_oldest_seconds{${ofTenant}})`,
              legend: "{{tenant}}",
            },
          ],
        ),
        line(["Refused at the front door", "4xx and 5xx to the tenant's own clients, by reason."], "reqps", [
          {
            expr: `sum by (reason) (rate(mailboat_rejections_total{${ofTenant}}${rate}))`,
            legend: "{{reason}}",
          },
        ]),
        line(["Held back by own limits", "Seconds per second, by the tenant's own limit."], "short", [
          {
            expr: `sum by (tenant, limit) (rate(mailboat_tenant_limit_seconds_total{${ofTenant}}${rate}))`,
            legend: "{{tenant}}: {{limit}}",
          },
        ]),
        {
          kind: "table",
          title: "Busiest queues",
          about: "Tenants with most in the queue.",
          unit: "short",
          width: 12,
          queries: [
            {
              expr: `topk(20, sum by (tenant) (mailboat_queued_messages{${ofTenant}}))`,
              legend: "{{tenant}}",
            },
          ],
        },
        {
          kind: "table",
          title: "Most bounces in an hour",
          about: "Share of the recipients that came to their end and bounced, where any did.",
          unit: "percentunit",
          width: 12,
          queries: [
            {
              expr: `topk(20, sum by (tenant) (increase(mailboat_recipients_total{${ofTenant}, outcome="bounced"}[1h])) / sum by (tenant) (increase(mailboat_recipients_total{${ofTenant}}[1h])))`,
              legend: "{{tenant}}",
            },
          ],
        },
      ],
    },
  ],
};
