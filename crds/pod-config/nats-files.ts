/** Keys of the Secrets for NATS, which are the names of a pod's files: what the operator mounts, pods read. Pure. */

/** One of: `nats.creds`; `username` and `password`; `token`. */
export const natsLoginFiles = ["nats.creds", "username", "password", "token"] as const;

/** `ca.crt` when the system does not know the server's authority; the others where the server asks who is there. */
export const natsTlsFiles = ["ca.crt", "tls.crt", "tls.key"] as const;

export type NatsLoginFile = (typeof natsLoginFiles)[number];
