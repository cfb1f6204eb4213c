// The pages in a real browser: they show what the API says, a receipt is checked in the page itself, keys are enough to get
// around, and a phone needs no sideways scrolling. Run twice: by pages-canned.test.mjs and by pages-stack.test.mjs.
import assert from 'node:assert/strict';
import path from 'node:path';
import { OTHER } from './fixtures.mjs';
import { browserOpen } from './site.mjs';

const PHONE = { width: 360, height: 740 };
const shots = process.env.OPGATE_WEB_SHOTS; // a folder: look at the pages yourself

export async function pages(t, site) {
  const browser = await browserOpen(t);
  const api = (route) => fetch(site.base + route).then((response) => response.json());

  // A page that must stay silent: no error, no broken policy, no request to anywhere else.
  async function pageOpen(t, options = {}) {
    const context = await browser.newContext(options);
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(15000);
    page.problems = [];
    page.on('pageerror', (error) => page.problems.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && page.problems.push(message.text()));
    page.on('request', (request) => request.url().startsWith(site.base) || page.problems.push(`asked ${request.url()}`));
    page.show = async (hash) => {
      await page.goto(`${site.base}/${hash}`);
      await page.waitForSelector('main h1');
    };
    page.shot = async (name) => {
      if (!shots) return;
      await page.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }));
      await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
    };
    return page;
  }

  async function receiptOpen(t, options) {
    const page = await pageOpen(t, options);
    await page.show('#/receipt');
    page.verdict = async () => {
      await page.click('button[type=submit]');
      return (await page.waitForSelector('[data-verdict]')).getAttribute('data-verdict');
    };
    page.check = (name) => page.getAttribute(`[data-check="${name}"]`, 'data-result');
    return page;
  }

  await t.test('models: what the API lists, and one of them', async (t) => {
    const page = await pageOpen(t);
    await page.show('');
    const models = (await api('/v1/models')).data;
    assert.ok(models.length > 0);
    const text = await page.innerText('main');
    for (const model of models) {
      assert.ok(text.includes(model.id), model.id);
      assert.ok(text.includes(model.title), model.title);
    }
    await page.shot('models');
    const chat = models.find((model) => model.surface === 'chat' && model.offers > 0);
    const million = BigInt(chat.price.input) * 1000000n;
    const opg = `${million / 10n ** 18n}.${String(million % 10n ** 18n).padStart(18, '0')}`.replace(/\.?0+$/, '');
    assert.ok(text.replaceAll(',', '').includes(`${opg} OPG per million input tokens`), opg);
    await page.fill('input[type=search]', 'no such model');
    await page.waitForSelector('.empty:visible');
    await page.fill('input[type=search]', '');
    await page.click(`a[href="#/models/${chat.id.split('/').map(encodeURIComponent).join('/')}"]`);
    await page.waitForSelector('[role=tablist]');
    assert.match(await page.innerText('pre'), new RegExp(`"model": "${chat.id}"`));
    assert.ok((await page.innerText('pre')).includes(`${site.base}/v1/chat/completions`));
    const { royalty, offers } = await api(`/v1/models/${chat.id}`);
    for (const { currency } of [royalty, offers[0].ask]) // each in what it is asked for in
      assert.match(await page.innerText('main'), new RegExp(`in, [0-9.,]+ out \\(${currency} per million tokens\\)`));
    await page.shot('model');
    assert.deepEqual(page.problems, []);
  });

  await t.test('nodes and status', async (t) => {
    const page = await pageOpen(t);
    await page.show('#/nodes');
    const nodes = (await api('/v1/nodes')).data;
    const text = await page.innerText('main');
    for (const node of nodes) assert.ok(text.includes(node.address));
    await page.shot('nodes');
    await page.click(`a[href="#/nodes/${nodes[0].address}"]`);
    await page.waitForSelector('table');
    await page.shot('node');
    await page.show('#/status');
    await page.waitForSelector('.card');
    assert.equal(await page.locator('.note.bad').count(), 0, await page.innerText('main'));
    const { gas } = await api('/v1/reconciliation'); // the chain's coins, not OPG
    if (gas) assert.match(await page.innerText('main'), /Gas\s+Balance\s+[0-9.,]+ ETH/);
    await page.shot('status');
    assert.deepEqual(page.problems, []);
  });

  await t.test('an unknown page and an unknown model say so', async (t) => {
    const page = await pageOpen(t);
    await page.show('#/elsewhere');
    assert.match(await page.innerText('main'), /no such page/);
    await page.show('#/models/nobody/nothing');
    await page.waitForSelector('[role=alert]');
    await page.show('#/%');
    assert.match(await page.innerText('main'), /no such page/);
  });

  await t.test('a good receipt passes with its node pinned, request and response included', async (t) => {
    const page = await receiptOpen(t);
    const { sample } = site;
    await page.fill('#receipt', sample.receipt);
    await page.fill('#node', sample.node);
    await page.click('summary >> nth=0');
    await page.fill('#request', sample.request);
    await page.fill('#response', sample.response);
    assert.equal(await page.verdict(), 'passed', await page.innerText('main'));
    for (const name of ['form', 'signature', 'signer', 'registration', 'request', 'response', 'times', 'policy', 'status'])
      assert.equal(await page.check(name), 'passed', name);
    await page.shot('receipt-passed');
    await page.fill('#node', sample.node.slice(0, -1)); // a change takes the old verdict away
    assert.equal(await page.locator('[data-verdict]').count(), 0);
    await page.click('button[type=submit]');
    await page.waitForSelector('[role=alert]');
    assert.deepEqual(page.problems, []);
  });

  await t.test('one changed byte of receipt, request or response fails', async (t) => {
    const page = await receiptOpen(t);
    const { sample } = site;
    const flip = (text, at) => text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
    await page.fill('#node', sample.node);
    const at = sample.receipt.indexOf('"outputUnits":"') + 15;
    for (const place of [at, 0, sample.receipt.length - 10, sample.receipt.length - 1]) {
      await page.fill('#receipt', flip(sample.receipt, place));
      assert.equal(await page.verdict(), 'failed', `byte ${place}`);
    }
    await page.shot('receipt-failed');
    await page.fill('#receipt', sample.receipt);
    await page.click('summary >> nth=0');
    await page.fill('#request', flip(sample.request, 5));
    assert.equal(await page.verdict(), 'failed');
    assert.equal(await page.check('request'), 'failed');
    await page.fill('#request', sample.request);
    await page.fill('#response', flip(sample.response, 5));
    assert.equal(await page.verdict(), 'failed');
    assert.deepEqual([await page.check('request'), await page.check('response')], ['passed', 'failed']);
  });

  await t.test('without somebody who vouches it is unverifiable, with a wrong one it fails', async (t) => {
    const page = await receiptOpen(t);
    await page.fill('#receipt', site.sample.receipt);
    await page.locator('#trust-nothing').check();
    assert.equal(await page.verdict(), 'unverifiable');
    await page.shot('receipt-unverifiable');
    await page.locator('#trust-node').check();
    await page.fill('#node', OTHER.address);
    assert.equal(await page.verdict(), 'failed');
  });

  await t.test('the gateway’s statement counts with the gateway pinned, and only then', async (t) => {
    const page = await receiptOpen(t);
    await page.fill('#receipt', Buffer.from(site.sample.receipt).toString('base64url')); // as in the header
    await page.locator('#trust-gateway').check();
    assert.equal(await page.verdict(), 'unverifiable');
    await page.fill('#gateway', site.sample.gateway);
    assert.equal(await page.verdict(), 'passed', await page.innerText('main'));
    await page.fill('#gateway', OTHER.address);
    assert.equal(await page.verdict(), 'failed');
    assert.deepEqual(page.problems, []);
  });

  await t.test('files are taken byte for byte, chosen or dropped', async (t) => {
    const page = await receiptOpen(t);
    const file = (name, text) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(text) });
    await page.setInputFiles('input[type=file] >> nth=0', file('receipt.json', site.sample.receipt));
    await page.fill('#node', site.sample.node);
    assert.equal(await page.verdict(), 'passed');
    await page.setInputFiles('input[type=file] >> nth=0', file('receipt.json', `${site.sample.receipt}\n`));
    assert.equal(await page.verdict(), 'failed', 'a line feed too many');
    await page.click('.file button');
    const dropped = await page.evaluateHandle((text) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], 'receipt.json'));
      return transfer;
    }, site.sample.receipt);
    await page.dispatchEvent('#receipt', 'drop', { dataTransfer: dropped });
    await page.waitForSelector('.file:visible');
    assert.equal(await page.verdict(), 'passed');
  });

  await t.test('a job of one’s own, and on to its receipt', async (t) => {
    const page = await pageOpen(t);
    const { sample } = site;
    await page.show(`#/job/${sample.job}`);
    await page.fill('#key', sample.key);
    await page.keyboard.press('Enter');
    const check = await page.waitForSelector('button:has-text("Check its receipt here")');
    const text = await page.innerText('main');
    assert.match(text, /Charged\s+0\.[0-9]+ OPG/);
    assert.match(text, /delivered/);
    await page.shot('job');
    await check.click();
    await page.waitForSelector('#receipt');
    assert.equal(await page.inputValue('#receipt'), sample.receipt);
    await page.fill('#node', sample.node);
    await page.click('button[type=submit]');
    assert.equal(await (await page.waitForSelector('[data-verdict]')).getAttribute('data-verdict'), 'passed');
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ''], 'the key is not kept');
  });

  await t.test('keys are enough', async (t) => {
    const page = await pageOpen(t);
    await page.show('');
    const focused = () => page.evaluate(() => document.activeElement.innerText || document.activeElement.id);
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to content');
    for (let i = 0; i < 10 && await focused() !== 'Check a receipt'; i++) await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#receipt');
    assert.equal(await focused(), 'Check a receipt', 'the heading of the new page has the focus');
    assert.equal(await page.getAttribute('nav a[href="#/receipt"]', 'aria-current'), 'page');
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'receipt');
    await page.keyboard.insertText(site.sample.receipt);
    for (let i = 0; i < 6 && await focused() !== 'node'; i++) await page.keyboard.press('Tab');
    await page.keyboard.insertText(site.sample.node);
    await page.keyboard.press('Control+Enter');
    assert.equal(await (await page.waitForSelector('[data-verdict]')).getAttribute('data-verdict'), 'passed');
    await page.keyboard.press('Tab');
    assert.equal(await page.locator('[data-verdict]').count(), 1, 'leaving a field is no change');
    assert.deepEqual(page.problems, []);
  });

  await t.test('a phone needs no sideways scrolling, light or dark', async (t) => {
    const models = (await api('/v1/models')).data;
    for (const colorScheme of ['light', 'dark']) {
      const page = await receiptOpen(t, { viewport: PHONE, colorScheme, isMobile: true, hasTouch: true });
      await page.fill('#receipt', site.sample.receipt);
      await page.fill('#node', site.sample.node);
      assert.equal(await page.verdict(), 'passed');
      for (const summary of await page.locator('summary').all()) await summary.click();
      const fits = async (what) => {
        const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
        assert.ok(scroll <= client, `${what}: ${scroll} wide on a screen of ${client}`);
        await page.shot(`phone-${colorScheme}-${what.replace(/\W+/g, '-')}`);
      };
      await fits('receipt');
      for (const hash of ['#/models', `#/models/${models[0].id}`, '#/nodes', '#/status', '#/job/0198c0ff-ee00-7abc-8def-0123456789ab']) {
        await page.show(hash);
        await fits(hash);
      }
    }
  });
}
