// The page: asks for what there is, shows it, and asks again while a process is recorded.

import { byId, element, say } from './dom.js';
import { Flame } from './flame.js';
import { amount, bytes, clock, percent } from './format.js';
import { showKnowledge, showVerdict } from './knowledge.js';
import { SiteTables } from './sites.js';
import { showSuspects } from './suspects.js';
import { nearest, rates, Timeline } from './timeline.js';

// How often the page asks, in milliseconds. The server answers from what it has where that is fresh.
const OFTEN = 2000;
const SELDOM = 10000;

const KINDS = [
  ['inuse_space', 'Live bytes'],
  ['inuse_objects', 'Live objects'],
  ['alloc_space', 'Allocated bytes'],
  ['alloc_objects', 'Allocated objects'],
];

const state = {
  overview: null,
  moment: null,
  changes: null,
  slot: 0,
  search: '',
  // The number of a moment that is kept, or null for the newest.
  at: null,
  // The number of the moment to compare with, or null.
  base: null,
  isPaused: false,
  suspectsDue: 0,
};

const flame = new Flame();
const tables = new SiteTables(name => search(name));
const timeline = new Timeline({
  pick: time => choose(time),
  pickBoth: (from, to) => chooseBoth(from, to),
});

async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: 'application/json' } });
  if (!answer.ok) {
    throw new Error((await answer.text()).trim());
  }
  return answer.json();
}

// What the page shows follows from the state; what is not there is asked for.
async function refresh() {
  state.overview = await ask('/api/overview');
  await refreshMoment();
  if (Date.now() >= state.suspectsDue) {
    state.suspectsDue = Date.now() + (state.overview.is_live ? SELDOM : Infinity);
    showSuspects(await ask('/api/suspects'));
  }
}

async function refreshMoment() {
  const at = state.at ?? 'now';
  const asked = `${at} ${state.base} ${state.slot}`;
  const moment = ask(`/api/moment?at=${at}`);
  const changes = state.base === null ? null : ask(`/api/changes?from=${state.base}&to=${at}&value=${KINDS[state.slot][0]}`);
  const answers = await Promise.all([moment, changes]);
  if (asked === `${state.at ?? 'now'} ${state.base} ${state.slot}`) {
    [state.moment, state.changes] = answers;
    show();
  }
}

async function guarded(act) {
  try {
    await act();
    byId('trouble').hidden = true;
  } catch (error) {
    const trouble = byId('trouble');
    trouble.hidden = false;
    const again = state.overview?.is_live ?? true ? ' Trying again.' : '';
    say(trouble, `No answer from tracer: ${error.message}.${again}`);
  }
}

function show() {
  const { overview, moment, changes, slot } = state;
  const value = moment.values[slot];
  document.title = `${overview.name} – tracer`;
  say(byId('name'), overview.name);
  say(byId('pid'), overview.pid === null ? 'saved profile' : `pid ${overview.pid}`);
  say(byId('version'), `tracer ${overview.version}`);
  say(byId('updated'), `${isNow() && overview.is_live ? 'now' : 'as of'} ${clock(moment.time_ms)}`);
  byId('pause').hidden = !overview.is_live;
  showVerdict(moment);
  showFigures();
  showMoments();
  showKinds();
  flame.show(moment.flame, slot, value.unit);
  say(byId('flame-title'), `${slot < 2 ? 'Who holds it' : 'Who allocated it'}: ${KINDS[slot][1].toLowerCase()}`);
  if (changes === null) {
    tables.moment(value, state.search);
  } else {
    tables.changes(changes, state.search);
  }
  showKnowledge(moment, value, overview.remarks);
  showFound();
}

function figure(name, text, more) {
  return element('div', {}, element('dt', {}, name), element('dd', {}, text, element('span', { class: 'muted' }, more)));
}

function showFigures() {
  const { overview, moment } = state;
  const { course } = overview;
  const values = Object.fromEntries(moment.values.map(value => [value.kind, value]));
  const last = course.time_ms.length === 0 ? -1 : nearest(course.time_ms, moment.time_ms);
  const rate = rates(course)[last] ?? null;
  const resident = course.resident_bytes[last] ?? null;
  const objects = moment.counts_pages ? 'pages' : 'objects';
  const known = (name, show) => (values[name].is_known ? show(values[name]) : 'unknown');
  const shown = [
    figure('Live', known('inuse_space', one => `${bytes(one.total)}${one.error}`), known('inuse_objects', one => `${amount(one.total, one.unit)} ${objects}`)),
    figure('Allocated so far', known('alloc_space', one => `${bytes(one.total)}${one.error}`), known('alloc_objects', one => `${amount(one.total, one.unit)} ${objects}`)),
  ];
  if (rate !== null && values.alloc_space.is_known) {
    shown.push(figure('Allocated a second', `${bytes(rate)}/s`, 'between two points'));
  }
  if (resident !== null) {
    shown.push(figure('Resident', bytes(resident), 'of the whole process'));
  }
  byId('figures').replaceChildren(...shown);
}

const isNow = () => state.at === null;

// The time of a moment by its number, or of the nearest one where it is gone.
function momentNear(id) {
  const { moments } = state.overview;
  return moments.reduce((best, one) => (best === null || Math.abs(one.id - id) < Math.abs(best.id - id) ? one : best), null);
}

