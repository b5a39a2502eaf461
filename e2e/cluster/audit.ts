/** What service accounts asked of the API server, out of its audit log: who did what to which kind, and what became of it. Never fails on a missing log. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Place } from "./place.ts";

/** Cluster components have accounts as well, and are nobody's question. Watches count from their first answer. */
export const auditPolicy = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [
    { level: "None", userGroups: ["system:serviceaccounts:kube-system"] },
    { level: "Metadata", userGroups: ["system:serviceaccounts"] },
    { level: "None" },
  ],
};

export function auditFiles({ folder }: Place): { readonly policy: string; readonly log: string } {
  return { policy: join(folder, "audit-policy.json"), log: join(folder, "audit.log") };
}

export interface Asked {
  readonly verb: string;
  readonly group: string;
  /** With its subresource: `tenants/status`. */
  readonly resource: string;
  /** "" for kinds of the cluster, and for all namespaces. */
  readonly namespace: string;
  readonly name: string;
  /** HTTP status. */
  readonly code: number;
}

interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: Partial<
    Record<"apiGroup" | "resource" | "subresource" | "namespace" | "name", string>
  >;
  readonly responseStatus?: { readonly code?: number };
}

/** Requests about objects, in the order of their answers; `user` as in `system:serviceaccount:NAMESPACE:NAME`. */
export async function askedBy(place: Place, user: string): Promise<Asked[]> {
  const text = await readFile(auditFiles(place).log, "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as AuditEvent)
    .filter((event) => event.user.username === user)
    .flatMap(({ verb, objectRef, responseStatus }) => {
      if (objectRef?.resource === undefined) return [];
      const { apiGroup = "", resource, subresource, namespace = "", name = "" } = objectRef;
      const full = subresource === undefined ? resource : `${resource}/${subresource}`;
      return [{ verb, group: apiGroup, resource: full, namespace, name, code: responseStatus?.code ?? 0 }];
    });
}
