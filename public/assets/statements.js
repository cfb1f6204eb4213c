// The statements opgate's parties sign: their canonical form and their EIP-712 digest. The same rules as server/proof/document.c
// and statements.c: what is accepted here is accepted there, byte for byte.
import { concat, latin1, sha256, unhex, utf8 } from './bytes.js';
import { keccak256 } from './keccak.js';
import { HALF_ORDER, recoverAddress } from './secp256k1.js';

const BYTES_MAX = 4096;
const HEAD = '{"domain":{"name":"opgate","version":"1","chainId":"';
const HEX_DIGITS = { bytes16: 32, bytes32: 64, address: 40 };
const NUMBER_MAX = { uint16: 2n ** 16n - 1n, uint32: 2n ** 32n - 1n, uint64: 2n ** 64n - 1n };
const TEXT_MAX = 63;

// A field's place is its place in the signature.
export const RECEIPT = 'Receipt(bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,bytes32 requestHash,'
  + 'bytes32 responseHash,bytes32 profileHash,uint16 status,string policy,uint64 inputUnits,uint64 outputUnits,uint64 startedAt,'
  + 'uint64 finishedAt)';
export const NODE_STATEMENT = 'NodeStatement(address gateway,address node,address operator,bytes32 modelDigest,bytes32 profileHash,'
  + 'uint64 registeredAt,uint64 issuedAt)';

export const fieldsOf = (type) => type.slice(type.indexOf('(') + 1, -1).split(',').map((field) => {
  const [kind, name] = field.split(' ');
  return { kind, name };
});

export class FormError extends Error {}

// Walks the text against the form, literal by literal. Returns {chainId, message, signature}; numbers are BigInt, hex is '0x…'.
export function statementRead(type, bytes) {
  const text = latin1(bytes);
  let at = 0;
  const refuse = (expected) => { throw new FormError(`byte ${at}: expected ${expected}`); };
  const take = (literal) => {
    if (!text.startsWith(literal, at)) refuse(literal);
    at += literal.length;
  };
  const takeHex = (digits) => {
    take('"0x');
    const value = text.slice(at, at + digits);
    if (value.length < digits) refuse('more hex digits');
    if (!/^[0-9a-f]*$/.test(value)) refuse('lower-case hex digits');
    at += digits;
    take('"');
    return '0x' + value;
  };
  const takeText = () => {
    const value = /^[ !#-[\]-~]*/.exec(text.slice(at))[0]; // printable ASCII without quote and backslash
    at += value.length;
    take('"');
    return value;
  };
  const takeNumber = (max) => {
    const from = at;
    const value = takeText();
    if (/^(0|[1-9][0-9]{0,19})$/.test(value) && BigInt(value) <= max) return BigInt(value);
    at = from;
    return refuse('a decimal number in range, without sign or leading zero');
  };
  const takeField = (kind) => {
    if (HEX_DIGITS[kind]) return takeHex(HEX_DIGITS[kind]);
    take('"');
    if (NUMBER_MAX[kind]) return takeNumber(NUMBER_MAX[kind]);
    const from = at;
    const value = takeText();
    if (value.length <= TEXT_MAX) return value;
    at = from;
    return refuse('a shorter text');
  };

  if (bytes.length > BYTES_MAX) refuse('a shorter document');
  take(HEAD);
  const chainId = takeNumber(NUMBER_MAX.uint64);
  take('},"message":{');
  const message = {};
  for (const [i, { kind, name }] of fieldsOf(type).entries()) {
    take(`${i ? ',' : ''}"${name}":`);
    message[name] = takeField(kind);
  }
  take('},"signature":');
  const signature = takeHex(130);
  take('}');
  if (at !== text.length) refuse('the end');
  const v = parseInt(signature.slice(130), 16);
  if ((v !== 27 && v !== 28) || BigInt('0x' + signature.slice(66, 130)) > HALF_ORDER) refuse('a signature with low s and v 27 or 28');
  return { chainId, message, signature };
}

const word = (number) => unhex('0x' + number.toString(16).padStart(64, '0'));

function encode(kind, value) {
  if (kind === 'string') return keccak256(utf8(value));
  if (kind === 'bytes16') return unhex(value.padEnd(66, '0')); // bytes stand on the left of their word …
  return word(BigInt(value)); // … addresses and numbers on the right
}

// What the signer signed, 32 bytes.
export function statementDigest(type, { chainId, message }) {
  const struct = keccak256(concat(keccak256(utf8(type)), ...fieldsOf(type).map(({ kind, name }) => encode(kind, message[name]))));
  const domain = keccak256(concat(keccak256(utf8('EIP712Domain(string name,string version,uint256 chainId)')),
    keccak256(utf8('opgate')), keccak256(utf8('1')), word(chainId)));
  return keccak256(concat(Uint8Array.of(0x19, 0x01), domain, struct));
}

// The signer's address, or null when no key could have made the signature.
export function statementSigner(type, statement) {
  return recoverAddress(statementDigest(type, statement), unhex(statement.signature));
}

// SHA-256 of METHOD SP path LF, content-type LF, Inference-Header-Content-Length or empty LF, and the SHA-256 of the body.
export async function requestHash({ method, path, contentType, headerLength = '', body }) {
  return sha256(concat(utf8(`${method} ${path}\n${contentType}\n${headerLength}\n`), unhex(await sha256(body))));
}
