/*
 * Cut words into subtitles and write them as SRT and WebVTT, as the server does.
 *
 * The server cuts those of recordings; live captions never were one, so their words are
 * cut here, by the same rules: two lines of 42 columns for at most 7 s, a cut at every
 * long pause, elsewhere the division that costs least in all. `subtitles.py` explains
 * the prices, and tests compare the two. Times are in seconds.
 */

import { joined } from './text.js';

const MAX_COLUMNS = 42;
const MAX_S = 7;
const MIN_S = 1;
const READING_COLUMNS_PER_S = 17;
const LINGER_S = 0.5;
const MIN_GAP_S = 0.08;
const MAX_FLICKER_S = 0.5;

// Utterances and segments end at such a pause.
export const LONG_PAUSE_S = 0.8;

const PRICE_SENTENCE = -4;
const PRICE_CLAUSE = 1;
const PRICE_SPACE = 4;
const PRICE_NO_SPACE = 20;
const PRICE_IN_WORD = 40;
const DISCOUNT_PAUSE = 4;
const PRICE_EMPTY = 3;
const PRICE_BRIEF_PER_S = 20;
const PRICE_UNEVEN = 8;
const PRICE_TOP_HEAVY = 0.5;
const LINE_SHARE = 0.5;

const CLOSERS = '[\\p{Pe}\\p{Pf}\\p{Pi}\\p{Quotation_Mark}]*$';
const SENTENCE_END = new RegExp(`[\\p{Sentence_Terminal}…]${CLOSERS}`, 'u');
const CLAUSE_END = new RegExp(`[\\p{Terminal_Punctuation}\\p{Dash}]${CLOSERS}`, 'u');
const FULL_STOP = new RegExp(`[.…]${CLOSERS}`, 'u');
const INITIAL = new RegExp(`(?<![\\p{L}\\p{M}])\\p{L}\\.${CLOSERS}`, 'u');
const LOWER_CASE = /^\P{L}*\p{Ll}/u;
const WIDE = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\p{sc=Bopomofo}\p{sc=Yi}\u3000-\u303e\uff01-\uff60\p{Emoji_Presentation}]/u;
const NO_COLUMN = /^[\p{M}\p{Cf}\p{Cc}]+$/u;
const NO_START = /^[\p{M}\p{Pe}\p{Pf}!?.,:;…、。々ー・ぁぃぅぇぉっゃゅょァィゥェォッャュョะาำๅๆฯະາຳໆຯ]/u;
const NO_END = /[\p{Ps}\p{Pi}\p{Logical_Order_Exception}]$/u;

const graphemes = (text) => Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
const columnsOf = (cluster) => (NO_COLUMN.test(cluster) ? 0 : WIDE.test(cluster) ? 2 : 1);
const columns = (text) => graphemes(text).reduce((sum, cluster) => sum + columnsOf(cluster), 0);

/**
 * Divide words into cues.
 *
 * @param {{text: string, start: number, end: number, space: boolean}[]} words
 * @param {number} end Where the recording ends.
 * @returns {{start: number, end: number, lines: string[]}[]}
 */
export function cues(words, end = Infinity) {
  const runs = stretches(pieces(words));
  const drafts = runs.flatMap((run, k) => divide(run, runs[k + 1]?.[0].start ?? Infinity));
  let earliest = 0;
  return drafts.map((draft, k) => {
    const start = Math.max(draft.start, earliest);
    earliest = endOf(draft, start, drafts[k + 1]?.start ?? end);
    return { start, end: earliest, lines: draft.lines };
  });
}

export function srt(cues) {
  return timesMs(cues).map(([start, end, text], k) =>
    `${k + 1}\n${stamp(start, ',')} --> ${stamp(end, ',')}\n${text}\n\n`).join('');
}

export function vtt(cues) {
  const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `WEBVTT\n\n${timesMs(cues).map(([start, end, text]) =>
    `${stamp(start, '.')} --> ${stamp(end, '.')}\n${escaped(text)}\n\n`).join('')}`;
}

// --- what no line may break ---

function pieces(words) {
  const units = [];
  for (const word of words) {
    const last = units.at(-1);
    if (last && inseparable(last.at(-1), word) && columns(joined([...last, word])) <= MAX_COLUMNS) {
      last.push(word);
    } else units.push([word]);
  }
  return units.flatMap(fitting);
}

function inseparable(left, right) {
  if (right.space || right.start - left.end >= LONG_PAUSE_S) return false;
  return NO_START.test(right.text) || NO_END.test(left.text);
}

/** Break a word that is too long for a line into equal parts, if it is. */
function fitting(unit) {
  const clusters = graphemes(joined(unit));
  const total = clusters.reduce((sum, cluster) => sum + columnsOf(cluster), 0);
  const longest = Math.ceil(total / (Math.ceil(total / MAX_COLUMNS) || 1));
  const start = unit[0].start;
  const length = Math.max(unit.at(-1).end - start, 0);
  const at = (column) => start + (length * column) / Math.max(total, 1);
  const parts = [];
  let done = 0;
  for (const cluster of clusters) {
    const n = columnsOf(cluster);
    const part = parts.at(-1);
    if (part && part.columns + n <= longest) {
      part.text += cluster;
      part.columns += n;
    } else {
      const first = parts.length === 0;
      parts.push({ text: cluster, columns: n, start: at(done), space: first && unit[0].space, inWord: !first });
    }
    done += n;
    parts.at(-1).end = at(done);
  }
  return parts;
}

