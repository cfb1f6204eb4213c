// An endpoint that fails, lags, lies and changes its mind, while payments and deposits are under way. See chain.mjs.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { keccak256 } from 'viem';
import { ANVIL, anvilArguments } from '../../script/lib/chain.mjs';
import { portsFree } from '../../script/lib/wait.mjs';
import { ChainRig, fault, KINDS, pause } from './chain.mjs';
import { OPG, waitFor } from './rig.mjs';

let c;
const rig = () => c;
before(async () => { c = await ChainRig.start(); });
after(() => c?.stop());

/// Orders of all kinds, answered or not while `work` goes on.
async function pays(work, ready = () => {}) {
  const orders = await Promise.all(KINDS.map((kind) => c.order(kind)));
  await ready();
  await work(orders, () => Promise.all(orders.map((order) => c.send(order))));
  return orders;
}
const settled = async (orders) => {
  await c.ended();
  for (const order of orders) await c.ends(order, 'settled');
};

fault('the endpoint is down', rig, async (_, random) => {
  await c.rig.deposit('consumer', OPG, { wait: false });
  const orders = await pays(async (list, send) => {
    const sent = send();
    await pause(random.int(0, 300));
    await c.proxy.during(() => null, () => pause(random.int(300, 1500)));
    await sent;
    for (const order of list) while (order.told.at(-1).status === 503) await c.send(order); // it could not be looked at: nothing is taken
  });
  await settled(orders);
});

fault('the endpoint is slow', rig, async (_, random) => {
  const orders = await pays((list, send) => c.proxy.during(async () => { await pause(random.int(0, 250)); }, send));
  await settled(orders);
});

fault('the endpoint takes a question and says nothing', rig, async () => {
  const books = () => fetch(`${c.rig.base_url}/v1/reconciliation`).then((response) => response.json());
  const alive = async () => (await c.rig.sql('SELECT max(heartbeat_at)::text AS at FROM gateway_instance'))[0].at;
  const treasury = c.rig.accounts.treasury.address.slice(2).toLowerCase();
  let asked, release;
  const silence = new Promise((resolve) => { release = resolve; });
  await c.proxy.during(async ({ method, params }, forward, response) => {
    if (method !== 'eth_call' || !params[0].data?.startsWith('0x70a08231') || !params[0].data.includes(treasury)) return undefined;
    asked = response; // balanceOf(treasury): what the books are compared with
    await silence;
  }, async () => {
    const open = () => asked && !asked.destroyed; // in the end the gateway gives a question up, and asks the next one
    const first = books();
    first.catch(() => {});
    await waitFor('the gateway is alive for the others, again and again, while one question is open', async () => {
      const question = asked, signs = new Set();
      while (open() && asked === question && signs.size < 4) signs.add(await alive());
      return signs.size === 4;
    }, { every: 20 });
    assert.equal((await first).ok, true, 'who asks about the books is told what was seen last');
    release();
  });
});

fault('the endpoint answers an error after it took the transaction', rig, async (_, random) => {
  const errors = [{ code: -32000, message: 'already known' }, { code: -32603, message: 'internal error' }, { code: -32000, message: 'nonce too low' }, { code: -32000, message: 'insufficient funds for gas' }];
  const orders = await pays((list, send) => c.proxy.during(async ({ method }, forward) => {
    if (method !== 'eth_sendRawTransaction') return undefined;
    await forward();
    return random.chance(0.3) ? null : { error: errors[random.int(0, 3)] };
  }, send));
  await settled(orders);
});

fault('the endpoint drops what it accepted', rig, async (_, random) => {
  let left = random.int(1, 3);
  const orders = await pays((list, send) => c.proxy.during(async ({ method, params }) => {
    if (method !== 'eth_sendRawTransaction' || left-- <= 0) return undefined;
    return { result: keccak256(params[0]) };
  }, async () => { await send(); await c.ended(); }));
  await settled(orders);
});

fault('the endpoint is another chain for a while', rig, async (_, random) => {
  const [port] = await portsFree(1);
  await c.rig.procs.start('other', { file: ANVIL, args: [...anvilArguments(port).map((one) => (one === '84532' ? '1' : one))] });
  const other = `http://127.0.0.1:${port}`;
  await waitFor('the other chain answers', () => fetch(other, { method: 'POST', body: '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}', headers: { 'Content-Type': 'application/json' } }).then(() => true, () => false));
  await c.rig.deposit('consumer', OPG, { wait: false });
  await c.mine(30); // credited, and then taken from nobody
  const balance = await waitFor('the deposit is credited', async () => (await c.rig.sql("SELECT 1 FROM deposit WHERE state = 'seen'")).length === 0 && c.rig.consumer.balance());
  const orders = await pays(async (list, send) => {
    const first = c.send(list[0]);
    await pause(random.int(0, 200));
    await c.proxy.during((call, forward) => forward(other), async () => {
      await waitFor('it is noticed', async () => (await fetch(`${c.rig.base_url}/readyz`).then((r) => r.json())).checks.x402 === false, { every: 20 });
      assert.equal((await c.send(list[1])).status, 503, 'nothing is offered or taken');
      await pause(random.int(100, 600));
      assert.equal(await c.rig.consumer.balance(), balance, 'what another chain has not is not taken back');
    });
    await c.rpc('evm_setAutomine', true);
    await c.mine();
    await waitFor('it is ours again', async () => (await fetch(`${c.rig.base_url}/readyz`).then((r) => r.json())).checks.x402 === true, { every: 20 });
    await Promise.all([first, send()]);
    while (list[0].told.at(-1).status === 503) await c.send(list[0]);
  }, () => c.rpc('evm_setAutomine', false));
  await settled(orders);
  await c.rig.procs.stop('other');
});

