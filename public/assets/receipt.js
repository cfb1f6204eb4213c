// #/receipt: is this receipt true? Everything is computed here; nothing that is pasted leaves the browser. The one thing that
// is fetched, when asked for, is the gateway's statement about the node, which counts only with a gateway address the reader pins.
import { apiBytes } from './api.js';
import { canHash, latin1, unbase64url, utf8 } from './bytes.js';
import { FormError, RECEIPT, fieldsOf, statementRead } from './statements.js';
import { streamReceipt } from './stream.js';
import { el, facts, failure, tag } from './ui.js';
import { verdictCheck } from './verdict.js';

const FILE_MAX = 64 << 20;
const SAYS = {
  passed: ['✓', 'Passed', 'A key that you have reason to trust signed exactly this, and nothing you gave contradicts it.'],
  failed: ['✕', 'Failed', 'Something contradicts this receipt. Do not rely on it.'],
  unverifiable: ['?', 'Unverifiable', 'Nothing contradicts this receipt, but something needed to believe it is missing.'],
};

let prefill = null;
export const receiptPrefill = (values) => { prefill = values; };

const field = (label, input, hint) => el('div', { class: 'field' }, el('label', { for: input.id }, label), input, hint && el('p', { class: 'hint' }, hint));
const line = (id, more = {}) => el('input', { id, type: 'text', class: 'mono', spellcheck: 'false', autocomplete: 'off', ...more });

// Text or a file, dropped or chosen. A file's bytes are taken as they are; text as UTF-8.
function bytesField(id, label, hint, placeholder) {
  const area = el('textarea', { id, spellcheck: 'false', placeholder, rows: '5' });
  const chosen = el('div', { class: 'file', hidden: true });
  const picker = el('input', { type: 'file', 'aria-label': `${label}: choose a file` });
  const drop = el('div', { class: 'drop' }, area, chosen, el('div', { class: 'under' }, picker, hint && el('span', { class: 'hint' }, hint)));
  let file = null; // its bytes
  const changed = () => area.dispatchEvent(new Event('input', { bubbles: true }));
  const setFile = (bytes, name) => {
    file = bytes;
    area.hidden = Boolean(bytes);
    chosen.hidden = !bytes;
    picker.value = '';
    if (bytes) {
      chosen.replaceChildren(el('span', {}, `${name}, ${bytes.length.toLocaleString('en')} bytes`), el('button', { type: 'button', class: 'small', onclick: () => {
        setFile(null);
        area.focus();
      } }, 'Remove'));
    }
    changed();
  };
  const take = async (given) => {
    if (!given) return;
    if (given.size > FILE_MAX) {
      chosen.hidden = false;
      chosen.replaceChildren(`${given.name} is larger than this page takes; use opgate verify.`);
      return;
    }
    setFile(new Uint8Array(await given.arrayBuffer()), given.name);
  };
  picker.addEventListener('change', () => take(picker.files[0]));
  for (const [type, over] of [['dragover', true], ['dragleave', false], ['drop', false]]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', over);
      if (type === 'drop') take(event.dataTransfer.files[0]);
    });
  }
  return {
    node: el('div', { class: 'field' }, el('label', { for: id }, label), drop), area, setFile,
    bytes: () => file ?? (area.value ? utf8(area.value) : null),
  };
}

const address = (text, what) => {
  const value = text.trim().toLowerCase();
  if (!/^0x[0-9a-f]{40}$/.test(value)) throw new FormError(`${what}: an address is 0x and 40 hex digits`);
  return value;
};

// The receipt as given: JSON, or base64url as it stands in the Opgate-Receipt header.
function receiptBytes(given) {
  const text = latin1(given).trim();
  return (/^[A-Za-z0-9_-]+$/.test(text) && unbase64url(text)) || given;
}

// Asked for by what the receipt names. Without it the verdict can still be told: nobody vouches, so it will be unverifiable.
async function statementFetch(receipt) {
  let read;
  try {
    read = statementRead(RECEIPT, receipt);
  } catch {
    return {}; // the verdict says what is wrong with it
  }
  try {
    return { statement: await apiBytes(`/v1/nodes/${read.message.node}/statements/sha256:${read.message.modelDigest.slice(2)}`) };
  } catch (error) {
    error.title = 'This gateway gave no statement about the node';
    return { problem: error };
  }
}

