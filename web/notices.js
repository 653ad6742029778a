/*
 * Tell people what is wrong, and what to do.
 *
 * A notice has a subject; a new one with the same subject replaces it. Countdowns are
 * hidden from screen readers, which would read out every second.
 */

import { say, serverSays, write } from './interface-text.js';

// They lie over the page and never move it.
const toasts = document.getElementById('notices');
const shown = new Map();

// Subjects of warnings that are not called by their codes.
const SUBJECTS = { keywords_left_out: 'keywords' };

/**
 * @param {string} subject
 * @param {Message} message From `interface-text.js`.
 * @param {object} [options] `kind`: 'problem' or 'info'; `action`: {label, run};
 *   `until`: a time of `Date.now()` to count down to; `stays`: cannot be dismissed; `region`:
 *   where it stands, if not over the page.
 */
export function tell(subject, message, options = {}) {
  const { kind = 'problem', action = null, until = null, stays = false, region = toasts } = options;
  const text = String(message);
  const before = shown.get(subject);
  if (before?.text === text && !action) return;
  untell(subject);
  const notice = document.createElement('div');
  notice.className = 'notice';
  notice.dataset.subject = subject;
  notice.dataset.kind = kind;
  notice.setAttribute('role', kind === 'problem' ? 'alert' : 'status');
  const paragraph = document.createElement('p');
  write(paragraph, message);
  notice.append(paragraph);
  const timer = until === null ? null : countDown(notice, until);
  if (action) notice.append(button(action.label, action.run));
  if (!stays) {
    const close = button('×', () => untell(subject));
    close.className = 'notice-close';
    write(close, say('notice.dismiss'), 'aria-label');
    notice.append(close);
  }
  region.append(notice);
  shown.set(subject, { notice, text, timer });
}

/** Tell what the server did not do as asked. */
export function warn(warnings) {
  for (const { code, message } of warnings ?? []) {
    // The page says the first by itself, at any time.
    if (code !== 'demo_model') tell(SUBJECTS[code] ?? code, serverSays(message), { kind: 'info' });
  }
}

export function untell(subject) {
  const entry = shown.get(subject);
  if (!entry) return;
  clearInterval(entry.timer);
  entry.notice.remove();
  shown.delete(subject);
}

function button(label, run) {
  const made = document.createElement('button');
  made.type = 'button';
  write(made, label);
  made.addEventListener('click', run);
  return made;
}

function countDown(notice, until) {
  const left = document.createElement('span');
  left.className = 'notice-left';
  left.setAttribute('aria-hidden', 'true');
  const show = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    write(left, seconds > 0 ? say('notice.left', { n: seconds }) : say('notice.now'));
  };
  show();
  notice.append(left);
  return setInterval(show, 250);
}
