// Tables of sites: what each holds, or how it changed.

import { breakable, byId, element, say } from './dom.js';
import { amount, change, clock, percent } from './format.js';

const HEADS = ['where', 'line', 'for', 'what'];
const SHOWN = 20;

// A table. `rows` have `numbers`, texts, and `cells`; `find` is called with a function's name.
function table(numbers, rows, find) {
  const isUsed = HEADS.map((_, index) => rows.some(row => row.cells[index] !== ''));
  const head = [
    ...numbers.map(name => element('th', { scope: 'col', class: 'number' }, name)),
    ...HEADS.filter((_, index) => isUsed[index]).map(name => element('th', { scope: 'col' }, name)),
  ];
  const body = rows.map(row => element('tr', { class: row.className ?? null }, ...cellsOf(row, numbers, isUsed, find)));
  return element(
    'table',
    {},
    element('thead', {}, element('tr', {}, ...head)),
    element('tbody', {}, ...body),
  );
}

function cellsOf(row, numbers, isUsed, find) {
  const amounts = row.numbers.map((text, index) =>
    element('td', { class: `number n${index}`, 'data-head': numbers[index] }, ...[text].flat()),
  );
  const texts = row.cells.map((text, index) => {
    if (!isUsed[index]) {
      return null;
    }
    const shown = breakable(text);
    if (index > 0) {
      return element('td', { class: HEADS[index] }, ...shown);
    }
    const link = element('button', { type: 'button', class: 'link', title: 'Find in the flame graph' }, ...shown);
    link.addEventListener('click', () => find(text));
    return element('td', { class: HEADS[index] }, link);
  });
  return [...amounts, ...texts.filter(text => text !== null)];
}

function matching(rows, search) {
  const wanted = search.toLowerCase();
  return rows.filter(row => row.cells.some(text => text.toLowerCase().includes(wanted)));
}

// A bar that shows a share, and its number.
function share(part) {
  const bar = element('span', { class: 'bar', 'aria-hidden': true });
  bar.style.width = `${Math.min(part, 100)}%`;
  return [element('span', { class: 'track' }, bar), percent(part)];
}

// An amount, with how wrong it may be in a column of its own.
function withError(text, error, hasErrors) {
  return hasErrors ? [text, element('span', { class: 'error' }, error.trim())] : text;
}

export class SiteTables {
  constructor(find) {
    this.find = find;
    this.isWhole = false;
  }

  moment(value, search) {
    say(byId('sites-title'), 'Sites');
    const rows = matching(value.rows, search);
    const of = search === '' ? value.sites : rows.length;
    const hasErrors = rows.some(row => row.error !== '');
    say(byId('sites-hint'), 'Where memory is asked for, for which of the program’s own functions, and what is allocated.');
    this.fill(
      ['value', 'share'],
      rows.map(row => ({
        cells: row.cells,
        numbers: [withError(amount(row.value, value.unit), row.error, hasErrors), share(row.percent)],
      })),
      of,
      `No site holds any ${value.kind}.`,
    );
  }

  changes(changes, search) {
    say(byId('sites-title'), 'What changed');
    const { unit, total } = changes;
    const rows = matching(changes.rows, search);
    const sum = `${total.change === 0 ? 'The same' : change(total.change, unit)} in all: from ${amount(total.before, unit)} at ${clock(changes.before_ms)} to ${amount(total.after, unit)} at ${clock(changes.after_ms)}.`;
    say(byId('sites-hint'), changes.warning === null ? sum : `${sum} ${changes.warning}`);
    this.fill(
      ['change', 'before', 'after'],
      rows.map(row => ({
        cells: row.cells,
        className: row.change > 0 ? 'grew' : 'shrank',
        numbers: [
          `${change(row.change, unit)}${row.is_significant === false ? ' (may be chance)' : ''}`,
          amount(row.before, unit),
          amount(row.after, unit),
        ],
      })),
      search === '' ? changes.sites : rows.length,
      'Nothing changed between the two.',
    );
  }

  fill(numbers, rows, count, nothing) {
    const holder = byId('sites');
    if (rows.length === 0) {
      holder.replaceChildren(element('p', { class: 'hint' }, nothing));
      return;
    }
    const hadFocus = holder.contains(document.activeElement) ? document.activeElement.textContent : null;
    const shown = this.isWhole ? rows : rows.slice(0, SHOWN);
    const made = table(numbers, shown, this.find);
    holder.replaceChildren(made);
    const hasMore = shown.length < count;
    if (hasMore && shown.length < rows.length) {
      const more = element('button', { type: 'button' }, `Show ${rows.length} of ${count} sites`);
      more.addEventListener('click', () => {
        this.isWhole = true;
        this.fill(numbers, rows, count, nothing);
      });
      holder.append(more);
    } else if (hasMore) {
      holder.append(element('p', { class: 'hint' }, `The largest ${shown.length} of ${count} sites.`));
    }
    if (hadFocus !== null) {
      const same = [...holder.querySelectorAll('button')].find(button => button.textContent === hadFocus);
      same?.focus({ preventScroll: true });
    }
  }
}
