// Small words for building pages. Text always goes in as text, never as markup: titles and descriptions come from strangers.

// el('a', {href: '#/x', class: 'y', onclick: f}, 'text', child, …); null, true and false children are left out.
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'value') node.value = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && typeof child !== 'boolean'));
  return node;
}

export const tag = (text, kind = '') => el('span', { class: `tag ${kind}` }, text);

// [[term, description], …]; those without a description are left out.
export const facts = (pairs) => el('dl', {}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== '')
  .map(([term, value]) => [el('dt', {}, term), el('dd', {}, value)]));

export function copyButton(text, what) {
  const button = el('button', { type: 'button', class: 'small', 'aria-label': `Copy ${what}` }, 'Copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Select it and press Ctrl+C'; // no clipboard without HTTPS
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 1600);
  });
  return button;
}

// A long identifier, shortened for the eye; the whole of it in the title and the clipboard.
export function identifier(text, what = 'it') {
  const prefix = /^(.*@)?(sha256:|0x)?/.exec(text)[0];
  const digits = text.slice(prefix.length);
  const short = digits.length > 24 ? `${prefix}${digits.slice(0, 8)}…${digits.slice(-6)}` : text;
  return el('span', { class: 'copy' }, el('code', { title: text }, short), copyButton(text, what));
}

export function when(value) {
  if (!value) return 'never';
  const date = new Date(value);
  const seconds = Math.round((Date.now() - date) / 1000);
  const text = seconds < 0 ? date.toLocaleString() : seconds < 60 ? `${seconds} s ago` : seconds < 3600 ? `${Math.floor(seconds / 60)} min ago`
    : seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : date.toLocaleDateString();
  return el('time', { datetime: date.toISOString(), title: date.toLocaleString() }, text);
}

export const table = (label, heads, rows) => el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label },
  el('table', {}, el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))),
    el('tbody', {}, rows.map((cells) => el('tr', {}, cells.map((cell) => el('td', {}, cell)))))));

export const empty = (text) => el('p', { class: 'empty' }, text);

// `headed`: the page's own heading says the title already.
export function failure(error, headed = false) {
  return el('div', { class: 'note bad', role: 'alert' }, headed || el('b', {}, error.title ?? 'That did not work'),
    el('p', {}, error.message, error.hint ? ` — ${error.hint}` : ''),
    error.requestId && el('p', { class: 'soft' }, 'Request ', el('code', {}, error.requestId)));
}
