import assert from "node:assert/strict";
import { test } from "node:test";
import { brokenArrows } from "./arrows.ts";
import { textOf, trackedFiles } from "./repository.ts";

test("main → corridor → room → contract: no file of the product imports against the arrows", () => {
  const files = trackedFiles().filter((path) => /^(operator|mta-pod|crds|charts)\/.*\.(ts|mjs)$/.test(path));
  assert.ok(files.length > 200);
  assert.deepEqual(
    files.flatMap((path) => brokenArrows(path, textOf(path))),
    [],
  );
});

const against: readonly (readonly [path: string, line: string])[] = [
  ["mta-pod/route/router.ts", 'import { a } from "../spool/b.ts";'],
  ["mta-pod/route/router.ts", 'import type { A } from "#mta-pod/spool/b.ts";'],
  ["mta-pod/route/router.ts", 'import { a } from "../attempt.ts";'],
  ["mta-pod/route/router.ts", 'export { a } from "#mta-pod/settlement.ts";'],
  ["mta-pod/route/router.ts", "export * from '../receive.ts';"],
  ["mta-pod/smtp-in/verbs/greeting.ts", 'import "../../smtp-out/wire.ts";'],
  ["mta-pod/smtp-in/verbs/greeting.ts", 'const a = await import("../../intake.ts");'],
  ["mta-pod/smtp-in/verbs/greeting.ts", 'import {\n  a,\n} from "../../admit/admission.ts";'],
  ["mta-pod/smtp/trace.ts", 'import { log } from "../runtime/log.ts";'],
  ["mta-pod/smtp/trace.ts", 'import { connect } from "node:net";'],
  ["mta-pod/smtp/trace.ts", 'import { setTimeout } from "node:timers/promises";'],
  ["mta-pod/settle/decide.ts", 'import { readFileSync } from "node:fs";'],
  ["mta-pod/attempt.ts", 'import { a } from "@nats-io/jetstream";'],
  ["mta-pod/attempt.ts", 'import { a } from "#operator/compile/compile.ts";'],
  ["mta-pod/attempt.ts", 'import { a } from "#test/kit/until.ts";'],
  ["crds/wire/envelope.ts", 'import { a } from "../../mta-pod/pod.ts";'],
  ["operator/compile/tenants.ts", 'import { a } from "../gather/documents.ts";'],
  ["operator/local/files.ts", 'import { a } from "../cli/send.ts";'],
  ["operator/reconcile/pool.ts", 'import { a } from "@kubernetes/client-node";'],
  ["mta-pod/new-room/a.ts", ""],
];
for (const [path, line] of against)
  test(`brokenArrows() finds ${JSON.stringify(line)} in ${path}`, () => {
    assert.equal(brokenArrows(path, line).length, 1);
  });

const along: readonly (readonly [path: string, line: string])[] = [
  ["mta-pod/route/router.ts", 'import { a } from "./site.ts";'],
  ["mta-pod/route/router.ts", 'import { a } from "#crds/values/domain.ts";'],
  ["mta-pod/route/router.ts", 'import type { Clock } from "../runtime/clock.ts";'],
  ["mta-pod/smtp-in/verbs/greeting.ts", 'import { a } from "../options.ts";'],
  ["mta-pod/smtp/trace.ts", 'import { isAscii } from "node:buffer";'],
  ["mta-pod/attempt.ts", 'import { a } from "./spool/entries.ts";'],
  ["mta-pod/spool/entries.ts", 'import { a } from "@nats-io/jetstream";'],
  ["operator/cli/send.ts", 'import { a } from "../local/endpoint.ts";'],
];
for (const [path, line] of along)
  test(`brokenArrows() has nothing against ${JSON.stringify(line)} in ${path}`, () => {
    assert.deepEqual(brokenArrows(path, line), []);
  });
