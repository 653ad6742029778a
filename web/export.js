/*
 * Export a transcript: copied, as text, or as subtitles.
 *
 * Text needs no server. The server makes the subtitles, so that one set of rules says
 * where they break, for all clients.
 */

import * as api from './api.js';
import { say } from './interface-text.js';
import { withKey } from './key.js';
import { tell, untell } from './notices.js';
import { copy, download } from './text.js';

const SUBTITLES = 'v1/audio/subtitles';
const MEDIA_TYPES = { srt: 'application/x-subrip', vtt: 'text/vtt' };

const COPIED_MS = 4_000;
// Only transcripts of hours take longer.
const SOON_MS = 500;

/**
 * Copy or download a text, or the subtitles of its words; tell if that fails.
 *
 * @param {'copy' | 'txt' | 'json' | 'srt' | 'vtt'} action
 * @param {object} transcript `text`, `words` (as `spaced` has them), `duration` in
 *   seconds and `language` where they are known, and `name`, without an ending.
 * @returns {Promise<boolean>} Whether it worked.
 */
export async function hand(action, transcript) {
  if (action === 'copy') return handCopy(transcript.text);
  if (action === 'json') return handJson(transcript);
  if (action !== 'txt') return handSubtitles(action, transcript);
  download(`${transcript.name}.txt`, `${transcript.text}\n`, 'text/plain');
  return true;
}

async function handCopy(text) {
  const done = await copy(text);
  tell('copied', say(done ? 'download.copied' : 'download.not-copied'), { kind: done ? 'info' : 'problem' });
  if (done) setTimeout(() => untell('copied'), COPIED_MS);
  return done;
}

/** The fields of `verbose_json` that are known here. */
function handJson({ text, words, duration, name, language }) {
  const timed = words.map(({ text: word, start, end, confidence }) =>
    ({ word, start: rounded(start), end: rounded(end), confidence }));
  const body = { task: 'transcribe', language: language ?? 'und', duration: duration ?? undefined, text, words: timed };
  download(`${name}.json`, `${JSON.stringify(body, null, 2)}\n`, 'application/json');
  return true;
}

async function handSubtitles(format, { words, duration, name }) {
  untell('subtitles');
  const later = setTimeout(() => tell('subtitles', say('download.working'), { kind: 'info' }), SOON_MS);
  try {
    // A new connection may get audio again that the last one got.
    const ordered = words.map(onTheWire).sort((a, b) => a.start - b.start);
    const text = await withKey(() => api.post(SUBTITLES, { words: ordered, duration, format }));
    untell('subtitles');
    download(`${name}.${format}`, text, MEDIA_TYPES[format]);
    return true;
  } catch (error) {
    tell('subtitles', say('download.no-subtitles', { why: error.message }));
    return false;
  } finally {
    clearTimeout(later);
  }
}

function onTheWire({ text, start, end, space }) {
  return { word: text, start: rounded(start), end: rounded(end), space_before: space };
}

/** Round to a millisecond, as the server does. */
function rounded(seconds) {
  return Math.round(seconds * 1000) / 1000;
}
