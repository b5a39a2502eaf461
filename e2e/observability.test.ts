import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createTransport } from "nodemailer";
import { parse } from "yaml";
import { type BusyOperator, startBusyOperator } from "#e2e/kit/operator.ts";
import { type Prometheus, startPrometheus } from "#e2e/kit/prometheus.ts";
import { login, type ProxyProcess, startMailboatProxy } from "#e2e/kit/proxies.ts";
import { parseRules } from "#operator/provider/rules.ts";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { programFor } from "#test/kit/programs.ts";
import { until } from "#test/kit/until.ts";
import { ruleTo, submit } from "#test/kit/world.ts";

const chart = join(import.meta.dirname, "../charts/mailboat");
const rulesFile = join(chart, "files/alerts.yaml");
/** Long enough for two scrapes, short enough to see what happens now. */
const range = "15s";
const boundMs = 90_000;

interface Asked {
  /** Dashboard and panel, or alert. */
  readonly where: string;
  readonly expr: string;
}

/** Every query of every panel and every variable, as Grafana would ask with all values chosen. */
function dashboardQueries(): Asked[] {
  const folder = join(chart, "files/dashboards");
  return readdirSync(folder).flatMap((file) => {
    const dashboard = JSON.parse(readFileSync(join(folder, file), "utf8")) as {
      panels: { title: string; targets?: { expr: string }[] }[];
      templating: { list: { name: string; type: string; definition?: string }[] };
    };
    const ofPanels = dashboard.panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }) => ({ where: `${file}: ${title}`, expr: expr })),
    );
    const ofVariables = dashboard.templating.list.flatMap(({ name, definition = "" }) => {
      const [, selector = "", label = ""] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? [];
      return selector === ""
        ? []
        : [{ where: `${file}: $${name}`, expr: `count by (${label}) (${selector})` }];
    });
    return [...ofPanels, ...ofVariables].map(({ where, expr }) => ({ where, expr: chosen(expr) }));
  });
}

function chosen(expr: string): string {
  return expr.replaceAll("$__rate_interval", range).replaceAll(/\$(namespace|pool|tenant|provider)\b/g, ".*");
}

/** The selectors that the alerts' conditions are made of: a condition that holds is promtool's to show. */
function alertSelectors(): Asked[] {
  const { groups } = parse(readFileSync(rulesFile, "utf8")) as {
    groups: { rules: { alert: string; expr: string }[] }[];
  };
  return groups.flatMap(({ rules }) =>
    rules.flatMap(({ alert, expr }) =>
      [
        ...expr.matchAll(
          /\b(?:mailboat_\w+|up|workqueue_\w+|controller_runtime_\w+|leader_election_\w+)(?:\{[^}]*\})?/g,
        ),
      ].map(([selector]) => ({ where: alert, expr: `count(${selector})` })),
    ),
  );
}

