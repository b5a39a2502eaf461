/** Values of Secrets that are referred to: logins, DKIM keys, the pods' login at proxies. Pure; what is missing or unusable is a problem. */
import type { SecretResource } from "#crds/api/v1alpha1/snapshot.ts";
import type { CredentialKey, DkimKey, ProxyLogin } from "#crds/pod-config/schema.ts";
import { passwordMac } from "#crds/pod-config/password-mac.ts";
import { expectedKey, readKeyMaterial } from "./key-material.ts";
import type { Problem } from "./problems.ts";
import { unresolved } from "./problems.ts";

/** By `namespace/name`. */
export type Secrets = Pick<ReadonlyMap<string, SecretResource>, "get">;

export type Found<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly problem: Problem };

export interface SecretRef {
  readonly namespace: string;
  readonly name: string;
  /** Path of the reference, for problems. */
  readonly where: string;
}

const maxUsernameLength = 255;
const maxPasswordBytes = 1024;

export function loginOf(
  secrets: Secrets,
  ref: SecretRef,
  of: { readonly tenant: string; readonly credential: string },
): Found<CredentialKey> {
  const name = textOf(secrets, ref, "username");
  if (!name.ok) return name;
  const password = textOf(secrets, ref, "password");
  if (!password.ok) return password;
  const username = name.value;
  if (username.length > maxUsernameLength)
    return unusable(
      ref,
      `a username of at most ${maxUsernameLength} characters`,
      `${username.length} characters`,
    );
  if (Buffer.byteLength(password.value) > maxPasswordBytes)
    return unusable(ref, `a password of at most ${maxPasswordBytes} bytes`, "more");
  const mac = passwordMac({ tenant: of.tenant, username }, password.value);
  return { ok: true, value: { ...of, username, passwordMac: mac } };
}

export function dkimKeyOf(
  secrets: Secrets,
  ref: SecretRef & { readonly key: string },
  of: Pick<DkimKey, "tenant" | "domain" | "selector">,
): Found<DkimKey> {
  const bytes = bytesOf(secrets, ref, ref.key);
  if (!bytes.ok) return bytes;
  const material = readKeyMaterial(bytes.value);
  if (!material.ok) return unusable(ref, expectedKey, material.got);
  return { ok: true, value: { ...of, algorithm: material.algorithm, der: material.der } };
}

/** RFC 1929 counts each in one byte, and the address of a source may be added to the username. */
const maxProxyUsernameBytes = 200;
const maxProxyPasswordBytes = 255;

export function proxyLoginOf(secrets: Secrets, ref: SecretRef): Found<ProxyLogin> {
  const name = textOf(secrets, ref, "username");
  if (!name.ok) return name;
  const password = textOf(secrets, ref, "password");
  if (!password.ok) return password;
  if (Buffer.byteLength(name.value) > maxProxyUsernameBytes)
    return unusable(ref, `a username of at most ${maxProxyUsernameBytes} bytes`, "more");
  if (Buffer.byteLength(password.value) > maxProxyPasswordBytes)
    return unusable(ref, `a password of at most ${maxProxyPasswordBytes} bytes`, "more");
  return { ok: true, value: { username: name.value, password: password.value } };
}

function bytesOf(secrets: Secrets, ref: SecretRef, key: string): Found<Uint8Array> {
  const identity = `${ref.namespace}/${ref.name}`;
  const secret = secrets.get(identity);
  if (secret === undefined) {
    const issue = { where: ref.where, expected: `the Secret ${identity}`, got: "no such Secret" };
    return { ok: false, problem: unresolved("SecretNotFound", issue) };
  }
  const bytes = secret.data.get(key);
  if (bytes !== undefined) return { ok: true, value: bytes };
  const keys = [...secret.data.keys()].sort().slice(0, 8).join(", ");
  const got = keys === "" ? "a Secret without keys" : `a Secret with ${keys}`;
  const issue = {
    where: ref.where,
    expected: `the key ${JSON.stringify(key)} in the Secret ${identity}`,
    got,
  };
  return { ok: false, problem: unresolved("SecretKeyNotFound", issue) };
}

/** A line break at the end (`echo secret | base64`) would make a login that nobody can type: better said than trimmed. */
function textOf(secrets: Secrets, ref: SecretRef, key: string): Found<string> {
  const bytes = bytesOf(secrets, ref, key);
  if (!bytes.ok) return bytes;
  const text = utf8(bytes.value);
  const expected = `a ${key} of one or more characters without control characters`;
  if (text === undefined) return unusable(ref, expected, "bytes that are not UTF-8");
  if (text === "") return unusable(ref, expected, "an empty one");
  if (/[\r\n]$/.test(text)) return unusable(ref, expected, "one with a line break at its end");
  return /\p{Cc}/u.test(text)
    ? unusable(ref, expected, "one with a control character")
    : { ok: true, value: text };
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function unusable(ref: SecretRef, expected: string, got: string): { ok: false; problem: Problem } {
  return { ok: false, problem: unresolved("SecretInvalid", { where: ref.where, expected, got }) };
}
