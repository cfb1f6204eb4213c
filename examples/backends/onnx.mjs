// Reference backend: serves the one .onnx file of a model version over the Open Inference Protocol v2, on the CPU.
//     node onnx.mjs --model DIR --port PORT
// Values that JSON cannot carry exactly: 64-bit integers may come as strings and are answered as strings beyond 2^53;
// NaN and infinities are answered as null.
import ort from 'onnxruntime-node';
import { bodyJson, modelFile, optionsRead, Refusal, sendJson, serve } from './serve.mjs';

const integer = (low, high) => (value) => {
  if (!Number.isInteger(value) || value < low || value > high) throw new RangeError('not an integer in range');
  return value;
};
const integer64 = (low, high) => (value) => {
  if (typeof value !== 'string' && !Number.isSafeInteger(value)) throw new RangeError('not an exact integer');
  if (typeof value === 'string' && !/^-?[0-9]{1,20}$/.test(value)) throw new RangeError('not an integer');
  const big = BigInt(value);
  if (big < low || big > high) throw new RangeError('out of range');
  return big;
};
const real = (value) => {
  if (typeof value !== 'number') throw new TypeError('not a number');
  return value;
};
const boolean = (value) => {
  if (value !== true && value !== false && value !== 0 && value !== 1) throw new TypeError('not a boolean');
  return Number(value);
};
const string = (value) => {
  if (typeof value !== 'string') throw new TypeError('not a string');
  return value;
};

// Protocol name: the engine's name, the array that holds the values, and the check each value passes.
const DATATYPES = {
  BOOL: ['bool', Uint8Array, boolean],
  UINT8: ['uint8', Uint8Array, integer(0, 0xff)],
  UINT16: ['uint16', Uint16Array, integer(0, 0xffff)],
  UINT32: ['uint32', Uint32Array, integer(0, 0xffffffff)],
  UINT64: ['uint64', BigUint64Array, integer64(0n, 2n ** 64n - 1n)],
  INT8: ['int8', Int8Array, integer(-0x80, 0x7f)],
  INT16: ['int16', Int16Array, integer(-0x8000, 0x7fff)],
  INT32: ['int32', Int32Array, integer(-0x80000000, 0x7fffffff)],
  INT64: ['int64', BigInt64Array, integer64(-(2n ** 63n), 2n ** 63n - 1n)],
  FP32: ['float32', Float32Array, real],
  FP64: ['float64', Float64Array, real],
  BYTES: ['string', Array, string],
};
const datatypeOf = (type) => Object.keys(DATATYPES).find((name) => DATATYPES[name][0] === type) ?? type;

const options = optionsRead('onnx.mjs');
const session = await ort.InferenceSession.create(modelFile(options.model, '.onnx'), {
  executionProviders: ['cpu'], executionMode: 'sequential',
  intraOpNumThreads: Number(options.threads), interOpNumThreads: 1,
});

/// {name, datatype, shape}; a dimension without a fixed size is -1.
const described = (list) =>
  list.map(({ name, type, shape }) => ({
    name, datatype: datatypeOf(type), shape: shape.map((size) => (typeof size === 'number' ? size : -1)),
  }));

function tensorRead(input) {
  const { name, shape, datatype, data } = input ?? {};
  const wanted = session.inputMetadata.find((known) => known.name === name);
  if (!wanted) throw new Refusal(400, `unknown input ${JSON.stringify(name)}; known: ${session.inputNames.join(', ')}`);
  const wrong = (reason) => new Refusal(400, `input ${name}: ${reason}`);
  if (!Object.hasOwn(DATATYPES, datatype)) throw wrong(`unknown datatype ${JSON.stringify(datatype)}`);
  const [type, Values, check] = DATATYPES[datatype];
  if (type !== wanted.type) throw wrong(`datatype ${datatype} where the model takes ${datatypeOf(wanted.type)}`);
  if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size) && size >= 0))
    throw wrong('shape is not an array of sizes');
  if (!Array.isArray(data)) throw wrong('data is not an array');
  const flat = data.flat(Infinity);
  const count = shape.reduce((product, size) => product * size, 1);
  if (flat.length !== count) throw wrong(`shape [${shape}] needs ${count} values, data has ${flat.length}`);
  const at = (value, index) => {
    try {
      return check(value);
    } catch (error) {
      throw wrong(`value ${index} is wrong for ${datatype}: ${error.message}`);
    }
  };
  return [name, new ort.Tensor(type, Values.from(flat, at), shape)];
}

function tensorWrite(name, { type, dims, data }) {
  const plain = (value) => {
    if (type === 'bool') return value !== 0;
    if (typeof value !== 'bigint') return value;
    return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  };
  return { name, datatype: datatypeOf(type), shape: [...dims], data: Array.from(data, plain) };
}

async function infer(request, model) {
  const { id, inputs, outputs } = await bodyJson(request, Number(options['max-body']));
  if (id !== undefined && typeof id !== 'string') throw new Refusal(400, 'id is not a string');
  if (!Array.isArray(inputs)) throw new Refusal(400, 'inputs is not an array');
  const feeds = new Map(inputs.map(tensorRead));
  if (feeds.size !== inputs.length) throw new Refusal(400, 'an input is given twice');
  for (const name of session.inputNames) if (!feeds.has(name)) throw new Refusal(400, `input ${name} is missing`);
  if (outputs !== undefined && !Array.isArray(outputs)) throw new Refusal(400, 'outputs is not an array');
  const names = outputs?.length ? outputs.map((output) => output?.name) : session.outputNames;
  for (const name of names)
    if (!session.outputNames.includes(name)) throw new Refusal(400, `unknown output ${JSON.stringify(name)}`);
  let results;
  try {
    results = await session.run(Object.fromEntries(feeds), names);
  } catch (error) {
    throw new Refusal(400, `the model refused these inputs: ${error.message}`);
  }
  return { model_name: model, ...(id !== undefined && { id }), outputs: names.map((name) => tensorWrite(name, results[name])) };
}

async function route(request, response, path) {
  if (path === '/v2') return sendJson(response, 200, { name: 'opgate-onnx', version: '1', extensions: [] });
  if (path === '/v2/health/live') return sendJson(response, 200, { live: true });
  if (path === '/v2/health/ready') return sendJson(response, 200, { ready: true });
  const match = /^\/v2\/models\/([^/]+)(?:\/versions\/[^/]+)?(?:\/(ready|infer))?$/.exec(path);
  if (!match) throw new Refusal(404, `no such route: ${path}`);
  const [model, action] = [match[1].replace(/%2F/gi, '/'), match[2]]; // any name: this process serves one model
  if (request.method !== (action === 'infer' ? 'POST' : 'GET')) throw new Refusal(405, 'wrong method');
  if (action === 'infer') return sendJson(response, 200, await infer(request, model));
  if (action === 'ready') return sendJson(response, 200, { name: model, ready: true });
  sendJson(response, 200, {
    name: model, versions: ['1'], platform: 'onnxruntime_onnx',
    inputs: described(session.inputMetadata), outputs: described(session.outputMetadata),
  });
}

serve(options, route, (refusal) => ({ error: refusal.message }));
