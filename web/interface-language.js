/*
 * Choose the language of the page's own text, and begin to load that text.
 *
 * A classic script, because it has to run before anything is shown: otherwise the page
 * would be English for a moment. `interface-text.js` does the rest.
 */

{
  // A new language is a line here and a file in texts/.
  const LANGUAGES = {
    en: { name: 'English', direction: 'ltr' },
    de: { name: 'Deutsch', direction: 'ltr' },
  };
  const FALLBACK = 'en'; // the language of index.html
  const KEPT = 'omniasr-interface-language';

  const root = document.documentElement;
  const folder = new URL('texts/', document.currentScript.src);

  /** The language that fits a tag best, by RFC 4647's lookup: de for de-AT; or undefined. */
  const fitting = (tag) => {
    const parts = tag.split('-');
    return parts.map((_, k) => parts.slice(0, parts.length - k).join('-')).find((own) => Object.hasOwn(LANGUAGES, own));
  };

  const kept = () => {
    try {
      return localStorage.getItem(KEPT);
    } catch {
      return null; // the browser lets pages keep nothing
    }
  };

  const keep = (language) => {
    try {
      localStorage.setItem(KEPT, language);
    } catch { /* it is chosen until the page is left */ }
  };

  const load = async (language) => {
    const answer = await fetch(new URL(`${language}.json`, folder));
    if (!answer.ok) throw new Error(`${answer.url}: ${answer.status}`);
    return { language, texts: await answer.json() };
  };

  const mark = (language) => {
    root.lang = language;
    root.dir = LANGUAGES[language].direction;
  };

  const wanted = [kept(), ...navigator.languages].filter(Boolean);
  const language = wanted.map(fitting).find(Boolean) ?? FALLBACK;
  mark(language);
  // Hides the page until its text is there, for a second at most.
  if (language !== FALLBACK) root.classList.add('untranslated');

  globalThis.interfaceLanguage = {
    LANGUAGES,
    FALLBACK,
    keep,
    load,
    mark,
    loading: load(language).catch(() => load(FALLBACK)),
  };
}
