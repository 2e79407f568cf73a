// The time line: two charts over the same time, and the moments that can be picked.

import { byId, drawing, element, say } from './dom.js';
import { bytes, clock, span, tickClock, ticks } from './format.js';

const LEFT = 64;
const RIGHT = 12;
const TOP = 8;
const BOTTOM = 24;

const CHARTS = [
  {
    title: 'Memory',
    height: 170,
    unit: 'bytes',
    lines: [
      { name: 'live', className: 'live', of: course => course.live_bytes },
      { name: 'resident', className: 'resident', of: course => course.resident_bytes },
    ],
  },
  {
    title: 'Allocated a second',
    height: 110,
    unit: 'bytes',
    lines: [{ name: 'allocated a second', className: 'rate', of: rates }],
  },
];

// Bytes a second from each point to the next. An estimate may fall, which says nothing of what was allocated.
export function rates(course) {
  const { time_ms: times, alloc_bytes: bytes } = course;
  return times.map((time, index) => {
    if (index === 0) {
      return null;
    }
    const seconds = (time - times[index - 1]) / 1000;
    return Math.max(0, bytes[index] - bytes[index - 1]) / Math.max(seconds, 0.001);
  });
}

// The number of the time that is nearest.
export function nearest(times, wanted) {
  let best = 0;
  times.forEach((time, index) => {
    if (Math.abs(time - wanted) < Math.abs(times[best] - wanted)) {
      best = index;
    }
  });
  return best;
}

export class Timeline {
  // `pick(time)` is called for a moment, `pickBoth(from, to)` for two.
  constructor({ pick, pickBoth }) {
    this.pick = pick;
    this.pickBoth = pickBoth;
    this.course = null;
    this.moments = [];
    this.marks = {};
    // Where a drag began. While one goes on the charts stay as they are.
    this.start = null;
    new ResizeObserver(() => this.draw()).observe(byId('charts'));
  }

  show({ course, moments, is_live: isLive }, marks) {
    Object.assign(this, { course, moments, isLive, marks });
    this.draw();
  }

  draw() {
    const { course } = this;
    const holder = byId('charts');
    if (this.start !== null) {
      return;
    }
    if (course === null || course.time_ms.length < 2) {
      holder.replaceChildren();
      return;
    }
    const width = Math.max(holder.clientWidth, 200);
    const times = course.time_ms;
    const first = times[0];
    const last = Math.max(times[times.length - 1], first + 1);
    const scale = {
      width,
      x: time => LEFT + ((time - first) / (last - first)) * (width - LEFT - RIGHT),
      time: x => first + ((x - LEFT) / (width - LEFT - RIGHT)) * (last - first),
      first,
      last,
    };
    holder.replaceChildren(...CHARTS.map(chart => this.chart(chart, scale)));
  }

