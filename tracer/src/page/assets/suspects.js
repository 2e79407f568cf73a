// Who may leak, as `tracer check` judges it, and what grew.

import { breakable, byId, element, sentences, sparkline } from './dom.js';
import { bytes, change } from './format.js';

const GRADES = { leak: 'leak', possible: 'possible leak', undecided: 'undecided' };

function trend(values) {
  if (values.length < 2) {
    return null;
  }
  const words = `from ${bytes(values[0])} to ${bytes(values[values.length - 1])}`;
  return element('div', { class: 'trend' }, sparkline(values, words), element('span', { class: 'muted' }, words));
}

function suspect({ grade, headline, site, details, trend: values }) {
  return element(
    'li',
    { class: `suspect ${grade}` },
    element(
      'div',
      {},
      element('p', {}, element('span', { class: `chip ${grade}` }, GRADES[grade] ?? grade), ' ', headline),
      element('p', { class: 'site' }, ...breakable(site)),
      ...details.map(line => element('p', { class: 'muted' }, line)),
    ),
    trend(values),
  );
}

function growing({ cells, rises, falls, trend: values }) {
  const [where, line, purpose] = cells;
  const grown = values[values.length - 1] - values[0];
  return element(
    'li',
    { class: 'suspect' },
    element(
      'div',
      {},
      element('p', {}, element('strong', { class: 'number' }, change(grown, 'bytes')), ' ', element('span', { class: 'site' }, ...breakable(where))),
      element('p', { class: 'muted' }, [line, purpose === '' ? '' : `for ${purpose}`].filter(text => text !== '').join(' ')),
      element('p', { class: 'muted' }, `grew in ${rises} of ${values.length - 1} steps, shrank in ${falls}`),
    ),
    trend(values),
  );
}

export function showSuspects(shown) {
  const holder = byId('suspects');
  const count = shown.times_ms.length;
  const children = [
    element('p', { class: 'outcome' }, element('strong', {}, shown.outcome === '' ? 'not judged yet' : shown.outcome)),
    element(
      'p',
      { class: 'hint' },
      shown.evidence === '' ? 'Judged as tracer check does.' : `Judged as tracer check does: ${shown.evidence}.`,
    ),
    sentences(shown.reasons, 'reasons'),
  ];
  if (shown.suspects.length > 0) {
    children.push(element('ul', { class: 'suspects' }, ...shown.suspects.map(suspect)));
  }
  children.push(sentences(shown.remarks, 'hint'));
  if (shown.growing.length > 0) {
    children.push(
      element('h3', {}, 'Sites that grew most'),
      element('p', { class: 'hint' }, `Live bytes over ${count} moments. Growth alone is no leak: a cache that fills grows, too.`),
      element('ul', { class: 'suspects' }, ...shown.growing.map(growing)),
    );
  }
  holder.replaceChildren(...children.filter(child => child !== null));
}
