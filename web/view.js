/*
 * How captions look: their times, the size of their text, the whole screen. The choice is
 * kept in the browser.
 */

import { say, write } from './interface-text.js';

const KEPT = 'omniasr-view';
const SIZES = [0.6, 0.8, 1, 1.25, 1.6, 2];
const FIRST = { times: true, size: 2 };

const panel = document.getElementById('panel-live');
const box = document.getElementById('captions');
const times = document.getElementById('caption-times');
const smaller = document.getElementById('caption-smaller');
const larger = document.getElementById('caption-larger');
const full = document.getElementById('caption-full');

export function arrangeCaptions() {
  let view = { ...FIRST, ...JSON.parse(localStorage.getItem(KEPT) ?? '{}') };
  const draw = () => {
    const end = box.scrollTop + box.clientHeight >= box.scrollHeight - 48;
    box.classList.toggle('timed', view.times);
    box.style.setProperty('--scale', String(SIZES[view.size]));
    times.setAttribute('aria-pressed', String(view.times));
    // Disabled in earnest they would lose the focus.
    smaller.setAttribute('aria-disabled', String(view.size === 0));
    larger.setAttribute('aria-disabled', String(view.size === SIZES.length - 1));
    if (end) box.scrollTop = box.scrollHeight;
  };
  const show = (change) => {
    view = { ...view, ...change };
    localStorage.setItem(KEPT, JSON.stringify(view));
    draw();
  };
  const resize = (step) => show({ size: Math.max(0, Math.min(SIZES.length - 1, view.size + step)) });
  times.addEventListener('click', () => show({ times: !view.times }));
  smaller.addEventListener('click', () => resize(-1));
  larger.addEventListener('click', () => resize(1));
  full.hidden = !document.fullscreenEnabled; // phones of Apple have none
  full.addEventListener('click', () => (document.fullscreenElement ? document.exitFullscreen() : panel.requestFullscreen()));
  document.addEventListener('fullscreenchange', () => {
    const on = document.fullscreenElement === panel;
    write(full, say(on ? 'view.leave-full' : 'view.full'));
    full.setAttribute('aria-pressed', String(on));
    box.scrollTop = box.scrollHeight;
  });
  draw();
}