function stretches(all) {
  const runs = [];
  for (const piece of all) {
    const last = runs.at(-1);
    if (last && piece.start - last.at(-1).end < LONG_PAUSE_S) last.push(piece);
    else runs.push([piece]);
  }
  return runs;
}

// --- the cheapest division ---

/** Divide pieces without a long pause among them; each cue lasts as long as its sound. */
function divide(run, nextStart) {
  const measure = new Measure(run, nextStart);
  const costs = [0, ...run.map(() => Infinity)];
  const begins = costs.map(() => 0);
  for (let i = 0; i < run.length; i += 1) {
    for (let j = i + 1; j <= measure.furthestEnd(i); j += 1) {
      if (j > i + 1 && run[j - 1].end > run[i].start + MAX_S) break;
      const cost = costs[i] + measure.price(i, j) + LINE_SHARE * Math.max(measure.middle(i, j)[0], 0);
      if (cost < costs[j]) [costs[j], begins[j]] = [cost, i];
    }
  }
  const found = [];
  for (let j = run.length; j > 0; j = begins[j]) {
    const i = begins[j];
    found.unshift({ start: run[i].start, end: run[j - 1].end, lines: measure.lines(i, j) });
  }
  return found;
}

/** What it costs to divide pieces, which lie on one endless line. */
class Measure {
  constructor(run, nextStart) {
    this.run = run;
    this.starts = [...run.map((piece) => piece.start), nextStart];
    this.left = [];
    this.right = [];
    let column = 0;
    for (const piece of run) {
      this.left.push(column + (piece.space ? 1 : 0));
      column = this.left.at(-1) + piece.columns;
      this.right.push(column);
    }
    this.prices = [0, ...run.slice(1).map((piece, k) => breakPrice(run[k], piece)), 0];
  }

  width(i, j) {
    return this.right[j - 1] - this.left[i];
  }

  lineEnd(i) {
    let j = i + 1;
    while (j < this.run.length && this.width(i, j + 1) <= MAX_COLUMNS) j += 1;
    return j;
  }

  furthestEnd(i) {
    const end = this.lineEnd(i);
    return end < this.run.length ? this.lineEnd(end) : end;
  }

  price(i, j) {
    const empty = 1 - this.width(i, j) / (2 * MAX_COLUMNS);
    const brief = Math.max(MIN_S - (this.starts[j] - this.starts[i]), 0);
    return this.prices[j] + PRICE_EMPTY * empty * empty + PRICE_BRIEF_PER_S * brief;
  }

  /** The price of the best line break, and where it is; none for what fits into one. */
  middle(i, j) {
    if (this.width(i, j) <= MAX_COLUMNS) return [0, j];
    let best = [Infinity, j];
    for (let k = i + 1; k <= this.lineEnd(i); k += 1) {
      const [upper, lower] = [this.width(i, k), this.right[j - 1] - this.left[k]];
      if (lower > MAX_COLUMNS) continue;
      const uneven = (upper - lower) / MAX_COLUMNS;
      const price = this.prices[k] + PRICE_UNEVEN * uneven * uneven + (upper > lower ? PRICE_TOP_HEAVY : 0);
      if (price < best[0]) best = [price, k];
    }
    return best;
  }

  lines(i, j) {
    const [, k] = this.middle(i, j);
    const parts = k < j ? [this.run.slice(i, k), this.run.slice(k, j)] : [this.run.slice(i, j)];
    return parts.map(joined);
  }
}

function breakPrice(left, right) {
  if (right.inWord) return PRICE_IN_WORD;
  const pause = Math.max(right.start - left.end, 0);
  return placePrice(left, right) - (DISCOUNT_PAUSE * pause) / LONG_PAUSE_S;
}

function placePrice(left, right) {
  if (endsSentence(left.text, right.text)) return PRICE_SENTENCE;
  if (CLAUSE_END.test(left.text) && !SENTENCE_END.test(left.text)) return PRICE_CLAUSE;
  return right.space ? PRICE_SPACE : PRICE_NO_SPACE;
}

function endsSentence(text, following) {
  if (INITIAL.test(text)) return false;
  if (FULL_STOP.test(text) && LOWER_CASE.test(following)) return false;
  return SENTENCE_END.test(text);
}

// --- times ---

/** Where a cue ends: as late as reading takes, and as the next one lets it. */
function endOf(draft, start, nextStart) {
  const reading = draft.lines.reduce((sum, line) => sum + columns(line), 0) / READING_COLUMNS_PER_S;
  let end = Math.max(draft.end + LINGER_S, start + Math.max(MIN_S, reading));
  const latest = nextStart - MIN_GAP_S;
  if (latest - end < MAX_FLICKER_S) end = latest;
  return Math.max(Math.min(end, start + MAX_S), start + 0.001);
}

function timesMs(cues) {
  let earliest = 0;
  return cues.map(({ start, end, lines }) => {
    const from = Math.max(Math.round(start * 1000), earliest);
    earliest = Math.max(Math.round(end * 1000), from + 1);
    return [from, earliest, lines.join('\n')];
  });
}

function stamp(ms, point) {
  const two = (n) => String(n).padStart(2, '0');
  const whole = Math.floor(ms / 1000);
  const time = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60].map(two).join(':');
  return `${time}${point}${String(ms % 1000).padStart(3, '0')}`;
}
