// Amounts and times as the reports write them.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

// Three digits that count, and all before the point.
function digits(number) {
  const size = Math.abs(number);
  if (size === 0 || size >= 100) {
    return number.toFixed(0);
  }
  return number.toFixed(size >= 10 ? 1 : 2);
}

// 12.3 MB
export function bytes(amount) {
  let power = 0;
  let scaled = amount;
  while (Math.abs(scaled) >= 1023.5 && power < UNITS.length - 1) {
    scaled /= 1024;
    power += 1;
  }
  return `${power === 0 ? Math.round(scaled) : digits(scaled)} ${UNITS[power]}`;
}

// 12,345
export function count(amount) {
  return Math.round(amount).toLocaleString('en-US');
}

export function amount(value, unit) {
  return unit === 'bytes' ? bytes(value) : count(value);
}

// +12.3 MB
export function change(value, unit) {
  return `${value > 0 ? '+' : value < 0 ? '−' : ''}${amount(Math.abs(value), unit)}`;
}

export function percent(part) {
  if (part === 0) {
    return '0%';
  }
  if (part < 0.1) {
    return '<0.1%';
  }
  return `${part >= 99.95 ? '100' : part.toFixed(1)}%`;
}

const pad = number => String(number).padStart(2, '0');

// 15:04:05, with the day where it is not today's.
export function clock(milliseconds) {
  const time = new Date(milliseconds);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? timeOfDay(time) : `${time.getFullYear()}-${day(time)} ${timeOfDay(time)}`;
}

// The same as short as can be along a scale of this length.
export function tickClock(milliseconds, length) {
  const time = new Date(milliseconds);
  return length < 86400000 ? timeOfDay(time) : `${day(time)} ${timeOfDay(time).slice(0, 5)}`;
}

function timeOfDay(time) {
  return `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
}

function day(time) {
  return `${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;
}

// 2 h 5 min
export function span(milliseconds) {
  const seconds = Math.round(Math.max(milliseconds, 0) / 1000);
  const parts = [
    [Math.floor(seconds / 86400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) {
    return '0 s';
  }
  const shown = parts.slice(first, first + 2).filter(([number]) => number > 0);
  return shown.map(([number, unit]) => `${number} ${unit}`).join(' ');
}

// Where a scale has its lines: round numbers in the unit, three or so.
export function ticks(most, unit) {
  if (!(most > 0)) {
    return [0];
  }
  const base = unit === 'bytes' ? 1024 ** Math.floor(Math.log2(most) / 10) : 1;
  const rough = most / base / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(one => one * power >= rough) * power * base;
  const found = [];
  for (let at = 0; at <= most; at += step) {
    found.push(at);
  }
  return found;
}
