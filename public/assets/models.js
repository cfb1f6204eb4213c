// #/models and #/models/author/name: what is on offer, at what price, and how to call it.
import { apiJson, apiList, modelPath, priceLine, priceParts } from './api.js';
import { copyButton, el, empty, facts, identifier, table, tag, when } from './ui.js';

const SURFACES = { chat: 'Chat', tensor: 'Tensors' };

function priceShown(surface, price) {
  const parts = priceParts(surface, price);
  if (!parts) return el('span', { class: 'soft' }, 'nobody serves it right now');
  return el('span', { class: 'price' }, parts.map(([amount, per], i) => [i ? el('br') : '', el('b', {}, amount), ` ${per}`]));
}

const offersTag = (n) => (n > 0 ? tag(`${n} ${n === 1 ? 'offer' : 'offers'}`, 'good') : tag('no offers'));

function card(model) {
  return el('li', { class: 'card link' },
    el('div', { class: 'row' },
      el('h2', {}, el('a', { href: `#/models/${modelPath(model.id)}` }, model.title || model.id)),
      tag(SURFACES[model.surface] ?? model.surface)),
    el('p', { class: 'soft mono' }, model.id),
    facts([['Price', priceShown(model.surface, model.price)], ['Served by', offersTag(model.offers)], ['Digest', identifier(model.digest, 'the digest')]]));
}

export async function modelsPage() {
  const models = await apiList('/v1/models');
  const list = el('ul', { class: 'cards two' });
  const none = empty(models.length ? 'No model matches.' : 'No model is published yet. POST /v1/models starts one.');
  const search = el('input', { type: 'search', placeholder: 'Find a model', 'aria-label': 'Find a model' });
  const surface = el('select', { 'aria-label': 'Kind of model' }, el('option', { value: '' }, 'All kinds'),
    Object.entries(SURFACES).map(([value, name]) => el('option', { value }, name)));
  const fill = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const found = models.filter((m) => (!surface.value || m.surface === surface.value)
      && words.every((word) => `${m.id} ${m.title}`.toLowerCase().includes(word)));
    list.replaceChildren(...found.map(card));
    none.hidden = found.length > 0;
  };
  search.addEventListener('input', fill);
  surface.addEventListener('change', fill);
  fill();
  return [el('h1', {}, 'Models'), el('p', { class: 'lead' }, 'Pay per call in OPG. Every answer carries a receipt you can check yourself.'),
    el('div', { class: 'filters', role: 'search' }, search, surface), list, none];
}

// ---- one model ----

function snippets(model) {
  const base = location.origin;
  const messages = '[{"role": "user", "content": "Hello"}]';
  if (model.surface === 'chat') {
    return {
      curl: `curl ${base}/v1/chat/completions \\\n  -H "Authorization: Bearer $API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '{"model": "${model.id}", "messages": ${messages}}'`,
      'openai (Python)': `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}/v1")  # key from OPENAI_API_KEY\nanswer = client.chat.completions.create(\n    model="${model.id}",\n    messages=${messages},\n)\nprint(answer.choices[0].message.content)`,
      'openai (JavaScript)': `import OpenAI from 'openai';\n\nconst client = new OpenAI({ baseURL: '${base}/v1' }); // key from OPENAI_API_KEY\nconst stream = await client.chat.completions.create({\n  model: '${model.id}',\n  messages: [{ role: 'user', content: 'Hello' }],\n  stream: true,\n});\nfor await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? '');`,
    };
  }
  const path = modelPath(model.id);
  return {
    curl: `# infer.json: {"inputs": [{"name": …, "datatype": …, "shape": […], "data": […]}]}\ncurl ${base}/v2/models/${path}/infer \\\n  -H "Authorization: Bearer $API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d @infer.json`,
    'As a job': `curl '${base}/v1/jobs?model=${encodeURIComponent(model.id)}' \\\n  -H "Authorization: Bearer $API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -H "Idempotency-Key: $(uuidgen)" -H "Prefer: wait=30" \\\n  -d @infer.json`,
  };
}

function tabs(texts) {
  const names = Object.keys(texts);
  const panel = el('div', { class: 'snippet', role: 'tabpanel', id: 'snippet' });
  const buttons = names.map((name) => el('button', { type: 'button', role: 'tab', 'aria-controls': 'snippet' }, name));
  const select = (i) => {
    buttons.forEach((button, k) => {
      button.setAttribute('aria-selected', String(k === i));
      button.tabIndex = k === i ? 0 : -1;
    });
    panel.replaceChildren(el('pre', { tabindex: '0' }, el('code', {}, texts[names[i]])), copyButton(texts[names[i]], 'the example'));
  };
  buttons.forEach((button, i) => {
    button.addEventListener('click', () => select(i));
    button.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (i + step + buttons.length) % buttons.length;
      select(next);
      buttons[next].focus();
    });
  });
  select(0);
  return [el('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Examples' }, buttons), panel];
}

export async function modelPage(id) {
  const model = await apiJson(`/v1/models/${modelPath(id)}`);
  const offers = model.offers ?? [];
  const versions = (model.versions ?? []).filter((version) => version.state === 'published');
  return [
    el('h1', {}, model.title || model.id),
    el('p', { class: 'lead' }, el('code', {}, model.id), ' ', tag(SURFACES[model.surface] ?? model.surface ?? 'draft')),
    model.description ? el('p', {}, model.description) : null,
    el('div', { class: 'card' }, facts([
      ['Price', priceShown(model.surface, model.price)], ['Author', el('code', {}, model.owned_by)],
      ['Author’s share', model.royalty ? priceLine(model.surface, model.royalty) : null], ['Version', model.version],
      ['Digest', model.digest ? identifier(model.digest, 'the digest') : null],
      ['Pinned id', model.digest ? identifier(`${model.id.split('@')[0]}@${model.digest}`, 'the pinned id') : null],
    ])),
    model.surface ? [el('h2', {}, 'Call it'), tabs(snippets(model)),
      el('p', { class: 'hint' }, 'A key: sign in with Ethereum (', el('code', {}, 'POST /v1/auth/siwe'), '), then ', el('code', {}, 'POST /v1/keys'),
        '. A balance: send OPG from your own address to ', el('a', { href: '#/status' }, 'the treasury'), '.')] : null,
    el('h2', {}, 'Offers'),
    offers.length ? table('Offers', ['Node', 'Node asks', 'Version', 'Precision', 'At a time'], offers.map((offer) => [
      el('a', { href: `#/nodes/${offer.node}`, class: 'mono' }, `${offer.node.slice(0, 10)}…${offer.node.slice(-6)}`),
      priceLine(model.surface, offer.ask), String(offer.version), offer.precision || '–', String(offer.capacity)]))
      : empty('No node serves it right now.'),
    el('h2', {}, 'Versions'),
    versions.length ? table('Versions', ['Version', 'Digest', 'Published', 'Author’s share'], versions.map((version) => [
      String(version.version), identifier(version.digest, 'the digest'), when(version.published_at), priceLine(version.surface, version.price)]))
      : empty('No version is published.'),
  ].flat(Infinity).filter(Boolean);
}
