/** The part of the `Reflect` metadata proposal that a dependency of @peculiar/x509 asks for when it is loaded. Never fails. */

type Key = string | symbol;

/** Adds `Reflect.defineMetadata` and its readers unless somebody already has. */
export function installReflectMetadata(): void {
  if ("getMetadata" in Reflect) return;
  const store = new WeakMap<object, Map<Key, unknown>>();
  const defineMetadata = (key: Key, value: unknown, target: object): void => {
    const entries = store.get(target) ?? new Map<Key, unknown>();
    store.set(target, entries.set(key, value));
  };
  const getOwnMetadata = (key: Key, target: object): unknown => store.get(target)?.get(key);
  const getMetadata = (key: Key, target: object): unknown => {
    for (let at: object | null = target; at !== null; at = Reflect.getPrototypeOf(at)) {
      const entries = store.get(at);
      if (entries?.has(key)) return entries.get(key);
    }
    return undefined;
  };
  const metadata = (key: Key, value: unknown) => (target: object, property?: Key) => {
    if (property === undefined) defineMetadata(key, value, target);
  };
  Object.assign(Reflect, { defineMetadata, getOwnMetadata, getMetadata, metadata });
}
