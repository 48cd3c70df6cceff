// The person's own photos in IndexedDB of this browser, so that a reload loses neither a photo that is not
// sent yet nor the "before" of a comparison. They are deleted with the photo, at its expiry, and at sign-out.

const STORE = "photos";
const MAX_AGE_MS = 7 * 86_400_000; // of a photo that was never sent
let database = null;

// Each record: {id, name, addedAt, file, thumbnail, request, sendKey, wanted, owner, expiresAt}.
async function open() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("facemend", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return database;
}

async function run(mode, action) {
  const transaction = (await open()).transaction(STORE, mode);
  const request = action(transaction.objectStore(STORE));
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
  return request?.result;
}

// Throws a DOMException if the browser has no room or keeps nothing (a private window).
export const keep = (record) => run("readwrite", (store) => store.put(record));

export async function remove(ids) {
  await run("readwrite", (store) => ids.forEach((id) => store.delete(id)));
}

export async function all() {
  const records = await run("readonly", (store) => store.getAll());
  const now = Date.now();
  const old = records.filter((record) => (record.expiresAt ?? record.addedAt + MAX_AGE_MS) < now);
  if (old.length) await remove(old.map((record) => record.id));
  return records.filter((record) => !old.includes(record));
}
