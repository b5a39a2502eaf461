import assert from "node:assert/strict";
import { test } from "node:test";
import { chosenLogin, type Login } from "#operator/local/credentials.ts";

const login = (username: string, pool: string): Login => ({
  tenant: `mail/${username}`,
  pool: `mail/${pool}`,
  username,
  password: "secret",
  from: `test@${username}.example`,
});
const logins = [login("acme", "second"), login("globex", "first"), login("initech", "first")];

test("chosenLogin() takes the first that fits the user and the pool", () => {
  const cases: [Parameters<typeof chosenLogin>[1], string | undefined][] = [
    [{}, "acme"],
    [{ user: "globex" }, "globex"],
    [{ pool: "first" }, "globex"],
    [{ pool: "mail/second" }, "acme"],
    [{ user: "nobody" }, undefined],
    [{ pool: "irst" }, undefined],
  ];
  for (const [choice, expected] of cases)
    assert.equal(chosenLogin(logins, choice)?.username, expected, JSON.stringify(choice));
});
