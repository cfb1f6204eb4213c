// #/job/ID: one job of the reader's own. The API key stays in this page's memory: it is never stored.
import { apiBytes, apiJson, formatOpg } from './api.js';
import { latin1 } from './bytes.js';
import { receiptPrefill } from './receipt.js';
import { el, facts, failure, identifier, tag, when } from './ui.js';

let apiKey = '';

const money = (units) => (units === null || units === undefined ? null : `${formatOpg(units)} OPG`);
const kinds = { settled: 'good', failed: 'bad', expired: 'bad', refused: 'bad' };

async function checkIt(job, headers) {
  const receipt = await apiBytes(`/v1/jobs/${job.id}/receipt`, headers);
  const response = await apiBytes(`/v1/jobs/${job.id}/output`, headers).catch(() => null); // a stream's bytes are not kept
  receiptPrefill({ receipt: latin1(receipt), response, path: job.request?.path, contentType: job.request?.content_type });
  location.hash = '#/receipt';
}

function jobShown(job, headers) {
  const split = job.split ?? {};
  const problem = el('div');
  return [
    el('div', { class: 'card' }, facts([
      ['State', el('span', {}, tag(job.state, kinds[job.state]), job.outcome ? ` ${job.outcome}` : '')], ['Error', job.error],
      ['Verdict', job.verdict ? tag(job.verdict, job.verdict) : null], ['Model', el('a', { href: `#/models/${job.model}` }, job.model)],
      ['Digest', identifier(job.digest, 'the digest')], ['Node', job.node ? el('a', { href: `#/nodes/${job.node}`, class: 'mono' }, job.node) : null],
      ['Policy', job.policy], ['Held at most', money(job.hold)], ['Charged', money(job.charged)], ['to the node', money(split.node)],
      ['to the author', money(split.author)], ['to the platform', money(split.platform)],
      ['Usage', job.usage ? `${job.usage.input_units} in, ${job.usage.output_units} out` : null],
      ['Started', when(job.created_at)], ['Ended', job.ended_at ? when(job.ended_at) : null]])),
    job.verdict ? el('p', {}, el('button', { type: 'button', class: 'main', onclick: () => checkIt(job, headers).catch((error) => problem.replaceChildren(failure(error))) }, 'Check its receipt here')) : null,
    problem,
  ].filter(Boolean);
}

export async function jobPage(id) {
  const result = el('div', { 'aria-live': 'polite' });
  const key = el('input', { id: 'key', type: 'password', autocomplete: 'off', class: 'mono', value: apiKey });
  const load = async () => {
    apiKey = key.value.trim();
    const headers = { authorization: `Bearer ${apiKey}` };
    try {
      result.replaceChildren(...jobShown(await apiJson(`/v1/jobs/${id}`, headers), headers));
    } catch (error) {
      result.replaceChildren(failure(error));
    }
  };
  const form = el('form', { onsubmit: (event) => { event.preventDefault(); load(); } },
    el('div', { class: 'field' }, el('label', { for: 'key' }, 'API key of the account that paid'), key,
      el('p', { class: 'hint' }, 'Sent to this gateway only, and forgotten when you leave.')),
    el('p', {}, el('button', { class: 'main' }, 'Show')));
  if (apiKey) await load();
  return [el('h1', {}, 'Job'), el('p', { class: 'lead' }, el('code', {}, id)), form, result];
}
