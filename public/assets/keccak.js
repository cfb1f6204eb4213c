// Keccak-256 as Ethereum uses it (padding byte 0x01, not SHA-3's 0x06). Small rather than fast: a receipt needs a few blocks.

const RATE = 136; // bytes absorbed per permutation: (1600 - 2·256) / 8
const MASK = (1n << 64n) - 1n;

const ROUND_CONSTANTS = [
  0x0000000000000001n, 0x0000000000008082n, 0x800000000000808an, 0x8000000080008000n, 0x000000000000808bn, 0x0000000080000001n,
  0x8000000080008081n, 0x8000000000008009n, 0x000000000000008an, 0x0000000000000088n, 0x0000000080008009n, 0x000000008000000an,
  0x000000008000808bn, 0x800000000000008bn, 0x8000000000008089n, 0x8000000000008003n, 0x8000000000008002n, 0x8000000000000080n,
  0x000000000000800an, 0x800000008000000an, 0x8000000080008081n, 0x8000000000008080n, 0x0000000080000001n, 0x8000000080008008n,
];
// How far lane (x, y) turns, and in which order the lanes move; both follow from walking (x, y) → (y, 2x + 3y).
const TURNS = [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44].map(BigInt);
const MOVES = [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1];

const rotate = (lane, by) => ((lane << by) | (lane >> (64n - by))) & MASK;

// `a` is 25 lanes of 64 bits, lane (x, y) at x + 5y.
function permute(a) {
  for (const constant of ROUND_CONSTANTS) {
    const column = [0, 1, 2, 3, 4].map((x) => a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20]); // theta
    for (let i = 0; i < 25; i++) a[i] ^= column[(i + 4) % 5] ^ rotate(column[(i + 1) % 5], 1n);
    let lane = a[1]; // rho and pi
    for (let i = 0; i < 24; i++) {
      const next = a[MOVES[i]];
      a[MOVES[i]] = rotate(lane, TURNS[i]);
      lane = next;
    }
    for (let y = 0; y < 25; y += 5) { // chi
      const row = a.slice(y, y + 5);
      for (let x = 0; x < 5; x++) a[y + x] = row[x] ^ (~row[(x + 1) % 5] & MASK & row[(x + 2) % 5]);
    }
    a[0] ^= constant; // iota
  }
}

export function keccak256(bytes) {
  const padded = new Uint8Array(Math.floor(bytes.length / RATE + 1) * RATE);
  padded.set(bytes);
  padded[bytes.length] = 0x01;
  padded[padded.length - 1] |= 0x80;
  const view = new DataView(padded.buffer);
  const state = new Array(25).fill(0n);
  for (let block = 0; block < padded.length; block += RATE) {
    for (let i = 0; i < RATE / 8; i++) state[i] ^= view.getBigUint64(block + 8 * i, true);
    permute(state);
  }
  const out = new DataView(new ArrayBuffer(32));
  for (let i = 0; i < 4; i++) out.setBigUint64(8 * i, state[i], true);
  return new Uint8Array(out.buffer);
}
