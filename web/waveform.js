/*
 * Draw a recording, to show where to click.
 *
 * The browser can only decode a file as a whole, into 32-bit floats, so long ones would
 * fill the memory: above a limit the strip shows where words are instead of the level.
 * In both cases only one number for each bar is kept.
 */

const BAR_PX = 2;
const GAP_PX = 1;
const N_PEAKS = 2048;

// The longest file to decode, by its memory at the usual rate and channels.
const MAX_DECODED_BYTES = 256e6;
const BYTES_PER_SECOND = 48_000 * 2 * 4;
export const MAX_DRAWN_S = MAX_DECODED_BYTES / BYTES_PER_SECOND;

/** The peak of each part of a file, from 0 to 1; null if it cannot be known. */
export async function peaksOf(file, duration) {
  if (!(duration <= MAX_DRAWN_S) || file.size > MAX_DECODED_BYTES) return null;
  try {
    // Lowest rate that every browser has; resampled while it is decoded.
    const context = new OfflineAudioContext(1, 1, 8_000);
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    return loudest(audio);
  } catch {
    return null; // a container that this browser does not know
  }
}

function loudest(audio) {
  const samples = audio.getChannelData(0);
  const peaks = new Float32Array(N_PEAKS);
  let most = 1e-3;
  for (let k = 0; k < N_PEAKS; k += 1) {
    const from = Math.floor((k * samples.length) / N_PEAKS);
    const to = Math.max(from + 1, Math.floor(((k + 1) * samples.length) / N_PEAKS));
    for (let at = from; at < to; at += 1) peaks[k] = Math.max(peaks[k], Math.abs(samples[at]));
    most = Math.max(most, peaks[k]);
  }
  return peaks.map((peak) => peak / most);
}

/** Which parts of a recording have words, as peaks. */
export function peaksOfWords(words, duration) {
  const peaks = new Float32Array(N_PEAKS);
  for (const { start, end } of words) {
    const from = Math.floor((start / duration) * N_PEAKS);
    peaks.fill(0.6, from, Math.max(from + 1, Math.ceil((end / duration) * N_PEAKS)));
  }
  return peaks;
}

export class Waveform {
  #canvas;
  #peaks = null;
  #share = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  set peaks(peaks) {
    this.#peaks = peaks;
    this.#draw();
  }

  /** How much was played, from 0 to 1. */
  set share(share) {
    this.#share = share;
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width) return;
    const scale = devicePixelRatio;
    const wanted = [Math.round(width * scale), Math.round(height * scale)];
    if (this.#canvas.width !== wanted[0] || this.#canvas.height !== wanted[1]) {
      [this.#canvas.width, this.#canvas.height] = wanted;
    }
    const pen = this.#canvas.getContext('2d');
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const { color, accentColor } = getComputedStyle(this.#canvas);
    const n = Math.floor(width / (BAR_PX + GAP_PX));
    for (let k = 0; k < n; k += 1) {
      const tall = Math.max(2, this.#peak(k, n) * height);
      pen.fillStyle = (k + 0.5) / n <= this.#share ? accentColor : color;
      pen.fillRect(k * (BAR_PX + GAP_PX), (height - tall) / 2, BAR_PX, tall);
    }
    pen.fillStyle = accentColor;
    pen.fillRect(this.#share * width - 0.75, 0, 1.5, height);
  }

  #peak(k, n) {
    if (!this.#peaks) return 0;
    const from = Math.floor((k * N_PEAKS) / n);
    const to = Math.max(from + 1, Math.floor(((k + 1) * N_PEAKS) / n));
    return this.#peaks.subarray(from, to).reduce((most, peak) => Math.max(most, peak), 0);
  }
}
