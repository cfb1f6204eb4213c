// #/nodes and #/nodes/ADDRESS: who serves.
import { apiJson, apiList, modelPath, priceLine } from './api.js';
import { el, empty, facts, identifier, table, tag, when } from './ui.js';

function stateTag(node) {
  if (node.state === 'active') return node.alive ? tag('serving', 'good') : tag('silent', 'maybe');
  return tag(node.state, node.state === 'banned' ? 'bad' : 'maybe');
}

const ready = (node) => (node.offers ?? []).filter((offer) => offer.state === 'ready');
const modelLink = (id) => el('a', { href: `#/models/${modelPath(id)}` }, id);

function card(node) {
  const offers = ready(node);
  return el('li', { class: 'card' },
    el('div', { class: 'row' }, el('h2', {}, el('a', { href: `#/nodes/${node.address}`, class: 'mono' }, node.address)), stateTag(node)),
    el('p', { class: 'soft' }, 'last heard of ', when(node.heartbeat_at)),
    facts([['Operator', identifier(node.operator, 'the operator')],
      ['Serves', offers.length ? offers.map((offer, i) => [i ? ', ' : '', modelLink(offer.model)]) : 'nothing right now']]));
}

export async function nodesPage() {
  const nodes = await apiList('/v1/nodes');
  return [el('h1', {}, 'Nodes'),
    el('p', { class: 'lead' }, 'Servers run by independent operators. A node is its signing key: its address is what you pin when you check a receipt.'),
    nodes.length ? el('ul', { class: 'cards' }, nodes.map(card)) : empty('No node is registered yet.')];
}

export async function nodePage(address) {
  const node = await apiJson(`/v1/nodes/${address}`);
  const offers = node.offers ?? [];
  return [el('h1', { class: 'mono' }, node.address), el('p', { class: 'lead' }, 'Node ', stateTag(node)),
    el('div', { class: 'card' }, facts([
      ['Operator', identifier(node.operator, 'the operator')], ['URL', el('code', {}, node.url)], ['Registered', when(node.registered_at)],
      ['Last heard of', when(node.heartbeat_at)]])),
    el('h2', {}, 'Offers'),
    offers.length ? table('Offers', ['Model', 'Version', 'Asks', 'Precision', 'At a time', 'Profile', ''], offers.map((offer) => [
      modelLink(offer.model), String(offer.version), priceLine(offer.surface, offer.ask), offer.precision || '–', String(offer.capacity),
      el('a', { href: `/v1/profiles/${offer.profile_hash}` }, 'how it runs it'), offer.state === 'ready' ? tag('ready', 'good') : tag(offer.state)]))
      : empty('It offers nothing.')];
}
