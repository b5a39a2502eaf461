import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createLogins } from "#mta-pod/proxy/logins.ts";
import { proxyUsage, readProxyOptions } from "#mta-pod/proxy-options.ts";
import { createProxyMetrics } from "#mta-pod/telemetry/proxy-metrics.ts";
import { firstColumn, textOf } from "#test/rules/repository.ts";

test("createLogins() takes a rotated login over, and the one before it for ten minutes more", () => {
  const folder = mkdtempSync(join(tmpdir(), "mailboat-proxy-"));
  const write = (password: string): void => {
    writeFileSync(join(folder, "username"), "pods");
    writeFileSync(join(folder, "password"), password);
  };
  let now = 0;
  assert.throws(() => createLogins(folder, { now: () => now, monotonic: () => now }), /username/);
  write("one");
  const isLogin = createLogins(folder, { now: () => now, monotonic: () => now });
  const good = (password: string): boolean => isLogin({ username: "pods", password });
  assert.deepEqual(
    [good("one"), good("two"), isLogin({ username: "x", password: "one" })],
    [true, false, false],
  );
  write("two");
  assert.deepEqual([good("one"), good("two")], [true, false]);
  now = 5000;
  assert.deepEqual([good("one"), good("two")], [true, true]);
  rmSync(join(folder, "password"));
  now = 10_000;
  assert.equal(good("two"), true);
  now = 605_000;
  assert.deepEqual([good("one"), good("two")], [false, true]);
  rmSync(folder, { recursive: true });
});

test("readProxyOptions() reads what is there and refuses the rest", () => {
  const options = readProxyOptions(["--auth-dir", "/a", "--port", "0", "--allow-destination", "10.0.0.0/8"]);
  assert.deepEqual(
    [options.authDir, options.port, options.allowDestinations, options.maxConnections],
    ["/a", 0, ["10.0.0.0/8"], 5000],
  );
  for (const [args, expected] of [
    [[], /expected --auth-dir DIR/],
    [["--auth-dir", "a", "--port", "x"], /--port: expected a whole number up to 65535, got "x"/],
    [["--auth-dir", "a", "--port", "65536"], /--port/],
    [["--auth-dir", "a", "--source-address", "host"], /expected an IP address, got "host"/],
    [["--auth-dir", "a", "--allow-destination", "10.0.0.0"], /expected an address range/],
    [["--auth-dir", "a", "--what"], /Cannot read the options/],
  ] as const)
    assert.throws(() => readProxyOptions(args), expected);
});

test("mta-pod/README.md has every option and every metric of the proxy in its tables, and no other", async () => {
  const document = textOf("mta-pod/README.md");
  const options = [...proxyUsage.matchAll(/--[a-z-]+/g)].map(([name]) => name);
  const listed = firstColumn(document, "option of the proxy").map((cell) => cell.split(" ")[0] ?? "");
  assert.deepEqual(listed.toSorted(), [...new Set(options)].toSorted());
  const { registry } = createProxyMetrics(() => ({ results: {}, bytes: {}, open: 0 }));
  const names = (await registry.getMetricsAsJSON()).map(({ name }) => name);
  const declared = names.filter((name) => name.startsWith("mailboat_"));
  assert.deepEqual(firstColumn(document, "metric of the proxy").toSorted(), declared.toSorted());
});