function showMoments() {
  const { overview, moment } = state;
  const { moments } = overview;
  const hasMoments = moments.length > 1;
  byId('moments').hidden = !hasMoments;
  const base = state.base === null ? undefined : momentNear(state.base)?.time_ms;
  timeline.show(overview, { base, moment: moment.time_ms });
  if (!byId('charts').matches(':hover')) {
    say(byId('timeline-hint'), timeline.hint());
  }
  if (!hasMoments) {
    return;
  }
  // While a process is recorded, now is behind the last moment that is kept.
  const last = overview.is_live ? moments.length : moments.length - 1;
  const indexOf = id => moments.indexOf(momentNear(id));
  slide('moment', last, isNow() ? last : indexOf(state.at), isNow() && overview.is_live ? 'now' : clock(moment.time_ms));
  byId('compare').checked = state.base !== null;
  byId('base').disabled = state.base === null;
  const baseAt = state.base === null ? 0 : indexOf(state.base);
  slide('base', moments.length - 1, baseAt, state.base === null ? '' : clock(moments[baseAt].time_ms));
}

function slide(id, most, value, text) {
  const slider = byId(id);
  slider.max = most;
  slider.value = value;
  slider.setAttribute('aria-valuetext', text);
  say(byId(`${id}-time`), text);
}

function showKinds() {
  const holder = byId('kinds');
  if (holder.querySelector('input') === null) {
    holder.append(
      ...KINDS.map(([kind, words], index) => {
        const choice = element('input', { type: 'radio', name: 'kind', value: kind, id: `kind-${kind}`, checked: index === state.slot });
        choice.addEventListener('change', () => {
          state.slot = index;
          tables.isWhole = false;
          show();
          if (state.base !== null) {
            guarded(refreshMoment);
          }
        });
        return element('label', { for: `kind-${kind}` }, choice, element('span', {}, words));
      }),
    );
  }
  for (const [index, choice] of [...holder.querySelectorAll('input')].entries()) {
    const { is_known: isKnown } = state.moment.values[index];
    choice.disabled = !isKnown;
    choice.parentElement.title = isKnown ? '' : 'This profile does not say.';
  }
  if (!state.moment.values[state.slot].is_known) {
    const known = state.moment.values.findIndex(value => value.is_known);
    if (known >= 0) {
      holder.querySelectorAll('input')[known].click();
    }
  }
}

function showFound() {
  const { found, held } = flame.find(state.search);
  const unit = state.moment.values[state.slot].unit;
  if (state.search === '') {
    say(byId('found'), '');
  } else if (found === 0) {
    say(byId('found'), 'nothing found');
  } else {
    const share = percent((held / Math.max(flame.total(), 1)) * 100);
    say(byId('found'), `${found} ${found === 1 ? 'frame' : 'frames'}, ${amount(held, unit)} (${share})`);
  }
}

function search(text) {
  byId('search').value = text;
  state.search = text;
  show();
  byId('flame-section').scrollIntoView({ block: 'start' });
}

// A moment by its place on the slider; behind the last is now.
function idAt(index) {
  return state.overview.moments[index]?.id ?? null;
}

function choose(time) {
  const { moments, is_live: isLive } = state.overview;
  const index = nearest(moments.map(moment => moment.time_ms), time);
  const isNewest = isLive && time > moments[moments.length - 1].time_ms;
  pick(isNewest ? null : idAt(index), state.base);
}

function chooseBoth(from, to) {
  const times = state.overview.moments.map(moment => moment.time_ms);
  pick(idAt(nearest(times, to)), idAt(nearest(times, from)));
}

function pick(at, base) {
  state.at = at;
  state.base = base;
  guarded(refreshMoment);
}

byId('moment').addEventListener('input', event => {
  const { overview } = state;
  const index = Number(event.target.value);
  pick(overview.is_live ? idAt(index) : idAt(Math.min(index, overview.moments.length - 1)), state.base);
});
byId('compare').addEventListener('change', event => {
  // Halfway between the first and the one that is shown, unless another is chosen.
  const { moments } = state.overview;
  const middle = (moments[0].time_ms + state.moment.time_ms) / 2;
  pick(state.at, event.target.checked ? idAt(nearest(moments.map(moment => moment.time_ms), middle)) : null);
});
byId('base').addEventListener('input', event => pick(state.at, idAt(Number(event.target.value))));
byId('search').addEventListener('input', event => {
  state.search = event.target.value.trim();
  show();
});
byId('search').addEventListener('keydown', event => {
  if (event.key === 'Enter') {
    const { largest } = flame.find(state.search);
    if (largest !== null) {
      flame.goTo(largest);
    }
  }
});
byId('pause').addEventListener('click', event => {
  state.isPaused = !state.isPaused;
  event.target.setAttribute('aria-pressed', String(state.isPaused));
  say(event.target, state.isPaused ? 'Go on' : 'Pause');
});
document.addEventListener('keydown', event => {
  if (event.key === '/' && !event.target.matches('input')) {
    event.preventDefault();
    byId('search').select();
  }
});

// Asks again while there is more to come, and while somebody looks.
async function run() {
  if (!state.isPaused && !document.hidden) {
    await guarded(refresh);
  }
  if (state.overview?.is_live ?? true) {
    setTimeout(run, OFTEN);
  }
}

run();
