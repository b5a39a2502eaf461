#!/usr/bin/env node
// The `mailboat` program: starts the real one on the pinned Node. Plain JavaScript, since npm runs it on whatever Node is there.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runPinned } from "./pinned-node.mjs";

try {
  runPinned([join(dirname(fileURLToPath(import.meta.url)), "main.ts"), ...process.argv.slice(2)]);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
