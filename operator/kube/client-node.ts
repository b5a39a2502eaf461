/**
 * KubeConfig of @kubernetes/client-node without the classes of all kinds and calls, which its config.js imports with two small ones and
 * nobody here uses: 45 MB of memory and a second at each start. Importing this throws when that package cannot be loaded.
 */
import { registerHooks } from "node:module";

/** What imports everything, and the only names of it that are used on the way to KubeConfig. */
const everything = "/@kubernetes/client-node/dist/gen/index.js";
const used = `
  export { createConfiguration } from "./configuration.js";
  export { ServerConfiguration } from "./servers.js";
`;

const hooks = registerHooks({
  load: (url, context, next) =>
    url.endsWith(everything) ? { format: "module", shortCircuit: true, source: used } : next(url, context),
});

export const { KubeConfig } = await import("@kubernetes/client-node/dist/config.js");

hooks.deregister();
