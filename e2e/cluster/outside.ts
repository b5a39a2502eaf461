/** A provider out in the world, as far as the product can tell: in a namespace of its own, and its MX has a public address. */
import type { Cluster } from "./cluster.ts";
import { namespaceObject, serviceIp } from "./mail-scene.ts";
import { providerObjects } from "./provider.ts";

export interface Outside {
  /** Whether a message with this X-Test-Id has come. */
  has(id: string): Promise<boolean>;
  /** Takes it away; returns before all of it is gone. */
  close(): Promise<void>;
}

const namespace = "outside";
/** No way leads out of the cluster's network; kube-proxy gives what is sent there to the provider. */
const publicIp = "11.0.0.25";

/** For mail to `outside.test`; the zone has nothing else then. */
export async function startOutside(cluster: Cluster): Promise<Outside> {
  const objects = providerObjects({ namespace, name: "provider" });
  await cluster.apply([namespaceObject(namespace), ...objects]);
  const externalIPs = JSON.stringify({ spec: { externalIPs: [publicIp] } });
  await cluster.kubectl(["patch", "-n", namespace, "service/provider", "--patch", externalIPs]);
  await cluster.setZone(["outside 1 IN MX 10 mx.outside.test.", `mx.outside 1 IN A ${publicIp}`]);
  await cluster.kubectl(["rollout", "status", "-n", namespace, "deployment/provider", "--timeout=60s"]);
  const { address } = await cluster.forward(`${await serviceIp(cluster, "provider", namespace)}:80`);
  return {
    async has(id) {
      const lines = (await (await fetch(`http://${address}/v1/ids`)).text()).split("\n");
      return lines.some((line) => line !== "" && (JSON.parse(line) as { id: string }).id === id);
    },
    close: async () => void (await cluster.kubectl(["delete", "namespace", namespace, "--wait=false"])),
  };
}