/// Receipts of settling transactions as `change` makes them; what others ask for is true.
const lying = (change) => async ({ method, params }, forward) => {
  if (method !== 'eth_getTransactionReceipt') return undefined;
  const { result } = await forward();
  return { result: await change(result, params[0]) };
};

fault('a receipt says of a mined transaction that it failed', rig, async (_, random) => {
  const orders = await pays((list, send) => c.proxy.during(lying((receipt) => receipt && { ...receipt, status: '0x0', logs: [], logsBloom: `0x${'0'.repeat(512)}` }), async () => {
    const told = await send();
    assert.deepEqual(told.map(({ status }) => status), [202, 202, 202], 'nobody is told what is not known');
    await pause(random.int(0, 500));
    for (const order of list) assert.equal((await c.row(order)).state, 'settling');
  }));
  await settled(orders);
});

fault('a receipt says of a failed call that it succeeded', rig, async (_, random) => {
  const honest = await c.order('eip3009');
  await c.send(honest);
  const hash = (await c.rig.sql(`SELECT '0x' || encode(tx_hash, 'hex') AS hash FROM payment WHERE nonce = '\\x${honest.nonce.slice(2)}'`))[0].hash;
  const model = await c.chain.client.request({ method: 'eth_getTransactionReceipt', params: [hash] });
  const order = await c.order('eip3009');
  // its money is gone before it is settled: the call fails, and the endpoint tells the story of another one
  const sent = c.proxy.during(lying(async (receipt, asked) => {
    if (!receipt || asked === hash) return receipt;
    const { id } = await c.row(order);
    const words = (text) => JSON.parse(JSON.stringify(text).replaceAll(hash, asked).replaceAll(model.blockHash, receipt.blockHash).replaceAll(honest.buyer.address.slice(2).toLowerCase(), order.buyer.address.slice(2).toLowerCase()));
    const logs = words(model.logs).map((log) => ({ ...log, blockNumber: receipt.blockNumber }));
    for (const log of logs) if (log.address === c.rig.chain.settler) log.topics[2] = `0x${id.replaceAll('-', '')}${'0'.repeat(32)}`;
    return { ...receipt, status: '0x1', logs };
  }), async () => {
    await c.rpc('evm_setAutomine', false);
    const first = c.send(order);
    await waitFor('it is in the pool', async () => (await c.rpc('txpool_status')).pending !== '0x0', { every: 20 });
    await c.drain(order.buyer, { first: true });
    await c.mine();
    await c.rpc('evm_setAutomine', true);
    await first;
    await pause(random.int(0, 500));
    assert.equal((await c.row(order)).state, 'settling', 'not believed');
  });
  await sent;
  await c.ended();
  await c.ends(honest, 'settled');
  await c.ends(order, 'dropped');
});

fault('a receipt of a transaction that is in no block', rig, async (_, random) => {
  const honest = await c.order('eip3009');
  await c.send(honest);
  const hash = (await c.rig.sql(`SELECT '0x' || encode(tx_hash, 'hex') AS hash FROM payment WHERE nonce = '\\x${honest.nonce.slice(2)}'`))[0].hash;
  const model = await c.chain.client.request({ method: 'eth_getTransactionReceipt', params: [hash] });
  const order = await c.order('eip3009');
  await c.rpc('evm_setAutomine', false);
  await c.proxy.during(lying(async (receipt, asked) => {
    if (receipt) return receipt;
    const { id } = await c.row(order);
    const made = JSON.parse(JSON.stringify(model).replaceAll(hash, asked).replaceAll(honest.buyer.address.slice(2).toLowerCase(), order.buyer.address.slice(2).toLowerCase()));
    for (const log of made.logs) if (log.address === c.rig.chain.settler) log.topics[2] = `0x${id.replaceAll('-', '')}${'0'.repeat(32)}`;
    return made;
  }), async () => {
    assert.equal((await c.send(order)).status, 202);
    await pause(random.int(0, 500));
    assert.equal((await c.row(order)).state, 'settling', 'not believed');
  });
  await c.rpc('evm_setAutomine', true);
  await c.mine();
  await settled([honest, order]);
});

fault('the endpoint says a nonce is used that is not', rig, async (_, random) => {
  const far = random.int(1, 3);
  const orders = await pays((list, send) => c.proxy.during(async ({ method, params }, forward) => {
    if (method !== 'eth_getTransactionCount' || params[1] !== 'latest') return undefined;
    const { result } = await forward();
    return { result: `0x${(Number(result) + far).toString(16)}` };
  }, async () => { await send(); }));
  await settled(orders);
});
