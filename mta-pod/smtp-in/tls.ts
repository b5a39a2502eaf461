/** The server side of TLS: certificates that can be replaced while running. Throws on a key or certificate that is none. */
import { constants } from "node:crypto";
import type { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import type { TlsMaterial } from "./options.ts";

export class TlsStore {
  #context: SecureContext | null = null;

  constructor(material: TlsMaterial | null) {
    this.set(material);
  }

  isThere(): boolean {
    return this.#context !== null;
  }

  /** For handshakes from now on; connections that are open keep what they have. */
  set(material: TlsMaterial | null): void {
    this.#context =
      material === null
        ? null
        : createSecureContext({
            key: material.key,
            cert: material.cert,
            minVersion: "TLSv1.2",
            secureOptions:
              constants.SSL_OP_NO_RENEGOTIATION |
              constants.SSL_OP_CIPHER_SERVER_PREFERENCE |
              constants.SSL_OP_NO_COMPRESSION,
          });
  }

  /** Begins the handshake; "secure" or "close" follows. null = no certificate (it was taken away meanwhile). */
  wrap(raw: Socket): TLSSocket | null {
    if (this.#context === null) return null;
    return new TLSSocket(raw, { isServer: true, secureContext: this.#context, requestCert: false });
  }
}

/** @example "TLSv1.3 TLS_AES_256_GCM_SHA384" */
export function describeTls(socket: TLSSocket): string {
  return `${socket.getProtocol() ?? "TLS"} ${socket.getCipher().name}`;
}
