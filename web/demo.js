/*
 * Say what the demo model knows, and offer a recording that it understands.
 *
 * It turns everything but digits into nonsense, which people would take for the server's.
 */

import * as api from './api.js';
import { say } from './interface-text.js';
import { tell } from './notices.js';

const SAMPLE = 'web/sample.flac';

const banner = document.getElementById('demo');

/** @param {function(File)} transcribe Is given the sample. */
export async function introduceDemo(transcribe) {
  const { warnings } = await api.about().catch(() => ({})); // the status says so
  if (!warnings?.some(({ code }) => code === 'demo_model')) return;
  document.getElementById('demo-sample').addEventListener('click', async () => {
    try {
      transcribe(await sample());
    } catch {
      tell('file', say('demo.missing'));
    }
  });
  for (const own of document.querySelectorAll('[data-model]')) own.hidden = own.dataset.model !== 'demo';
  banner.hidden = false;
}

async function sample() {
  const answer = await fetch(api.url(SAMPLE));
  if (!answer.ok) throw new Error(answer.statusText);
  return new File([await answer.blob()], 'digits.flac', { type: 'audio/flac' });
}
