import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { entrantsOf, leftOutOf } from "#bench/contenders.ts";
import { readOptions } from "#bench/options.ts";
import { writeConfiguration } from "#bench/peers/peer.ts";
import { scenarios } from "#bench/scenarios.ts";

const labels = (...args: string[]): string[] => {
  const options = readOptions(args);
  return options.scenarios.flatMap((scenario) => entrantsOf(scenario, options).map(({ label }) => label));
};
const leftOut = (...args: string[]): string[] => {
  const options = readOptions(args);
  return options.scenarios.flatMap((scenario) => leftOutOf(scenario, options));
};

describe("who takes part in a benchmark", () => {
  test("is the product and the stock path, and with --peers what can be had", () => {
    assert.deepEqual(labels("--scenario", "burst"), ["mailboat", "stock"]);
    assert.deepEqual(labels("--scenario", "burst", "--peers"), [
      "mailboat",
      "stock",
      "haraka",
      "postfix",
      "exim",
    ]);
    assert.deepEqual(leftOut("--scenario", "burst", "--peers"), ["kumomta: no --kumod PATH"]);
    assert.equal(labels("--scenario", "burst", "--kumod", "/opt/kumod").at(-1), "kumomta");
    assert.deepEqual(labels("--scenario", "burst", "--only", "exim", "--only", "stock"), ["exim", "stock"]);
  });

  test("leaves out who cannot do the same work, and says why", () => {
    assert.ok(!labels("--scenario", "dkim", "--peers").includes("postfix"));
    assert.ok(leftOut("--scenario", "dkim", "--peers").includes("postfix: signs only through a milter"));
  });

  test("is one column per number of pods, of tenants, and of messages that wait elsewhere", () => {
    assert.deepEqual(labels("--scenario", "paced", "--pods", "1,2,4"), [
      "mailboat, 1 pod",
      "mailboat, 2 pods",
      "mailboat, 4 pods",
    ]);
    assert.deepEqual(labels("--scenario", "tenants"), ["mailboat, 1 tenant", "mailboat, 10,000 tenants"]);
    assert.deepEqual(labels("--scenario", "behind", "--queued", "20000"), [
      "mailboat, 0 queued",
      "mailboat, 20,000 queued",
    ]);
  });

  test("is asked for in options that mean something", () => {
    for (const args of [
      ["--pods", "1,none"],
      ["--only", "sendmail"],
      ["--scenario", "unheard-of"],
      ["--tenants", "0"],
    ])
      assert.throws(() => readOptions(args), /expected/);
    assert.equal(readOptions(["--synced"]).durability, "disk");
    assert.equal(readOptions(["--tenants", "100"]).task, "tenants");
  });

  test("has scenarios with names of their own", () => {
    const names = scenarios.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
  });
});

describe("a peer's configuration", () => {
  test("is filled in, and a word that nobody gave is an error", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mailboat-bench-test-"));
    try {
      const words = {
        DIR: "/state",
        PORT: 1,
        SINK: 2,
        MAIN_TLS: "",
        OUT_TLS: "",
        OUT_DKIM: "",
        CONNECTIONS: 3,
      };
      const file = join(folder, "exim.conf");
      await writeConfiguration("exim.conf", file, words);
      const text = await readFile(file, "utf8");
      assert.match(text, /^spool_directory = \/state\/spool$/m);
      assert.doesNotMatch(text, /@[A-Z]/);
      await assert.rejects(
        writeConfiguration("postfix/main.cf", file, words),
        /Cannot fill postfix\/main\.cf: expected a value/,
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
