// Which Ethereum address made a signature: ECDSA public key recovery over secp256k1 (SEC 1, 4.1.6), and nothing else.
// It handles no secret, so it may take the time it takes: plain BigInt arithmetic, no tricks.
//
// The curve is y² = x³ + 7 over the integers modulo P; G generates a group of N points.
import { hex, unhex } from './bytes.js';
import { keccak256 } from './keccak.js';

const P = 2n ** 256n - 2n ** 32n - 977n;
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const G = {
  x: 0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n,
  y: 0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n,
  z: 1n,
};

// s above this is the same signature spelled another way; accepting it would give one receipt two texts.
export const HALF_ORDER = N >> 1n;

const mod = (a, m) => {
  const r = a % m;
  return r < 0n ? r + m : r;
};

// 1/a modulo m, by Euclid's algorithm. m is prime and a is not a multiple of it.
function invert(a, m) {
  let [r0, r1, t0, t1] = [m, mod(a, m), 0n, 1n];
  while (r1 !== 0n) {
    const q = r0 / r1;
    [r0, r1, t0, t1] = [r1, r0 - q * r1, t1, t0 - q * t1];
  }
  return mod(t0, m);
}

// base^exponent modulo P.
function power(base, exponent) {
  let result = 1n;
  for (let b = base, e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * b) % P;
    b = (b * b) % P;
  }
  return result;
}

// Points are Jacobian: (x, y, z) stands for (x/z², y/z³), so that adding needs no division. z = 0 is the point at infinity.
const INFINITY = { x: 1n, y: 1n, z: 0n };

function double({ x, y, z }) {
  if (z === 0n || y === 0n) return INFINITY;
  const y2 = (y * y) % P;
  const s = (4n * x * y2) % P;
  const m = (3n * x * x) % P;
  const x3 = mod(m * m - 2n * s, P);
  return { x: x3, y: mod(m * (s - x3) - 8n * y2 * y2, P), z: (2n * y * z) % P };
}

function add(a, b) {
  if (a.z === 0n) return b;
  if (b.z === 0n) return a;
  const az2 = (a.z * a.z) % P;
  const bz2 = (b.z * b.z) % P;
  const u1 = (a.x * bz2) % P; // the two x on a common denominator …
  const u2 = (b.x * az2) % P;
  const s1 = (a.y * bz2 * b.z) % P; // … and the two y
  const s2 = (b.y * az2 * a.z) % P;
  const h = mod(u2 - u1, P);
  const r = mod(s2 - s1, P);
  if (h === 0n) return r === 0n ? double(a) : INFINITY; // the same point, or its mirror image
  const h2 = (h * h) % P;
  const h3 = (h2 * h) % P;
  const x3 = mod(r * r - h3 - 2n * u1 * h2, P);
  return { x: x3, y: mod(r * (u1 * h2 - x3) - s1 * h3, P), z: (h * a.z * b.z) % P };
}

function multiply(point, scalar) {
  let result = INFINITY;
  for (const bit of scalar.toString(2)) {
    result = double(result);
    if (bit === '1') result = add(result, point);
  }
  return result;
}

// The point with this x whose y is odd or even, or null: only about half of all x are on the curve.
function pointAt(x, odd) {
  const square = (x * x * x + 7n) % P;
  const y = power(square, (P + 1n) / 4n); // a square root, if there is one, because P mod 4 = 3
  if ((y * y) % P !== square) return null;
  return { x, y: (y & 1n) === (odd ? 1n : 0n) ? y : P - y, z: 1n };
}

// The last 20 bytes of the Keccak-256 of both coordinates.
function addressOf(point) {
  const z = invert(point.z, P);
  const z2 = (z * z) % P;
  const words = [(point.x * z2) % P, (point.y * z2 * z) % P].map((v) => v.toString(16).padStart(64, '0'));
  return hex(keccak256(unhex('0x' + words.join(''))).subarray(12));
}

// digest: 32 bytes that were signed; signature: 65 bytes r, s, v. The signer's address in lower case, or null when no key
// could have made this signature.
export function recoverAddress(digest, signature) {
  const number = (bytes) => BigInt(hex(bytes));
  const r = number(signature.subarray(0, 32));
  const s = number(signature.subarray(32, 64));
  const v = signature[64];
  if (signature.length !== 65 || digest.length !== 32 || (v !== 27 && v !== 28)) return null;
  if (r === 0n || r >= N || s === 0n || s > HALF_ORDER) return null;
  const R = pointAt(r, v === 28);
  if (!R) return null;
  // s·R = z·G + r·Q  for the signer's point Q, so  Q = (s/r)·R - (z/r)·G
  const inverse = invert(r, N);
  const q = add(multiply(R, mod(s * inverse, N)), multiply(G, mod(-number(digest) * inverse, N)));
  return q.z === 0n ? null : addressOf(q);
}