function choices(name, items) {
  const radios = items.map(([value, label, more]) => {
    const radio = el('input', { type: 'radio', name, id: `${name}-${value}`, value });
    return { radio, value, more, node: el('div', {}, el('div', { class: 'choice' }, radio, el('label', { for: radio.id }, label)), more) };
  });
  const update = () => radios.forEach(({ radio, more }) => more && (more.hidden = !radio.checked));
  radios[0].radio.checked = true;
  radios.forEach(({ radio }) => radio.addEventListener('change', update));
  update();
  return { nodes: radios.map(({ node }) => node), value: () => radios.find(({ radio }) => radio.checked).value };
}

const DATES = new Set(['startedAt', 'finishedAt']);

function receiptShown({ chainId, message, signature }) {
  const rows = fieldsOf(RECEIPT).map(({ name }) => [name, DATES.has(name) && message[name] < 8640000000000000n
    ? `${message[name]} (${new Date(Number(message[name])).toISOString()})` : String(message[name])]);
  return el('details', {}, el('summary', {}, 'What the receipt says'),
    el('div', {}, facts([...rows, ['chainId', String(chainId)], ['signature', signature]].map(([k, v]) => [k, el('span', { class: 'mono' }, v)]))));
}

function reportShown({ verdict, checks, receipt }) {
  const [sign, title, words] = SAYS[verdict];
  return el('section', { class: 'card verdict', 'data-verdict': verdict, 'aria-label': 'Verdict' },
    el('header', { class: verdict }, el('span', { class: 'sign', 'aria-hidden': 'true' }, sign), el('div', {}, el('h2', {}, title), el('p', {}, words))),
    el('ul', { class: 'checks' }, checks.map(({ name, result, detail }) => el('li', { 'data-check': name, 'data-result': result },
      tag(result, result), el('b', {}, name), el('span', {}, detail)))),
    receipt && receiptShown(receipt));
}

