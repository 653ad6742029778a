/*
 * Ask for the server's key, once for the tab.
 */

import * as api from './api.js';
import { say, write } from './interface-text.js';

const dialog = document.getElementById('key-dialog');
const form = document.getElementById('key-form');
const field = document.getElementById('key');
const why = document.getElementById('key-why');

const FIRST = say('key.first');
const WRONG = say('key.wrong');
const ODD = say('key.odd', { signs: "!#$%&'*+-.^_`|~" });

let asking = null;

/** Ask, unless the dialog is open already; return whether there is a key now. */
export function askForKey({ live = false } = {}) {
  asking ??= ask(live).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(live) {
  const before = api.key.get();
  write(why, before === null ? FIRST : live && !api.fitsSocket(before) ? ODD : WRONG);
  field.value = '';
  return new Promise((resolve) => {
    let given = false;
    form.onsubmit = (event) => {
      event.preventDefault();
      api.key.set(field.value.trim());
      given = true;
      dialog.close();
    };
    dialog.onclose = () => resolve(given);
    dialog.showModal();
  });
}

document.getElementById('key-cancel').addEventListener('click', () => dialog.close());

/**
 * Do something that needs the server; if that requires a key, ask for one and try
 * again.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 * @throws {api.ApiError} with the status 401 if no key is given.
 */
export async function withKey(work) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error.status !== 401 || !(await askForKey())) throw error;
    }
  }
}
