/*
 * The field for keywords: names and terms that the model should hear more readily.
 */

import { untell } from './notices.js';

const KEPT = 'omniasr.keywords';

const field = document.getElementById('keywords');

export class KeywordField {
  /** @param {function} changed Is given the new list. */
  constructor(changed) {
    field.value = sessionStorage.getItem(KEPT) ?? '';
    field.addEventListener('change', () => {
      sessionStorage.setItem(KEPT, field.value);
      untell('keywords');
      changed(this.keywords);
    });
  }

  /** Words and phrases, as they were typed. */
  get keywords() {
    return field.value.split(/[,;\n]/).map((phrase) => phrase.trim()).filter(Boolean);
  }
}
