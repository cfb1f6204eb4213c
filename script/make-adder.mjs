// Writes examples/models/adder.onnx: y = 2x + 1 for any number of f32 values, the smallest model worth paying for. The
// protobuf is written by hand, so the demo's model needs no framework to be made or checked:
//     script/node script/make-adder.mjs
import fs from 'node:fs';
import { inRoot } from './lib/paths.mjs';

const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]);
const number = (field, n) => [...varint(field << 3), ...varint(n)];
const bytes = (field, content) => [...varint((field << 3) | 2), ...varint(content.length), ...content];
const text = (field, string) => bytes(field, Buffer.from(string));

const FLOAT = 1;
const scalar = (name, value) => [
  ...number(2, FLOAT), // data_type; no dims: a scalar
  ...text(8, name),
  ...bytes(9, Buffer.from(new Float32Array([value]).buffer)), // raw_data, little-endian
];
const vector = (name) => [
  ...text(1, name),
  ...bytes(2, bytes(1, [...number(1, FLOAT), ...bytes(2, bytes(1, text(2, 'n')))])), // type: tensor of f32[n]
];
const node = (operator, inputs, output) => [
  ...inputs.flatMap((input) => text(1, input)), ...text(2, output), ...text(3, output), ...text(4, operator),
];
const graph = [
  ...bytes(1, node('Mul', ['x', 'a'], 'ax')),
  ...bytes(1, node('Add', ['ax', 'b'], 'y')),
  ...text(2, 'adder'),
  ...bytes(5, scalar('a', 2)),
  ...bytes(5, scalar('b', 1)),
  ...bytes(11, vector('x')),
  ...bytes(12, vector('y')),
];
const model = [
  ...number(1, 8), // ir_version
  ...text(2, 'opgate'), // producer_name
  ...bytes(7, graph),
  ...bytes(8, number(2, 13)), // opset_import: version 13
];

const file = inRoot('examples/models/adder.onnx');
fs.writeFileSync(file, Buffer.from(model));
console.log(`${file}: ${model.length} bytes`);
