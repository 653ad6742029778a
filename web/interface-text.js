/*
 * Say things in the language of the page.
 *
 * All text of the page is in texts/, a file for each language, under the same keys. A
 * text may have places, `{name}`, and forms for numbers, of which `Intl.PluralRules`
 * chooses by the value of `n`. Elements have the key of their content in `data-text`,
 * and those of attributes in `data-text-…`; a child with `data-slot` stands in the place
 * of its name. So all of it can be written again in another language, at any time.
 *
 * What the server says is English, and marked so.
 */

const { LANGUAGES, FALLBACK, keep, load, mark, loading } = globalThis.interfaceLanguage;

const ATTRIBUTES = ['aria-label', 'aria-valuetext', 'content', 'placeholder', 'title'];
const CONTENT = ''; // beside the attributes
const SELECTOR = ['[data-text]', ...ATTRIBUTES.map((name) => `[data-text-${name}]`)].join();

const PLACE = /\{(\w+)\}/;

let language = FALLBACK;
let texts = {};

const values = new WeakMap(); // element → {attribute: values of its text}
const listeners = [];

/** A text in whatever language the page has when it is shown. */
class Message {
  constructor(key, values) {
    this.key = key;
    this.values = values;
  }

  /** Strings and nodes, in order. */
  parts(slots = {}) {
    return template(this.key, this.values).split(PLACE).flatMap((part, k) => {
      if (k % 2 === 0) return part === '' ? [] : [part];
      const value = this.values[part] ?? slots[part] ?? `{${part}}`;
      if (value instanceof Message) return value.parts();
      if (value instanceof English) return [value.shown];
      return [typeof value === 'number' ? number(value) : value];
    });
  }

  toString() {
    return this.parts().map((part) => part.textContent ?? String(part)).join('');
  }
}

/** What the server says. */
class English {
  constructor(text) {
    this.text = text;
  }

  get shown() {
    if (language === 'en') return this.text;
    const span = document.createElement('span');
    [span.lang, span.dir, span.textContent] = ['en', 'ltr', this.text];
    return span;
  }

  toString() {
    return this.text;
  }
}

function template(key, { n }) {
  const found = texts[key] ?? key;
  if (typeof found === 'string') return found;
  return found[new Intl.PluralRules(language).select(n)] ?? found.other;
}

/**
 * Take a text by its key.
 *
 * @param {string} key
 * @param {object} values For its places: numbers, strings, messages, and what the
 *   functions below return; `n` also chooses the form.
 */
export function say(key, values = {}) {
  return new Message(key, values);
}

/** Mark a text of the server, for a place in another text; messages stay as they are. */
export function english(text) {
  return typeof text === 'string' ? new English(text) : text;
}

/** A text of the server as a message of its own. */
export function serverSays(text) {
  return say('server.says', { message: english(text) });
}

/**
 * Show a message in an element or in one of its attributes, now and after each change of
 * the language.
 *
 * @param {Message | string | null} message A string is the same in all languages; null
 *   removes an attribute.
 */
export function write(element, message, attribute = CONTENT) {
  if (message instanceof Message) {
    element.setAttribute(marker(attribute), message.key);
    values.set(element, { ...values.get(element), [attribute]: message.values });
  } else element.removeAttribute(marker(attribute));
  if (message === null) {
    element.removeAttribute(attribute);
    return;
  }
  // What is the same stays, so that screen readers do not read it again.
  const shown = attribute === CONTENT ? element.textContent : element.getAttribute(attribute);
  if (shown !== String(message)) show(element, message, attribute);
}

function marker(attribute) {
  return attribute === CONTENT ? 'data-text' : `data-text-${attribute}`;
}

function show(element, message, attribute) {
  if (attribute !== CONTENT) {
    element.setAttribute(attribute, String(message));
    return;
  }
  const slots = Object.fromEntries([...element.querySelectorAll('[data-slot]')].map((slot) => [slot.dataset.slot, slot]));
  element.replaceChildren(...(message instanceof Message ? message.parts(slots) : [message]));
}

/** Write all of the page again. */
function translate() {
  for (const element of document.querySelectorAll(SELECTOR)) {
    for (const attribute of [CONTENT, ...ATTRIBUTES]) {
      const key = element.getAttribute(marker(attribute));
      if (key !== null) show(element, say(key, values.get(element)?.[attribute]), attribute);
    }
  }
}

/** Be told when the language has changed. */
export function onLanguage(listener) {
  listeners.push(listener);
}

/** Write the page in the first language, and let people choose another. */
export async function introduceLanguages() {
  ({ language, texts } = await loading);
  mark(language);
  if (language !== FALLBACK) translate();
  document.documentElement.classList.remove('untranslated');
  const field = document.getElementById('interface-language');
  for (const [tag, { name }] of Object.entries(LANGUAGES)) {
    const option = new Option(name, tag, false, tag === language);
    option.lang = tag;
    field.append(option);
  }
  field.addEventListener('change', () => change(field.value));
}

async function change(wanted) {
  const found = await load(wanted).catch(() => null);
  if (found === null) { // the status says that the server is gone
    document.getElementById('interface-language').value = language;
    return;
  }
  ({ language, texts } = found);
  mark(language);
  keep(language);
  translate();
  for (const listener of listeners) listener();
}

// --- what languages write in their own ways ---

/** Something that is written when it is shown. */
function later(write) {
  return { toString: write };
}

function number(value, options) {
  return new Intl.NumberFormat(language, options).format(value);
}

/** A share of 1, in whole percent. */
export function percent(share) {
  return later(() => number(share, { style: 'percent' }));
}

export function megabytes(bytes) {
  const mb = bytes / 1e6;
  const digits = mb < 10 ? 1 : 0;
  const options = { style: 'unit', unit: 'megabyte', minimumFractionDigits: digits, maximumFractionDigits: digits };
  return later(() => number(mb, options));
}

/** The name of a language. */
export function languageName(tag, otherwise = tag) {
  return later(() => nameOf('language', tag) ?? otherwise);
}

export function scriptName(code) {
  return later(() => nameOf('script', code) ?? code);
}

function nameOf(type, code) {
  try {
    return new Intl.DisplayNames(language, { type, fallback: 'none' }).of(code) ?? null;
  } catch {
    return null; // a private tag
  }
}

/** Compare names as the page's language sorts them. */
export function collator() {
  return new Intl.Collator(language);
}

/** Whether the page is in the language of the server's names. */
export function isEnglish() {
  return language === 'en';
}
