/*
 * Keep what was transcribed in this browser, so that a reload loses nothing.
 *
 * Nothing of it is sent anywhere. Sound is not kept: recordings may be larger than what
 * a browser gives to a page. If the browser keeps nothing (a private window, no room),
 * the page works all the same.
 */

const NAME = 'omniasr';
const TEXTS = 'texts'; // recordings, by their ids
const LIVE = 'live'; // the live captions, under one key

let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(TEXTS, { keyPath: 'id' });
      request.result.createObjectStore(LIVE);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/** Do something with a store; null if the browser does not let it. */
async function within(name, mode, work) {
  try {
    const database = await open();
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(name, mode);
      const request = work(transaction.objectStore(name));
      transaction.oncomplete = () => resolve(request.result ?? null);
      transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return null;
  }
}

/** @returns {Promise<object[]>} The texts that were kept, oldest first. */
export async function texts() {
  return ((await within(TEXTS, 'readonly', (store) => store.getAll())) ?? []).sort((a, b) => a.when - b.when);
}

/** Keep a text under its `id`; return whether it is kept. */
export async function keep(text) {
  return (await within(TEXTS, 'readwrite', (store) => store.put(text))) !== null;
}

export function forget(id) {
  return within(TEXTS, 'readwrite', (store) => store.delete(id));
}

export function captions() {
  return within(LIVE, 'readonly', (store) => store.get(LIVE));
}

export async function keepCaptions(captions) {
  return (await within(LIVE, 'readwrite', (store) => store.put(captions, LIVE))) !== null;
}
