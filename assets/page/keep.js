// What this browser keeps of a training between visits: pictures once, and after that what going
// on needs. Each page has its own, by its address.

const KEY = location.pathname.replace(/[^/]*$/, "");
const STORES = ["pictures", "progress"];

function database() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open("wgvq-page", 1);
    asked.onupgradeneeded = () => STORES.forEach((name) => asked.result.createObjectStore(name));
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

// Runs `work` on the stores in one transaction: all of it is kept, or nothing.
async function within(mode, work) {
  const opened = await database();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = opened.transaction(STORES, mode);
      const asked = work(...STORES.map((name) => transaction.objectStore(name)));
      transaction.oncomplete = () => resolve(asked?.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    opened.close();
  }
}

// Keeps the pictures of a training that begins; what an earlier one had learned goes.
export const keepPictures = (pictures) =>
  within("readwrite", (kept, progress) => {
    pictures.id = `${Date.now()} ${Math.random()}`;
    progress.delete(KEY);
    return kept.put(pictures, KEY);
  });

// Keeps what a training has learned of pictures. Where another tab of this page has put its own in
// their place meanwhile, they go back with it: what is kept belongs together.
export const keepProgress = (state, pictures) =>
  within("readwrite", (kept, progress) => {
    const there = kept.get(KEY);
    there.onsuccess = () => {
      if (there.result?.id !== pictures.id) kept.put(pictures, KEY);
      progress.put(state, KEY);
    };
  });

// Returns the pictures and what was learned; nothing where either is not there.
export async function kept() {
  const pictures = await within("readonly", (pictures) => pictures.get(KEY));
  const progress = await within("readonly", (_, progress) => progress.get(KEY));
  return pictures && progress ? { pictures, progress } : null;
}

export const forget = () =>
  within("readwrite", (pictures, progress) => {
    pictures.delete(KEY);
    progress.delete(KEY);
  });
