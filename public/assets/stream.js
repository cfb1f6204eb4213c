// Does a saved event stream hold exactly the events a receipt is about? The same rules as server/proof/sse.c and stream_match.c.
import { concat, equal, latin1, sha256, unbase64url } from './bytes.js';

const EVENT_MAX = 1 << 20;
const LINE_MAX = EVENT_MAX + 64;
const RECEIPT_COMMENT = 'opgate-receipt ';

// Reads text/event-stream as browsers do. Null when a bound is passed; otherwise the data of each event, the comments, whether
// [DONE] was seen (nothing after it counts) and whether an unfinished line or event was left over. Text is one character a byte.
export function eventsRead(text) {
  const found = { events: [], comments: [], done: false, partial: false };
  let data = null; // of the event not yet ended
  let at = 0;
  for (let first = true; at < text.length && !found.done; first = false) {
    const length = text.slice(at, at + LINE_MAX + 1).search(/[\r\n]/);
    if (length < 0) {
      if (text.length - at > LINE_MAX) return null;
      found.partial = true;
      break;
    }
    let line = text.slice(at, at + length);
    at += length + (text.startsWith('\r\n', at + length) ? 2 : 1);
    if (first && line.startsWith('\xef\xbb\xbf')) line = line.slice(3);
    if (line === '') {
      if (data === '[DONE]') found.done = true;
      else if (data !== null) found.events.push(data);
      data = null;
      continue;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === '') found.comments.push(value);
    if (name === 'data') data = data === null ? value : `${data}\n${value}`;
    if (data !== null && data.length > EVENT_MAX) return null;
  }
  found.partial ||= data !== null;
  return found;
}

const bytesOf = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));

// Only comments, data lines and blank lines, all ended alike, and nothing but blank lines after [DONE]: whatever else is in the
// file was put there by somebody else, because the hash does not cover it.
function isPlain(text) {
  if (!text.endsWith('\n')) return false;
  const ending = /^[^\n]*\r\n/.test(text) ? '\r\n' : '\n';
  let done = false;
  const lines = text.split('\n').slice(0, -1);
  for (const raw of lines) {
    if (ending === '\r\n' && !raw.endsWith('\r')) return false;
    const line = ending === '\r\n' ? raw.slice(0, -1) : raw;
    if (line.includes('\r')) return false;
    if (line && (done || !(line.startsWith('data: ') || line.startsWith(':')))) return false;
    done ||= line === 'data: [DONE]';
  }
  return true;
}

// 'same', 'other', 'stray' (the right events and something else) or 'other receipt'.
export async function streamMatch(body, want, receiptBytes) {
  const text = latin1(body);
  const found = eventsRead(text);
  if (!found || (found.events.length === 0 && !found.done)) return 'other';
  const hashed = concat(...found.events.map((data) => bytesOf(`${data}\n`)));
  if (await sha256(hashed) !== want) return 'other';
  for (const comment of found.comments.filter((c) => c.startsWith(RECEIPT_COMMENT))) {
    const carried = unbase64url(comment.slice(RECEIPT_COMMENT.length));
    if (!carried || !equal(carried, receiptBytes)) return 'other receipt';
  }
  return found.partial || !isPlain(text) ? 'stray' : 'same';
}

// What a page may want to show of a stream: the receipt it carries, if it carries one.
export function streamReceipt(body) {
  const comment = eventsRead(latin1(body))?.comments.findLast((c) => c.startsWith(RECEIPT_COMMENT));
  return comment ? unbase64url(comment.slice(RECEIPT_COMMENT.length)) : null;
}

