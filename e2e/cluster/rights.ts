/** Who may do what: the table that operator/README.md promises, everything that an API server can be asked, and what it answers. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Api } from "./api.ts";
import { root } from "./images/images.ts";

/** `VERB GROUP/RESOURCE[/SUBRESOURCE][ NAME]`; the core group is "". @example "patch mailboat.dev/tenants/status" */
export type Right = string;

/** `watched`: a namespace that the operator looks after; `own`: its own; `cluster`: all namespaces, and what has none. */
export type Where = "watched" | "own" | "cluster";

const scopes: Readonly<Record<Where, string>> = { watched: "w", own: "own", cluster: "cluster-wide only" };

/** Rows of operator/README.md's table. */
export function promised(where: Where): Set<Right> {
  const rows = readFileSync(join(root, "operator/README.md"), "utf8")
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .filter(([, scope, , , verbs]) => scope === scopes[where] && verbs !== undefined);
  return new Set(
    rows.flatMap(([, , group = "", resources = "", verbs = ""]) =>
      resources
        .split(", ")
        .flatMap((resource) =>
          verbs.split(", ").map((verb) => `${verb} ${group === "core" ? "" : group}/${resource}`),
        ),
    ),
  );
}

interface Kind {
  readonly group: string;
  /** With its subresource. */
  readonly resource: string;
  readonly namespaced: boolean;
}

const usualVerbs = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
/** Verbs that no request has, but that let one do what others may. */
const unusual: readonly { readonly verb: string; readonly group: string; readonly resource: string }[] = [
  ...["users", "groups", "serviceaccounts"].map((resource) => ({ verb: "impersonate", group: "", resource })),
  ...["roles", "clusterroles"].flatMap((resource) =>
    ["bind", "escalate"].map((verb) => ({ verb, group: "rbac.authorization.k8s.io", resource })),
  ),
  { verb: "approve", group: "certificates.k8s.io", resource: "signers" },
  { verb: "sign", group: "certificates.k8s.io", resource: "signers" },
  { verb: "create", group: "", resource: "nodes/proxy" },
  { verb: "get", group: "", resource: "nodes/proxy" },
  { verb: "*", group: "*", resource: "*" },
];

/** Of no request, but asked about by admission. */
const unserved: readonly Kind[] = ["tenants", "sendingpools", "trafficshapes"].map((plural) => ({
  group: "mailboat.dev",
  resource: `${plural}/finalizers`,
  namespaced: true,
}));

/** Everything that the API server serves or asks about, subresources included. */
export async function servedKinds(api: Api): Promise<Kind[]> {
  const { body } = await api.ask("GET", "/apis");
  const groups = (body["groups"] as { preferredVersion: { groupVersion: string } }[]).map(
    ({ preferredVersion }) => preferredVersion.groupVersion,
  );
  const lists = await Promise.all(
    ["v1", ...groups].map(async (groupVersion) => {
      const path = groupVersion === "v1" ? "/api/v1" : `/apis/${groupVersion}`;
      const { resources } = (await api.ask("GET", path)).body as {
        resources: { name: string; namespaced: boolean }[];
      };
      const group = groupVersion === "v1" ? "" : (groupVersion.split("/")[0] ?? "");
      return resources.map(({ name, namespaced }) => ({ group, resource: name, namespaced }));
    }),
  );
  return [...lists.flat(), ...unserved];
}

interface Question {
  readonly kinds: readonly Kind[];
  /** "" = all namespaces, and kinds without one. */
  readonly namespace: string;
}

/** The only name that a right of ours is limited to. */
const lease = { group: "coordination.k8s.io", resource: "leases", name: "mailboat-operator" };

/** Of every verb on every kind: what whoever `api` speaks for may do. Asks about each, and never acts. */
export async function rightsOf(api: Api, { kinds, namespace }: Question): Promise<Set<Right>> {
  const usual = [...kinds.map((kind) => ({ ...kind, name: "" })), { ...lease, namespaced: true }]
    .filter(({ namespaced }) => namespaced || namespace === "")
    .flatMap(({ group, resource, name }) => usualVerbs.map((verb) => ({ verb, group, resource, name })));
  const rights = new Set<Right>();
  const questions = [...usual, ...unusual.map((one) => ({ ...one, name: "" }))].values();
  const ask = async (): Promise<void> => {
    for (const one of questions) {
      const right = `${one.verb} ${one.group}/${one.resource}`;
      // What is allowed for every name need not be said of one.
      if (!rights.has(right) && (await isAllowed(api, { ...one, namespace })))
        rights.add(one.name === "" ? right : `${right} ${one.name}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, ask));
  return rights;
}

/**
 * The same as the roles say it, in one question: for all that a namespace has to do with, kinds without one included. What RBAC cannot
 * tell of are other authorizers, and the only one here speaks for nodes.
 */
export async function rulesOf(api: Api, namespace: string): Promise<Set<Right>> {
  const apiVersion = "authorization.k8s.io/v1";
  const { status, body } = await api.ask("POST", `/apis/${apiVersion}/selfsubjectrulesreviews`, {
    apiVersion,
    kind: "SelfSubjectRulesReview",
    spec: { namespace },
  });
  if (status !== 201) throw new Error(`Cannot ask for rules: ${status} ${JSON.stringify(body)}`);
  const { resourceRules } = body["status"] as {
    resourceRules: Record<"verbs" | "apiGroups" | "resources" | "resourceNames", string[] | undefined>[];
  };
  return new Set(
    resourceRules.flatMap(({ verbs = [], apiGroups = [], resources = [], resourceNames = [""] }) =>
      verbs.flatMap((verb) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((resource) =>
            resourceNames.map((name) => `${verb} ${group}/${resource} ${name}`.trimEnd()),
          ),
        ),
      ),
    ),
  );
}

async function isAllowed(
  api: Api,
  attributes: { verb: string; group: string; resource: string; name: string; namespace: string },
): Promise<boolean> {
  const [resource, ...sub] = attributes.resource.split("/");
  const spec = { resourceAttributes: { ...attributes, resource, subresource: sub.join("/") } };
  const apiVersion = "authorization.k8s.io/v1";
  const { status, body } = await api.ask("POST", `/apis/${apiVersion}/selfsubjectaccessreviews`, {
    apiVersion,
    kind: "SelfSubjectAccessReview",
    spec,
  });
  if (status !== 201)
    throw new Error(`Cannot ask about ${JSON.stringify(attributes)}: ${status} ${JSON.stringify(body)}`);
  return (body["status"] as { allowed: boolean }).allowed;
}
