// The verdict and what was lost, in the words of the reports.

import { byId, element, sentences } from './dom.js';
import { count } from './format.js';

const MEANING = {
  complete: 'Everything was counted and given to its stack.',
  degraded: 'Usable, with known losses.',
  sampled: 'Only windows of time were seen: amounts are estimates, and what is live may have been freed.',
  inconclusive: 'Too much is missing to conclude anything.',
};

export function showVerdict(moment) {
  const chip = byId('verdict');
  chip.textContent = moment.verdict;
  chip.className = `chip ${moment.verdict}`;
}

export function showKnowledge(moment, value, remarks) {
  const losses = moment.losses.map(loss =>
    element('li', {}, element('strong', { class: 'number' }, count(loss.value)), ' ', loss.help, ' ', element('code', {}, loss.name)),
  );
  const facts = [
    ...value.remarks.map(([word, text]) => `${word}: ${text}`),
    ...(moment.counts_pages ? ['Objects are pages, by who touched them first.'] : []),
    ...moment.notes,
    ...remarks,
  ];
  const children = [
    element(
      'p',
      {},
      element('span', { class: `chip ${moment.verdict}` }, moment.verdict),
      ' ',
      MEANING[moment.verdict] ?? '',
    ),
    sentences(moment.reasons, 'reasons'),
    losses.length === 0 ? element('p', { class: 'muted' }, 'Nothing was lost.') : element('h3', {}, 'Lost'),
    losses.length === 0 ? null : element('ul', { class: 'losses' }, ...losses),
    sentences(facts, 'facts'),
    moment.source === '' ? null : element('p', { class: 'muted' }, moment.source),
  ];
  byId('knowledge').replaceChildren(...children.filter(child => child !== null));
}
