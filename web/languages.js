/*
 * Let people find their language among all that the server knows.
 *
 * The server searches: it knows the languages' other names, tags and scripts, and which
 * of them fit best. Their names in the page's language, if that is not English, are the
 * browser's. Without a query, the browser's languages come first, the others by name. A
 * combobox as the ARIA Authoring Practices describe it.
 */

import * as api from './api.js';
import { collator, isEnglish, languageName, onLanguage, percent, say, scriptName, write } from './interface-text.js';
import { withKey } from './key.js';
import { fold } from './text.js';

const KEPT = 'omniasr-language';

const input = document.getElementById('language');
const clear = document.getElementById('language-clear');
const popup = document.getElementById('language-popup');
const list = document.getElementById('language-list');
const count = document.getElementById('language-count');

/** @typedef {{id: string, tag: string, name: string, script: string, direction: string, autonym: string}} Language */

export class LanguagePicker {
  #chosen = null;
  #active = -1;
  #found = [];
  #search = null;
  #all = null;

  /** @param {(language: Language | null) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    input.addEventListener('input', () => this.#look(input.value));
    input.addEventListener('click', () => this.#open());
    input.addEventListener('keydown', (event) => this.#press(event));
    input.addEventListener('blur', () => this.#leave());
    clear.addEventListener('click', () => {
      this.#choose(null);
      input.focus();
    });
    // A press on the list would take the focus away before it is a click.
    popup.addEventListener('mousedown', (event) => event.preventDefault());
    list.addEventListener('click', ({ target }) => {
      const option = target.closest('[role=option]');
      if (option) this.#choose(this.#found[Number(option.dataset.index)]);
    });
    onLanguage(() => this.#leave());
    const kept = sessionStorage.getItem(KEPT);
    if (kept) this.#choose(JSON.parse(kept));
  }

  /** @returns {Language | null} */
  get language() {
    return this.#chosen;
  }

  #open() {
    if (popup.hidden) this.#look('');
  }

  #close() {
    this.#search?.abort();
    this.#active = -1;
    popup.hidden = true;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  }

  #leave() {
    this.#close();
    if (input.value.trim() === '') this.#choose(null);
    else input.value = nameOf(this.#chosen);
  }

  async #look(text) {
    this.#search?.abort();
    this.#search = new AbortController();
    const { signal } = this.#search;
    try {
      const found = await this.#find(text.trim(), signal);
      if (!signal.aborted) this.#show(found);
    } catch (error) {
      if (error.name === 'AbortError') return;
      this.#show([]);
      write(count, error.message);
    }
  }

  async #find(query, signal) {
    const ask = async (path) => (await withKey(() => api.get(path, { signal }))).data;
    if (!query) return ordered(await ask('v1/languages'));
    const found = await ask(`v1/languages?${new URLSearchParams({ q: query })}`);
    if (isEnglish()) return found;
    this.#all ??= await ask('v1/languages');
    const named = ordered(this.#all.filter((own) => fold(nameOf(own)).startsWith(fold(query))));
    return [...named, ...found.filter(({ id }) => !named.some((own) => own.id === id))];
  }

  #show(found) {
    const active = this.#found[this.#active]?.id;
    this.#found = found;
    this.#active = -1;
    list.replaceChildren(...this.#found.map((language, index) => this.#option(language, index)));
    list.scrollTop = 0;
    write(count, describe(found.length));
    popup.hidden = false;
    input.setAttribute('aria-expanded', 'true');
    input.removeAttribute('aria-activedescendant');
    // Who is quicker than the answer keeps what was reached with the arrows.
    const again = found.findIndex(({ id }) => id === active);
    if (again >= 0) this.#activate(again);
  }

  #option(language, index) {
    const option = document.createElement('li');
    option.id = `language-${index}`;
    option.role = 'option';
    option.dataset.index = String(index);
    option.setAttribute('aria-selected', String(language.id === this.#chosen?.id));
    const code = document.createElement('span');
    code.className = 'picker-code';
    code.textContent = language.tag;
    const name = document.createElement('span');
    name.textContent = nameOf(language);
    if (differs(language)) {
      const own = document.createElement('span');
      own.className = 'picker-own';
      own.lang = language.tag;
      own.textContent = language.autonym;
      name.append(' ', own);
    }
    option.append(name, code);
    return option;
  }

  #press(event) {
    const { key } = event;
    if (key === 'Escape' && popup.hidden) this.#choose(null);
    else if (key === 'Escape') {
      this.#close();
      input.value = nameOf(this.#chosen);
    } else if (key === 'Enter' && this.#active >= 0) this.#choose(this.#found[this.#active]);
    else if (key === 'ArrowDown' && popup.hidden) this.#open();
    else if (key === 'ArrowDown') this.#move(1);
    else if (key === 'ArrowUp') this.#move(-1);
    else return;
    event.preventDefault();
  }

  #move(step) {
    const n = this.#found.length;
    if (!n) return;
    this.#activate(this.#active < 0 && step < 0 ? n - 1 : (this.#active + step + n) % n);
  }

  #activate(index) {
    list.children[this.#active]?.classList.remove('active');
    this.#active = index;
    const option = list.children[index];
    option.classList.add('active');
    option.scrollIntoView({ block: 'nearest' });
    input.setAttribute('aria-activedescendant', option.id);
  }

  #choose(language) {
    const changed = language?.id !== this.#chosen?.id;
    this.#chosen = language;
    input.value = nameOf(language);
    clear.hidden = language === null;
    this.#close();
    if (language) sessionStorage.setItem(KEPT, JSON.stringify(language));
    else sessionStorage.removeItem(KEPT);
    if (changed) this.onChange(language);
  }
}

/** Put the browser's languages first, in its order, and sort the others by name. */
function ordered(languages) {
  const wanted = navigator.languages.map((tag) => new Intl.Locale(tag).maximize());
  const rank = ({ tag }) => {
    const { language, script } = new Intl.Locale(tag).maximize();
    const found = wanted.findIndex((own) => own.language === language && own.script === script);
    return found < 0 ? wanted.length : found;
  };
  const { compare } = collator();
  return languages
    .map((own) => ({ own, first: rank(own), name: nameOf(own) }))
    .sort((a, b) => a.first - b.first || compare(a.name, b.name))
    .map(({ own }) => own);
}

/** The name of a language in the page's; none has none. */
function nameOf(language) {
  if (language === null) return '';
  return isEnglish() ? language.name : String(languageName(language.tag, language.name));
}

function differs(language) {
  const { autonym } = language;
  return autonym && autonym.toLowerCase() !== nameOf(language).toLowerCase();
}

function describe(n) {
  if (n === 0) return say('language.none');
  return say(n > 100 ? 'language.many' : 'language.found', { n });
}

/**
 * Say in which language a text is, as far as the server knows.
 *
 * @param {object} found `language` (a tag), `probability` and `script`; any may be missing.
 */
export function describeHeard({ language, probability, script }) {
  if (!language) return script ? say('heard.script', { script: scriptName(script) }) : '';
  const name = languageName(language);
  if (probability == null) return say('heard.language', { language: name });
  return say('heard.language-sure', { language: name, share: percent(probability) });
}

/** Set the language and the direction of an element that shows text. */
export function dress(element, language, tag = null) {
  const lang = tag ?? language?.tag;
  if (lang) element.lang = lang;
  else element.removeAttribute('lang');
  element.dir = language?.direction ?? 'auto';
}
