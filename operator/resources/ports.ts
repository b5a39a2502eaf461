/** Ports of a pod by name, and those that clients of the Service use. Pure. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";

/** The defaults of `mailboat pod`'s options. */
export const podPorts = {
  smtp: 2525,
  submission: 2587,
  submissions: 2465,
  http: 8025,
  admin: 8026,
  metrics: 9464,
} as const;

export type PortName = keyof typeof podPorts;

const servicePorts = { smtp: 25, submission: 587, submissions: 465, http: 8025 } as const;

/** Port 465 is TLS from the first byte: without a certificate nobody listens there. */
export function frontPorts(spec: SendingPoolSpec): { name: PortName; port: number }[] {
  const names = ["smtp", "submission", "submissions", "http"] as const;
  return names
    .filter((name) => name !== "submissions" || spec.tls !== undefined)
    .map((name) => ({ name, port: servicePorts[name] }));
}