// The form: its node, and what it holds as the input of verdictCheck.
function formMake() {
  const receipt = bytesField('receipt', 'Receipt', 'Exactly as it was given: the JSON text, or the value of the Opgate-Receipt header.', '{"domain":{"name":"opgate",…');
  const node = line('node', { placeholder: '0x…', maxlength: '42' });
  const gateway = line('gateway', { placeholder: '0x…', maxlength: '42' });
  const statement = bytesField('statement', 'Statement', 'Leave it empty to ask this gateway for it, by the node and model that the receipt names.', '');
  const trust = choices('trust', [
    ['node', 'I know the node: its address is', el('div', { class: 'indent' }, field('Node address', node, 'From the operator, or from where you chose the node. Not from the receipt itself.'))],
    ['gateway', 'I know the gateway: it states that the node is registered', el('div', { class: 'indent' },
      field('Gateway address', gateway, 'From a source you trust. This site cannot vouch for itself.'), statement.node)],
    ['nothing', 'Nobody yet'],
  ]);
  const request = bytesField('request', 'Request body', 'Choose the file for exact bytes: pasting can change line ends.', '');
  const response = bytesField('response', 'Response body', 'A saved event stream is recognised.', '');
  const [method, path, type, length, chain, model] = [line('method', { placeholder: 'POST' }), line('path', { placeholder: 'any of /v1/…' }), line('content-type', { placeholder: 'the usual ones' }),
    line('header-length', { placeholder: 'only for binary tensors' }), line('chain', { placeholder: 'any', inputmode: 'numeric' }), line('model', { placeholder: 'sha256:…' })];
  const bodies = el('details', {}, el('summary', {}, 'Was it my request and this response? ', el('span', { class: 'hint' }, 'optional')),
    el('div', {}, request.node, el('div', { class: 'grid2' }, field('Method', method), field('Path', path), field('Content type', type), field('Inference-Header-Content-Length', length)), response.node));
  const expected = el('details', {}, el('summary', {}, 'Is it the model and chain I asked for? ', el('span', { class: 'hint' }, 'optional')),
    el('div', { class: 'grid2' }, field('Model digest', model), field('Chain id', chain)));

  async function input() {
    const given = receipt.bytes();
    if (!given) throw new FormError('Paste a receipt, or drop its file.');
    const made = { receipt: receiptBytes(given), now: Date.now() };
    if (trust.value() === 'node') made.node = address(node.value, 'Node address');
    if (trust.value() === 'gateway') {
      if (gateway.value.trim()) made.gateway = address(gateway.value, 'Gateway address');
      Object.assign(made, statement.bytes() ? { statement: statement.bytes() } : await statementFetch(made.receipt));
    }
    if (request.bytes())
      made.request = { body: request.bytes(), method: method.value.trim(), path: path.value.trim(), contentType: type.value.trim(), headerLength: length.value.trim() };
    if (response.bytes()) made.response = response.bytes();
    if (chain.value.trim()) {
      if (!/^[1-9][0-9]{0,18}$/.test(chain.value.trim())) throw new FormError('Chain id: a number');
      made.chainId = BigInt(chain.value.trim());
    }
    if (model.value.trim()) {
      const digest = /^(?:sha256:|0x)?([0-9a-f]{64})$/i.exec(model.value.trim());
      if (!digest) throw new FormError('Model digest: sha256: and 64 hex digits');
      made.model = `0x${digest[1].toLowerCase()}`;
    }
    return made;
  }

  function fill(values) {
    receipt.area.value = values.receipt ?? '';
    path.value = values.path ?? '';
    type.value = values.contentType ?? '';
    if (values.response) {
      response.setFile(values.response, 'the answer of the job');
      bodies.open = true;
    }
  }

  // A saved stream carries its receipt: no need to look for it twice.
  response.area.addEventListener('input', () => {
    const bytes = response.bytes();
    const carried = bytes && !receipt.bytes() && streamReceipt(bytes);
    if (carried) receipt.area.value = latin1(carried);
  });
  return { parts: [receipt.node, el('fieldset', { class: 'field' }, el('legend', {}, 'Who vouches for the node that signed it?'), trust.nodes), bodies, expected], input, fill };
}

export function receiptPage() {
  const head = [el('h1', {}, 'Check a receipt'),
    el('p', { class: 'lead' }, 'The check runs in this browser and nothing you paste is sent anywhere. For one that needs no web site at all: ', el('code', {}, 'opgate verify'), '.')];
  if (!canHash())
    return [...head, el('div', { class: 'note bad', role: 'alert' }, el('b', {}, 'This browser will not hash here'),
      el('p', {}, 'Browsers offer SHA-256 only over HTTPS or on localhost. Open this page in one of those ways, or use opgate verify.'))];
  const form = formMake();
  const result = el('div', { 'aria-live': 'polite' });
  let edits = 0; // a verdict never stands beside other values than its own
  const check = async () => {
    const mine = edits;
    let shown;
    try {
      const input = await form.input();
      shown = [reportShown(await verdictCheck(input)), input.problem && failure(input.problem)];
    } catch (error) {
      if (error instanceof FormError) error.title = 'Something is missing';
      shown = [failure(error)];
    }
    if (mine !== edits) return;
    result.replaceChildren(...shown.filter(Boolean));
    result.firstChild.scrollIntoView({ block: 'nearest' });
  };
  const node = el('form', {}, form.parts, el('div', { class: 'actions' }, el('button', { class: 'main', type: 'submit' }, 'Check'),
    el('span', { class: 'hint' }, 'or Ctrl+Enter')));
  node.addEventListener('submit', (event) => {
    event.preventDefault();
    check();
  });
  node.addEventListener('keydown', (event) => (event.ctrlKey || event.metaKey) && event.key === 'Enter' && check());
  node.addEventListener('input', () => {
    edits++;
    result.replaceChildren();
  });
  if (prefill) form.fill(prefill);
  prefill = null;
  return [...head, node, result];
}
