// Which part of the site is shown: the fragment says it, so that links, reload and the back button work without a server.
import { jobPage } from './job.js';
import { modelPage, modelsPage } from './models.js';
import { nodePage, nodesPage } from './nodes.js';
import { receiptPage } from './receipt.js';
import { statusPage } from './status.js';
import { el, empty, failure } from './ui.js';

// Each page: a function of the fragment's parts that returns (a promise of) its nodes, the first of them its h1.
const ROUTES = [
  [/^models$/, modelsPage], [/^models\/(.+)$/, modelPage], [/^nodes$/, nodesPage], [/^nodes\/(0x[0-9a-fA-F]{40})$/, nodePage],
  [/^receipt$/, receiptPage], [/^status$/, statusPage], [/^job\/([0-9a-fA-F-]{36})$/, jobPage],
];

const main = document.getElementById('main');
let shown = 0; // counts up, so that a slow answer does not replace a later page
let first = true;

function show(nodes) {
  main.replaceChildren(...nodes);
  const heading = main.querySelector('h1');
  document.title = heading ? `${heading.textContent} · opgate` : 'opgate';
  if (heading && !first) { // a reader's next key press starts at the new page
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  first = false;
}

function pathOf(hash) {
  try {
    return decodeURIComponent(hash.replace(/^#\/?/, ''));
  } catch {
    return hash; // a stray %: no page has such a name
  }
}

async function route() {
  const path = pathOf(location.hash) || 'models';
  const mine = ++shown;
  for (const link of document.querySelectorAll('nav a')) {
    if (path.split('/')[0] === link.getAttribute('href').slice(2)) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const [page, match] = ROUTES.map(([pattern, made]) => [made, pattern.exec(path)]).find(([, found]) => found) ?? [];
  if (!page) return show([el('h1', {}, 'Not here'), empty('There is no such page.')]);
  const slow = setTimeout(() => mine === shown && main.replaceChildren(el('p', { class: 'loading', role: 'status' }, 'Loading…')), 150);
  let nodes;
  try {
    nodes = await page(...match.slice(1));
  } catch (error) {
    nodes = [el('h1', {}, error.title ?? 'That did not work'), failure(error, true)];
  }
  clearTimeout(slow);
  if (mine === shown) show(nodes);
}

document.getElementById('skip').addEventListener('click', (event) => { // its own fragment is not a page
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', route);
route();
