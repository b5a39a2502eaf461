import assert from "node:assert/strict";
import { test } from "node:test";
import { decideTier, type Machine, machineFacts, type Tier } from "#e2e/cluster/tier.ts";

const whole: Machine = {
  platform: "linux",
  isRoot: true,
  hasNamespaces: true,
  hasApt: true,
  missingPrograms: ["containerd", "runc"],
  hasGo: true,
  hasBinaries: false,
};

const cases: readonly { name: string; machine: Partial<Machine>; tier: Tier; why: RegExp }[] = [
  { name: "root, apt and Go", machine: {}, tier: "full", why: /root, apt, Go/ },
  {
    name: "binaries in place of Go",
    machine: { hasGo: false, hasBinaries: true },
    tier: "full",
    why: /built before/,
  },
  {
    name: "everything installed, in place of apt",
    machine: { hasApt: false, missingPrograms: [] },
    tier: "full",
    why: /containerd and CNI are here/,
  },
  { name: "Go alone", machine: { isRoot: false, hasApt: false }, tier: "control-plane", why: /need root/ },
  {
    name: "root in a container",
    machine: { hasNamespaces: false },
    tier: "control-plane",
    why: /namespaces/,
  },
  {
    name: "root and Go without apt",
    machine: { hasApt: false },
    tier: "control-plane",
    why: /containerd, runc missing/,
  },
  { name: "neither Go nor binaries", machine: { hasGo: false }, tier: "none", why: /no Go/ },
  { name: "a Mac", machine: { platform: "darwin", isRoot: false }, tier: "none", why: /Linux/ },
];

for (const { name, machine, tier, why } of cases)
  test(`decideTier(): ${name} → ${tier}`, () => {
    const decision = decideTier({ ...whole, ...machine }, { isCi: false });
    assert.equal(decision.tier, tier);
    assert.match(decision.why, why);
    assert.equal(decision.isFailure, false, "outside CI nothing is owed");
  });

test("decideTier() in CI: whatever is less than a full cluster is a failure", () => {
  for (const { machine, tier } of cases)
    assert.equal(decideTier({ ...whole, ...machine }, { isCi: true }).isFailure, tier !== "full");
});

test("machineFacts() looks at this machine", async () => {
  const facts = await machineFacts({ PATH: "/nowhere" });
  assert.equal(facts.platform, process.platform);
  assert.equal(facts.hasApt, false, "PATH is the one that was given");
});
