/** An egress proxy in the test's process, with the login `pods` / `opensesame`. */
import { silentLog } from "#mta-pod/runtime/log.ts";
import { type ProxyOptions, type ProxyServer, startProxy } from "#mta-pod/proxy/server.ts";

export const proxyLogin = { username: "pods", password: "opensesame" };

export async function startTestProxy(
  options: Partial<ProxyOptions> = {},
): Promise<ProxyServer & AsyncDisposable> {
  const server = await startProxy({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 100,
    handshakeMs: 5000,
    connectMs: 5000,
    idleMs: 5000,
    log: silentLog,
    isLogin: ({ username, password }) => username === proxyLogin.username && password === proxyLogin.password,
    isAllowed: (address) => address.startsWith("127."),
    ...options,
  });
  return { ...server, [Symbol.asyncDispose]: () => server.drain(0) };
}
