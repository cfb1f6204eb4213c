// Statements of inference, as OpenGradient's servers send them to be put on chain.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { base64 } from './payer.mjs';
import { accountMake, assertStatus, call, sql, uuid } from './stack.mjs';

const seller = await accountMake();
const jobOf = async (id) => assertStatus(await call('GET', `/facilitator/settle/${id}`), 200).json;

test('settle_data takes statements as OpenGradient\'s servers send them', async () => {
  const bytes32 = (text) => Buffer.from(text.padEnd(32, '.')).toString('hex');
  const statement = { tee_id: `0x${bytes32('tee')}`, input_hash: bytes32('in'), output_hash: bytes32(uuid().slice(0, 8)), tee_signature: Buffer.alloc(256, 7).toString('base64'), tee_timestamp: 1_700_000_000, timestamp: 1_700_000_000 };
  const individual = { ...statement, input: '{"a":"é"}', output: 'hi', timestamp: '1700000000', eth_address: seller.account.address };
  const send = (type, data) => call('POST', '/facilitator/settle_data', { body: {}, headers: { ...(type && { 'x-settlement-type': type }), ...(data && { 'x-settlement-data': base64(data) }) } });
  for (const type of ['private', 'pivate', 'PRIVATE']) assert.equal(assertStatus(await send(type), 202).json.settlementJob, null);
  const ids = [];
  for (const [type, data, name] of [['batch', statement, 'batch'], ['individual', individual, 'individual'], ['inidvidual', { ...individual, tee_timestamp: '0x65540e00' }, 'individual']]) {
    const { settlementJob } = assertStatus(await send(type, data), 202).json;
    assert.match(settlementJob.jobId, new RegExp(`^settlement-${name}-[0-9a-f-]{36}$`));
    assert.deepEqual([settlementJob.settlementType, settlementJob.status], [name, 'queued']);
    assert.deepEqual(await jobOf(settlementJob.jobId), settlementJob);
    assert.equal(assertStatus(await send(type, data), 202).json.settlementJob.jobId, settlementJob.jobId, 'the same statement is the same job');
    ids.push(settlementJob.jobId.slice(-36));
  }
  assert.equal(new Set(ids).size, 3);
  const [[type, tee, signature, at, address, input]] = sql(`SELECT type, encode(tee_id, 'hex'), octet_length(tee_signature), tee_timestamp, encode(eth_address, 'hex'), input FROM data_settlement WHERE id = '${ids[1]}'`);
  assert.deepEqual([type, tee, signature, at, `0x${address}`, input], ['individual', bytes32('tee'), '256', '1700000000', seller.address, individual.input]);
  assertStatus(await call('GET', `/facilitator/settle/settlement-individual-${ids[0]}`), 404);
  const without = (data, name) => Object.fromEntries(Object.entries(data).filter(([key]) => key !== name));
  const error = async (type, data) => assertStatus(await send(type, data), 400).json.error;
  assert.equal(await error('batch', without(statement, 'tee_id')), 'Missing required settlement field. Expected one of: tee_id');
  assert.equal(await error('individual', without(individual, 'input')), 'Missing required settlement field. Expected one of: input');
  assert.equal(await error('weekly', statement), 'Unsupported x-settlement-type: weekly');
  assert.match(await error(undefined, statement), /^Unsupported x-settlement-type/);
  for (const bad of [{ tee_id: '0x12' }, { tee_id: 12 }, { output_hash: 'zz'.repeat(32) }, { tee_signature: '%%%' }, { tee_timestamp: 1.5 }, { tee_timestamp: -1 }, { tee_timestamp: '9'.repeat(30) }])
    assert.match(await error('batch', { ...statement, ...bad }), /^(Invalid|Missing required) settlement field/, JSON.stringify(bad));
  assert.match(await error('individual', { ...individual, eth_address: '0x1' }), /eth_address/);
  for (const junk of ['x', '{}{}', '[]']) assert.match(await error('batch', junk), /x-settlement-data/);
});
