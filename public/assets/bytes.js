// Bytes in and out of text, and SHA-256. Used by everything here that checks something; no state.

export const utf8 = (text) => new TextEncoder().encode(text);

// One character per byte, so that positions in the text are positions in the bytes.
export function latin1(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
}

export const hex = (bytes) => '0x' + Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

// '0x…' of an even number of digits, checked by the caller.
export const unhex = (text) => Uint8Array.from(text.slice(2).match(/../g) ?? [], (pair) => parseInt(pair, 16));

export function concat(...parts) {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

// Strict: no padding, no stray bits, as the gateway writes it. null when it is anything else.
export function unbase64url(text) {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return null;
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  if (btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '') !== text) return null;
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}

// Browsers offer this only over HTTPS and on localhost; canHash says whether it is there.
export const canHash = () => Boolean(globalThis.crypto?.subtle);

export async function sha256(bytes) {
  return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)));
}
