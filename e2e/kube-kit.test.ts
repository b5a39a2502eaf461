/** The test cluster itself: our images run in it as they would anywhere, and nothing of it is left, whatever ends its test. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createTransport } from "nodemailer";
import { until } from "#test/kit/until.ts";
import { processesIn } from "./cluster/cgroup.ts";
import { startCluster } from "./cluster/cluster.ts";
import { ourImage } from "./cluster/images/images.ts";
import type { Place } from "./cluster/place.ts";
import { isSame, output, type ProcessId } from "./cluster/processes.ts";
import { clusterTest } from "./cluster/scenario.ts";
import { providerObjects } from "./cluster/provider.ts";

clusterTest("our images on a real node", { needs: "full" }, async (t, cluster) => {
  await cluster.loadImages();
  await cluster.apply(providerObjects({ namespace: "default", name: "provider" }));
  await cluster.setZone(["fast 1 IN MX 10 provider.default.svc.cluster.local."]);
  await cluster.kubectl(["rollout", "status", "deployment/provider", "--timeout=60s"]);
  const inPod = (script: string): Promise<string> =>
    cluster.kubectl(["exec", "deploy/provider", "--", "node", "--input-type=module", "--eval", script]);

  await t.test("they run as 65532 on a root that nobody can write to", async () => {
    const script = `import { mkdirSync } from "node:fs";
      const refused = ["/app", "/tmp", "/", "/etc"].map((at) => { try { mkdirSync(at + "/x"); return at; } catch (error) { return error.code; } });
      console.log(JSON.stringify({ uid: process.getuid(), gid: process.getgid(), refused }));`;
    const { uid, gid, refused } = JSON.parse(await inPod(script)) as Record<string, unknown>;
    assert.deepEqual([uid, gid], [65_532, 65_532]);
    assert.deepEqual(refused, ["EROFS", "EROFS", "EROFS", "EROFS"]);
  });

  await t.test("a pod finds Services and mail hosts by name, and no one else", async () => {
    const script = `import { promises } from "node:dns";
      const code = (error) => error.code;
      console.log(JSON.stringify([
        await promises.lookup("provider").then(({ address }) => address, code),
        await promises.lookup("kubernetes.default.svc").then(({ address }) => address, code),
        await promises.resolveMx("fast.test").then(([mx]) => mx.exchange, code),
        await promises.resolveMx("none.test").catch(code),
        await promises.resolve4("elsewhere.example").catch(code),
      ]));`;
    const service = (await cluster.get(["service/provider"])) as { spec: { clusterIP: string } };
    const refused = ["ENOTFOUND", "EREFUSED"];
    const [own, api, mx, none, elsewhere] = JSON.parse(await inPod(script)) as string[];
    assert.deepEqual(
      [own, api, mx],
      [service.spec.clusterIP, cluster.place.apiServiceIp, "provider.default.svc.cluster.local"],
    );
    assert.ok(refused.includes(none ?? "") && refused.includes(elsewhere ?? ""), `${none} ${elsewhere}`);
  });

  await t.test(
    "mail comes to a Service's address through the gate, and kubectl logs tells of the pod",
    async () => {
      const service = (await cluster.get(["service/provider"])) as { spec: { clusterIP: string } };
      const smtp = await cluster.forward(`${service.spec.clusterIP}:25`);
      const [host, port] = smtp.address.split(":");
      const transport = createTransport({ host, port: Number(port), ignoreTLS: true });
      const mail = { from: "a@a.example", to: "b@b.example", subject: "x", text: "x" };
      // kube-proxy learns of the pod that is ready a moment after everybody else.
      const sent = await until("the Service to take mail", () =>
        transport.sendMail(mail).catch(() => undefined),
      );
      assert.match(sent.response, /^250/);
      assert.match(await cluster.kubectl(["logs", "deploy/provider"]), /ready smtp=/);
    },
  );

  await t.test("nats-server runs from the image that the chart names", async () => {
    await cluster.kubectl(["run", "nats", "--image=nats:2.15.1-alpine", "--", "-js", "-sd", "/tmp"]);
    await cluster.kubectl(["wait", "--for=condition=Ready", "pod/nats", "--timeout=60s"]);
    await until("it to be ready", async () =>
      (await cluster.kubectl(["logs", "nats"])).includes("Server is ready"),
    );
  });

  await t.test("the image of the pods starts, and says what it misses", async () => {
    await cluster.kubectl(["run", "mta", "--restart=Never", `--image=${ourImage("pod")}`, "--", "--bind"]);
    await cluster.kubectl(["wait", "--for=jsonpath={.status.phase}=Failed", "pod/mta", "--timeout=60s"]);
    assert.match(await cluster.kubectl(["logs", "mta"]), /usage: mailboat pod/);
  });
});

const orphan = `import { startCluster } from "${join(import.meta.dirname, "cluster", "cluster.ts")}";
  const cluster = await startCluster({ tier: "full" });
  await cluster.loadImages();
  await cluster.kubectl(["run", "nats", "--image=nats:2.15.1-alpine", "--", "-js", "-sd", "/tmp"]);
  await cluster.kubectl(["wait", "--for=condition=Ready", "pod/nats", "--timeout=60s"]);
  console.log(JSON.stringify(cluster.place));
  setInterval(() => {}, 1000);`;

clusterTest(
  "two clusters side by side, one of them left by a kill -9",
  { needs: "full" },
  async (t, cluster) => {
    const child = spawn(process.execPath, ["--input-type=module", "--eval", orphan], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.after(() => child.kill("SIGKILL"));
    const ended = once(child, "exit").then(() => Promise.reject(new Error("it ended before it was ready")));
    const ready = once(createInterface({ input: child.stdout }), "line");
    const [line] = (await Promise.race([ready, ended])) as [string];
    ended.catch(() => {});
    const place = JSON.parse(line) as Place;
    assert.notEqual(place.index, cluster.place.index);
    await cluster.kubectl(["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=10s"]);
    const pids = await recordedIn(place);
    const pods = await processesIn(place.name);
    assert.ok(pods.length >= 2, "nats-server and the pause of its pod");
    child.kill("SIGKILL");
    await once(child, "exit");
    await assertAlive(pids, true);

    await using next = await startCluster({ tier: "full" });
    assert.equal(next.place.index, place.index, "the place is free again, its owner is dead");
    await assertAlive(pids, false);
    for (const pid of pods)
      assert.doesNotMatch(
        await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => ""),
        /nats-server|busybox/,
      );
    assert.deepEqual((await next.get(["pods", "--all-namespaces"]))["items"], []);
    await next.kubectl(["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s"]);
    const last = next.place;
    await next[Symbol.asyncDispose]();
    assert.doesNotMatch(await readFile("/proc/mounts", "utf8"), new RegExp(` ${last.folder}/`));
    assert.doesNotMatch(await output(["ip", "netns", "list"]), new RegExp(`^${last.name}\\b`, "m"));
    await assertAlive(await recordedIn(cluster.place), true);
  },
);

async function recordedIn({ folder }: Place): Promise<ProcessId[]> {
  const files = await readdir(join(folder, "pids"));
  const texts = await Promise.all(files.map((name) => readFile(join(folder, "pids", name), "utf8")));
  return texts.map((text) => JSON.parse(text) as ProcessId);
}

async function assertAlive(ids: readonly ProcessId[], expected: boolean): Promise<void> {
  assert.ok(ids.length > 7, "a whole cluster's");
  for (const id of ids) assert.equal(await isSame(id), expected, `process ${id.pid}`);
}
