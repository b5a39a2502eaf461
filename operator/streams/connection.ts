/**
 * The operator's connections to NATS: one for each set of servers and logins, made in the background and kept for ever.
 * Who asks while there is none is told so at once; nothing here throws or waits for a server.
 */
import {
  connect,
  credsAuthenticator,
  type ConnectionOptions,
  type NatsConnection,
} from "@nats-io/transport-node";

export interface NatsSettings {
  readonly servers: readonly string[];
  readonly login: NatsLogin;
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined;
}

export type NatsLogin =
  | { readonly kind: "none" }
  | { readonly kind: "creds"; readonly creds: Uint8Array }
  | { readonly kind: "password"; readonly username: string; readonly password: string }
  | { readonly kind: "token"; readonly token: string };

export interface NatsLink {
  /** undefined = not reached now. */
  connection(): NatsConnection | undefined;
  /** Resolves once the first try is over: before, that there is none says nothing. Never rejects. */
  whenTried(): Promise<void>;
  /** Why there is none; the last reason heard. */
  trouble(): string;
  close(): Promise<void>;
}

export interface LinkOptions {
  readonly settings: NatsSettings;
  readonly name: string;
  /** Runs `run` once after `ms`; the answer cancels. */
  after(ms: number, run: () => void): () => void;
}

const retryMs = 2000;

export function openLink({ settings, name, after }: LinkOptions): NatsLink {
  let nc: NatsConnection | undefined;
  let isUp = false;
  let isClosed = false;
  let trouble = "no connection yet";
  let cancel: () => void = () => {};
  const tried = Promise.withResolvers<void>();

  const follow = async (connection: NatsConnection): Promise<void> => {
    for await (const { type } of connection.status()) {
      if (type === "disconnect" || type === "staleConnection" || type === "close") {
        isUp = false;
        trouble = "disconnected";
      } else if (type === "reconnect") isUp = true;
    }
  };
  const dial = async (): Promise<void> => {
    try {
      const connection = await connect(optionsOf(settings, name));
      if (isClosed) return await connection.close();
      nc = connection;
      isUp = true;
      tried.resolve();
      await follow(connection);
    } catch (error) {
      trouble = error instanceof Error ? error.message : String(error);
    }
    tried.resolve();
    nc = undefined;
    isUp = false;
    if (!isClosed) cancel = after(retryMs, () => void dial());
    return undefined;
  };
  void dial();
  return {
    connection: () => (isUp ? nc : undefined),
    whenTried: () => tried.promise,
    trouble: () => trouble,
    async close() {
      isClosed = true;
      tried.resolve();
      cancel();
      await nc?.close();
    },
  };
}

function optionsOf({ servers, login, tls }: NatsSettings, name: string): ConnectionOptions {
  return {
    servers: [...servers],
    name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    reconnectJitter: 500,
    pingInterval: 5000,
    maxPingOut: 2,
    timeout: 5000,
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
    ...loginOf(login),
    ...(tls === undefined ? {} : { tls }),
  };
}

function loginOf(login: NatsLogin): Partial<ConnectionOptions> {
  switch (login.kind) {
    case "none":
      return {};
    case "creds":
      return { authenticator: credsAuthenticator(login.creds) };
    case "password":
      return { user: login.username, pass: login.password };
    case "token":
      return { token: login.token };
    default:
      return login satisfies never;
  }
}
