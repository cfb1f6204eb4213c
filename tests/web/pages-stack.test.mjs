// The pages of a real stack, and how they are served.
import assert from 'node:assert/strict';
import test from 'node:test';
import { pages } from './pages.mjs';
import { siteStack, stackMissing } from './site.mjs';

// What the gateway says about its files; the canned server only imitates it.
test('pages are served with types, tags and a policy', { skip: stackMissing() }, async () => {
  const { base } = await siteStack();
  for (const [route, type] of [['/', 'text/html; charset=utf-8'], ['/operator', 'text/html; charset=utf-8'], ['/assets/app.js', 'text/javascript; charset=utf-8'], ['/assets/style.css', 'text/css; charset=utf-8'], ['/assets/icon.svg', 'image/svg+xml']]) {
    const answer = await fetch(base + route);
    const body = await answer.text();
    assert.equal(answer.status, 200, route);
    assert.equal(answer.headers.get('content-type'), type);
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.match(answer.headers.get('content-security-policy'), /^default-src 'self';/);
    assert.doesNotMatch(answer.headers.get('content-security-policy'), /unsafe|\*|data:/);
    const etag = answer.headers.get('etag');
    assert.match(etag, /^"[0-9a-f]{32}"$/);
    for (const tag of [etag, `W/${etag}`, `"x", ${etag}`]) {
      const again = await fetch(base + route, { headers: { 'if-none-match': tag } });
      assert.equal(again.status, 304, tag);
      assert.equal(await again.text(), '');
    }
    assert.equal((await fetch(base + route, { headers: { 'if-none-match': '"x"' } })).status, 200);
    const head = await fetch(base + route, { method: 'HEAD' });
    assert.equal(head.headers.get('content-length'), String(Buffer.byteLength(body)));
  }
  for (const route of ['/assets/', '/assets/none.js', '/assets/..%2findex.html', '/assets/app.js%00', '/index.html'])
    assert.ok([400, 404].includes((await fetch(base + route)).status), route);
});

test('pages of a running stack', { skip: stackMissing() }, async (t) => pages(t, await siteStack()));