  chart({ title, height, unit, lines }, scale) {
    const { course, moments, marks } = this;
    const known = lines
      .map(line => ({ ...line, values: line.of(course) }))
      .filter(line => line.values.some(value => value !== null));
    const most = Math.max(1, ...known.flatMap(line => line.values).filter(value => value !== null)) * 1.05;
    const y = value => TOP + (1 - value / most) * (height - TOP - BOTTOM);
    const bottom = height - BOTTOM;
    const picture = drawing('svg', {
      class: 'chart',
      width: scale.width,
      height,
      viewBox: `0 0 ${scale.width} ${height}`,
      role: 'img',
      'aria-label': `${title}: ${known.map(line => `${line.name} ${this.words(line.values)}`).join('; ')}`,
    });
    for (const tick of ticks(most, unit)) {
      picture.append(
        drawing('line', { class: 'grid', x1: LEFT, x2: scale.width - RIGHT, y1: y(tick), y2: y(tick) }),
        drawing('text', { class: 'tick', x: LEFT - 8, y: y(tick) + 4, 'text-anchor': 'end' }, bytes(tick)),
      );
    }
    const labels = scale.width > 520 ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.5, 1];
    for (const part of labels) {
      const time = scale.first + part * (scale.last - scale.first);
      const anchor = part === 0 ? 'start' : part === 1 ? 'end' : 'middle';
      picture.append(
        drawing(
          'text',
          { class: 'tick', x: scale.x(time), y: height - 6, 'text-anchor': anchor },
          tickClock(time, scale.last - scale.first),
        ),
      );
    }
    if (marks.base !== undefined && marks.moment !== undefined) {
      const [from, to] = [scale.x(marks.base), scale.x(marks.moment)].sort((one, other) => one - other);
      picture.append(drawing('rect', { class: 'band', x: from, y: TOP, width: to - from, height: bottom - TOP }));
    }
    for (const line of known) {
      picture.append(this.line(line, scale, y, bottom));
    }
    for (const moment of moments) {
      const x = scale.x(moment.time_ms);
      picture.append(drawing('line', { class: 'kept', x1: x, x2: x, y1: bottom, y2: bottom + 4 }));
    }
    for (const [name, time] of Object.entries(marks)) {
      if (time !== undefined) {
        const x = scale.x(time);
        picture.append(drawing('line', { class: `mark ${name}`, x1: x, x2: x, y1: TOP, y2: bottom }));
      }
    }
    this.listen(picture, scale, bottom);
    // A single line has the chart's own name.
    const named = lines.length > 1 ? known : [];
    const names = named.map(line => element('span', { class: `key ${line.className}` }, line.name));
    return element('figure', {}, element('figcaption', {}, element('strong', {}, title), ...names), picture);
  }

  words(values) {
    const known = values.filter(value => value !== null);
    return `from ${bytes(known[0])} to ${bytes(known[known.length - 1])}, at most ${bytes(Math.max(...known))}`;
  }

  line({ className, values }, scale, y, bottom) {
    const parts = values.map((value, index) =>
      value === null ? null : [scale.x(this.course.time_ms[index]), y(value)],
    );
    const known = parts.filter(part => part !== null);
    const points = known.map(([x, height]) => `${x.toFixed(1)},${height.toFixed(1)}`).join(' ');
    const [start, end] = [known[0][0].toFixed(1), known[known.length - 1][0].toFixed(1)];
    return drawing(
      'g',
      { class: `line ${className}` },
      drawing('polygon', { points: `${start},${bottom} ${points} ${end},${bottom}` }),
      drawing('polyline', { points }),
    );
  }

  // A click picks a moment, a drag two; where the pointer is, the amounts are said.
  listen(picture, scale, bottom) {
    const timeOf = event => scale.time(event.clientX - picture.getBoundingClientRect().left);
    const cursor = drawing('line', { class: 'cursor', y1: TOP, y2: bottom, visibility: 'hidden' });
    picture.append(cursor);
    picture.addEventListener('pointerdown', event => {
      this.start = { x: event.clientX, time: timeOf(event) };
      picture.setPointerCapture(event.pointerId);
    });
    picture.addEventListener('pointercancel', () => {
      this.start = null;
    });
    picture.addEventListener('pointerup', event => {
      const { start } = this;
      this.start = null;
      if (start === null) {
        return;
      }
      if (Math.abs(event.clientX - start.x) < 8) {
        this.pick(start.time);
      } else {
        const [from, to] = [start.time, timeOf(event)].sort((one, other) => one - other);
        this.pickBoth(from, to);
      }
    });
    picture.addEventListener('pointermove', event => {
      const index = nearest(this.course.time_ms, timeOf(event));
      const x = scale.x(this.course.time_ms[index]);
      for (const [key, value] of [['x1', x], ['x2', x], ['visibility', 'visible']]) {
        cursor.setAttribute(key, value);
      }
      say(byId('timeline-hint'), this.at(index));
    });
    picture.addEventListener('pointerleave', () => {
      cursor.setAttribute('visibility', 'hidden');
      say(byId('timeline-hint'), this.hint());
    });
  }

  // What there was at a point.
  at(index) {
    const { course } = this;
    const rate = rates(course)[index];
    const resident = course.resident_bytes[index];
    const parts = [
      `${bytes(course.live_bytes[index])} live`,
      rate === null ? null : `${bytes(rate)} allocated a second`,
      resident === null ? null : `${bytes(resident)} resident`,
    ];
    return `${clock(course.time_ms[index])}: ${parts.filter(part => part !== null).join(', ')}`;
  }

  hint() {
    const { course, moments } = this;
    if (this.isLive && moments.length < 2) {
      return 'Moments are kept as time goes on.';
    }
    if (moments.length < 2) {
      return 'One profile has no time line; a folder of a series has one.';
    }
    const length = span(course.time_ms[course.time_ms.length - 1] - course.time_ms[0]);
    return `${moments.length} moments in ${length}, marked below the charts. Click one, or drag from one to another to compare them.`;
  }
}
