/*
 * Talk to the server this page came from.
 *
 * Addresses are relative to the page, so that it works behind a proxy that puts the
 * server below some path. If the server has keys, the page asks for one once and keeps
 * it for the tab.
 */

import { english, megabytes, say, serverSays } from './interface-text.js';

const KEY = 'omniasr-key';

// What RFC 6455 lets a subprotocol consist of, which is how a socket carries a key.
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

export const TRANSCRIPTIONS = 'v1/audio/transcriptions';

/** An answer with an error; `status` is 0 if there was no answer, `message` can be shown. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null } = {}) {
    super();
    this.message = message;
    this.status = status;
    this.code = code;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export function url(path) {
  return new URL(path, document.baseURI);
}

export function headers() {
  const mine = key.get();
  return mine ? { Authorization: `Bearer ${mine}` } : {};
}

/**
 * Ask for JSON.
 *
 * @throws {ApiError}
 */
export async function get(path, { signal } = {}) {
  const answer = await reach(path, { signal });
  if (!answer.ok) throw await errorOf(answer);
  return answer.json();
}

let described = null;

/**
 * Ask once what the server is: its limits, and what clients of its model should know.
 *
 * @throws {ApiError}
 */
export function about() {
  described ??= get('.');
  return described;
}

/**
 * Send JSON; return the text of the answer.
 *
 * @throws {ApiError}
 */
export async function post(path, body) {
  const answer = await reach(path, { method: 'POST', body: JSON.stringify(body) });
  if (!answer.ok) throw await errorOf(answer);
  return answer.text();
}

async function reach(path, options = {}) {
  const json = { Accept: 'application/json', ...(options.body ? { 'Content-Type': 'application/json' } : {}) };
  try {
    return await fetch(url(path), { headers: { ...json, ...headers() }, cache: 'no-store', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(say('server.unreachable'));
  }
}

async function errorOf(answer) {
  const body = await answer.json().catch(() => null);
  return new ApiError(...refusal(answer.status, body));
}

/** The parts of an `ApiError`, from an answer in OpenAI's shape. */
export function refusal(status, body) {
  const error = body?.error ?? {};
  const message = error.message ? serverSays(error.message) : say('server.status', { status: String(status) });
  return [message, { status, code: error.code ?? null }];
}

/**
 * Say whether the server would take work now.
 *
 * A refused socket gives its page no reason, not even a status; this does.
 *
 * @throws {ApiError} with the status 401, 503 (loading) or 0.
 */
export async function check() {
  await get('v1/models');
  const answer = await reach('ready');
  if (answer.ok) return;
  const state = await answer.json().catch(() => ({}));
  const code = state.reason ? 'trouble' : 'model_not_ready';
  throw new ApiError(english(state.reason) ?? describeLoading(state), { status: 503, code });
}

export function describeLoading({ stage, downloaded_bytes: bytes }) {
  if (!stage) return say('server.starting');
  return bytes ? say('server.downloading', { stage: english(stage), size: megabytes(bytes) }) : english(stage);
}

/** Open a socket for a live stream; browsers can send a key only in this way. */
export function openSocket(parameters = {}) {
  const place = url(TRANSCRIPTIONS);
  place.search = new URLSearchParams(parameters);
  place.protocol = place.protocol === 'https:' ? 'wss:' : 'ws:';
  const mine = key.get();
  const protocols = mine ? ['omniasr', `openai-insecure-api-key.${mine}`] : ['omniasr'];
  const socket = new WebSocket(place, protocols);
  socket.binaryType = 'arraybuffer';
  return socket;
}

export function fitsSocket(value) {
  return TOKEN.test(value);
}