describe("what people look at, on a real Prometheus", () => {
  let provider: Provider;
  let local: LocalMode;
  let proxy: ProxyProcess | undefined;
  let operator: BusyOperator | undefined;
  let prometheus: Prometheus | undefined;
  let stopMail: (() => Promise<void>) | undefined;
  let lack = "";

  before(async () => {
    const program = programFor({ skip: (why) => (lack = why) }, "prometheus");
    if (program === undefined) return;
    const parsed = parseRules({
      rules: [
        { domains: ["later.example"], defer: { code: 451, text: "4.7.28 slow down" } },
        { domains: ["gone.example"], bounce: {} },
      ],
    });
    assert.ok(parsed.ok);
    const names = ["ok", "later", "gone", "narrow"];
    provider = await startProvider({ ports: names.map(() => 0), rules: parsed.value });
    const rules = names.map((name, at) =>
      ruleTo(name, provider.ports[at] ?? 0, name === "narrow" ? { limits: { messageRate: "1/s" } } : {}),
    );
    const tenants = [{ name: "acme" }, { name: "hasty", limits: { messageRate: "1/m", burst: 1 } }];
    proxy = await startMailboatProxy();
    const sources = [
      { name: "good", proxy: { host: "127.0.0.1", port: proxy.port } },
      // Port 1: nobody is there.
      { name: "lost", proxy: { host: "127.0.0.1", port: 1 } },
    ];
    const egress = { mode: "Proxy", proxy: { secretRef: { name: "proxy-login" } }, sources };
    const secrets = { "proxy-login": login };
    local = await startLocal({ resources: testResources({ tenants, rules, egress, secrets }), pods: 2 });
    operator = await startBusyOperator();
    prometheus = await startPrometheus({
      program,
      ruleFiles: [rulesFile],
      // As the operator's PodMonitor and the chart's ServiceMonitor label them.
      targets: [
        ...local.endpoints.metrics.map((address, index) => ({
          address,
          job: "mailboat-pod",
          labels: { namespace: "mail", pool: "shared", pod: `mailboat-shared-${index}` },
        })),
        {
          address: `127.0.0.1:${proxy.metrics}`,
          job: "mailboat-proxy",
          labels: { namespace: "mail", pool: "shared", pod: "mailboat-shared-egress-0" },
        },
        {
          address: operator.metrics,
          job: "mailboat-operator",
          labels: { namespace: "system", pod: "operator-0" },
        },
      ],
    });
    stopMail = keepSending();
  });

  after(async () => {
    await stopMail?.();
    await prometheus?.[Symbol.asyncDispose]();
    await operator?.[Symbol.asyncDispose]();
    await local?.[Symbol.asyncDispose]();
    await proxy?.[Symbol.asyncDispose]();
    await provider?.close();
  });

  /** Mail of every fate, again and again, so that rates are rates. */
  const keepSending = (): (() => Promise<void>) => {
    const stop = new AbortController();
    const domains = ["ok", "ok", "later", "gone", "narrow", "narrow", "narrow"];
    const run = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        for (const name of domains) await submit(local, { to: `u@${name}.example` });
        await submit(local, { to: "u@ok.example" }, "hasty").catch(() => "over its rate");
        await wrongLogin(local);
        operator?.edit();
      }
    };
    const running = run();
    return async () => {
      stop.abort();
      await running;
    };
  };

  const ready = (context: { skip(why: string): void }): Prometheus | undefined => {
    if (prometheus === undefined) context.skip(lack);
    return prometheus;
  };

  /** Asks all of them until each has answered with data once. */
  const allAnswer = async (server: Prometheus, asked: readonly Asked[]): Promise<void> => {
    let open = [...asked];
    await until(
      "data for every query",
      async () => {
        const still: Asked[] = [];
        for (const one of open) if ((await server.count(one.expr)) === 0) still.push(one);
        open = still;
        return open.length === 0;
      },
      boundMs,
    ).catch(() => undefined);
    assert.deepEqual(open, [], `of ${asked.length} queries`);
  };

  test("every query of every panel and variable returns data", async (context) => {
    const server = ready(context);
    if (server === undefined) return;
    const asked = dashboardQueries();
    assert.ok(asked.length >= 72, `${asked.length} queries`);
    await allAnswer(server, asked);
    context.diagnostic(`${asked.length} queries of panels and variables answered with data`);
  });

  test("every series that an alert looks at is there, and every rule evaluates", async (context) => {
    const server = ready(context);
    if (server === undefined) return;
    const asked = alertSelectors();
    assert.ok(asked.length >= 30, `${asked.length} selectors`);
    await allAnswer(server, asked);
    const { groups } = (await server.get("rules")) as {
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    };
    const rules = groups.flatMap((group) => group.rules);
    assert.deepEqual(
      rules.filter(({ health }) => health !== "ok"),
      [],
    );
    context.diagnostic(`${asked.length} selectors of alerts have series, ${rules.length} rules are healthy`);
  });

  test("an alert's words come out whole", async (context) => {
    const server = ready(context);
    if (server === undefined) return;
    // More logins a second are refused than are usual: under way at least.
    const summaries = await until(
      "an alert under way",
      async () => {
        const { alerts } = (await server.get("alerts")) as { alerts: { annotations: { summary: string } }[] };
        return alerts.length > 0 && alerts.map(({ annotations }) => annotations.summary);
      },
      boundMs,
    );
    for (const summary of summaries) assert.doesNotMatch(summary, /error expanding|<no value>/);
  });
});

async function wrongLogin(local: LocalMode): Promise<void> {
  const [host = "", port = ""] = local.endpoints.submission.split(":");
  const transport = createTransport({
    host,
    port: Number(port),
    requireTLS: true,
    auth: { user: "acme", pass: "guessed" },
    tls: { ca: local.ca },
  });
  await transport.verify().catch(() => false);
  transport.close();
}
