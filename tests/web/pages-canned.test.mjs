// The pages with canned answers: strange names, no offers.
import test from 'node:test';
import { pages } from './pages.mjs';
import { siteCanned } from './site.mjs';

test('pages with canned answers', async (t) => pages(t, await siteCanned(t)));
