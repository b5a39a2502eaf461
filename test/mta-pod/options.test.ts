import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { podUsage, readPodOptions, UsageError } from "#mta-pod/options.ts";

const least = ["--config", "/c", "--keys", "/k"];

describe("readPodOptions()", () => {
  test("needs two folders; the rest has the defaults of mta-pod/README.md", () => {
    assert.deepEqual(readPodOptions(least, "mail-0"), {
      configDir: "/c",
      keysDir: "/k",
      name: "mail-0",
      bind: "0.0.0.0",
      adminBind: "0.0.0.0",
      ports: { smtp: 2525, submission: 2587, submissions: 2465, http: 8025, admin: 8026, metrics: 9464 },
      nats: [],
      tlsDir: null,
      natsDir: null,
      adminTokenFile: null,
      resolvers: [],
      reusePort: false,
      local: false,
      exitWithParent: false,
      logLevel: "info",
      lameDuckMs: 0,
      drainMs: 0,
    });
  });

  test("the admin port follows --bind unless it has an address of its own", () => {
    const bound = [...least, "--bind", "10.0.0.1"];
    assert.equal(readPodOptions(bound, "host").adminBind, "10.0.0.1");
    const options = readPodOptions([...bound, "--admin-bind", "127.0.0.1"], "host");
    assert.deepEqual([options.bind, options.adminBind], ["10.0.0.1", "127.0.0.1"]);
  });

  test("takes lists, names and ports that are off or any", () => {
    const given = ["--name", "p", "--nats", "nats://a:1", "--nats", "nats://b:1", "--resolver", "1.1.1.1:53"];
    const options = readPodOptions([...least, ...given, "--http-port=-1", "--smtp-port", "0"], "host");
    assert.equal(options.name, "p");
    assert.deepEqual(options.nats, ["nats://a:1", "nats://b:1"]);
    assert.deepEqual(options.resolvers, ["1.1.1.1:53"]);
    assert.deepEqual([options.ports.http, options.ports.smtp], [-1, 0]);
  });

  const wrong: [name: string, args: string[], message: RegExp][] = [
    ["no folders", [], /^Cannot start a pod: expected --config DIR and --keys DIR$/],
    ["an unknown option", [...least, "--fast"], /^Cannot read the options: .*--fast/],
    ["a stray argument", [...least, "now"], /^Cannot read the options: /],
    ["a port above 65535", [...least, "--smtp-port", "70000"], /--smtp-port: .* got "70000"$/],
    ["a port that is no number", [...least, "--smtp-port", "smtp"], /--smtp-port: .* got "smtp"$/],
    ["an empty port", [...least, "--http-port", ""], /--http-port: /],
    ["half a millisecond", [...least, "--drain-ms", "0.5"], /--drain-ms: /],
  ];
  for (const [name, args, message] of wrong)
    test(`refuses ${name} with a text for people`, () => {
      assert.throws(
        () => readPodOptions(args, "host"),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, message);
          return true;
        },
      );
    });

  test("the usage names every option", () => {
    for (const name of ["config", "keys", "nats", "resolver", "drain-ms", "exit-with-parent"])
      assert.ok(podUsage.includes(`--${name}`), name);
  });
});
