/** How a password is kept in a key slot: as a MAC bound to its login. Pure, never fails. */
import { createHmac } from "node:crypto";

/** `tenant` is `namespace/name`. Equal passwords of two logins have different MACs. */
export function passwordMac(
  login: { tenant: string; username: string },
  password: string | Uint8Array,
): string {
  return createHmac("sha256", `${login.tenant}/${login.username}`).update(password).digest("hex");
}
