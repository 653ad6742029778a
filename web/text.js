/*
 * Words with times, and the text they are written as.
 *
 * The server's words have no spaces, because many languages have none. The text shows
 * whether a space precedes a word.
 */

/**
 * Give each word `space`, whether a space precedes it, and `text`.
 *
 * @param {{word: string, start: number, end: number, confidence: number}[]} words
 * @param {string} text The text of the words, in order.
 */
export function spaced(words, text) {
  let at = 0;
  return words.map(({ word, start, end, confidence }) => {
    const found = text.indexOf(word, at);
    const space = found > at && /\s/u.test(text.slice(at, found));
    at = (found < 0 ? at : found) + word.length;
    return { text: word, start, end, confidence, space };
  });
}

/** Leave out case and accents, to compare. */
export function fold(text) {
  return text.normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase();
}

export function joined(words) {
  return words.map(({ text, space }, k) => (space && k > 0 ? ` ${text}` : text)).join('');
}

/** An utterance some seconds later. */
export function shifted(utterance, seconds) {
  const later = ({ start, end, ...rest }) => ({ ...rest, start: start + seconds, end: end + seconds });
  return { ...later(utterance), words: utterance.words.map(later) };
}

/** 0:00, or 0:00:00 from an hour on. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Hand a text over as a file. */
export function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Copy, even if the page is not secure and has no clipboard; return whether it worked. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.readOnly = true;
    area.className = 'hidden';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
