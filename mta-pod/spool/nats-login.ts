/** How a pod logs in at NATS: the files of a mounted folder, read again at each connect, so that they may be rotated. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Authenticator,
  credsAuthenticator,
  type TlsOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { type NatsLoginFile, natsTlsFiles } from "#crds/pod-config/nats-files.ts";

/** Without a file that says who we are: nobody in particular. */
export function natsLogin(folder: string): Authenticator {
  const textOf = (name: NatsLoginFile): string | undefined => {
    const bytes = fileIn(folder, name);
    // An editor's line break at the end of a password or token is no part of it.
    return bytes?.toString("utf8").replace(/\r?\n$/, "");
  };
  return (nonce) => {
    const creds = fileIn(folder, "nats.creds");
    if (creds !== undefined) return credsAuthenticator(creds)(nonce);
    const token = textOf("token");
    if (token !== undefined) return tokenAuthenticator(token)(nonce);
    const user = textOf("username");
    return user === undefined
      ? undefined
      : usernamePasswordAuthenticator(user, textOf("password") ?? "")(nonce);
  };
}

/** Paths, which the library reads again at each connect. Undefined: no word about TLS, the server decides. */
export function natsTls(folder: string | undefined, servers: readonly string[]): TlsOptions | undefined {
  const [ca, cert, key] = natsTlsFiles.map((name) => (folder === undefined ? "" : join(folder, name)));
  const options = {
    ...(isThere(ca) ? { caFile: ca } : {}),
    ...(isThere(cert) && isThere(key) ? { certFile: cert, keyFile: key } : {}),
  };
  const isWanted = servers.some((server) => server.startsWith("tls://"));
  return Object.keys(options).length === 0 && !isWanted ? undefined : options;
}

function isThere(path: string | undefined): path is string {
  return path !== undefined && path !== "" && existsSync(path);
}

function fileIn(folder: string, name: NatsLoginFile): Buffer | undefined {
  try {
    return readFileSync(join(folder, name));
  } catch {
    // Not mounted (yet): the server's refusal says the rest.
    return undefined;
  }
}
