// Elements of the page. Text from outside goes in as text only: names of functions are chosen by whoever wrote the
// program, and one may look like HTML.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = id => document.getElementById(id);

// An element with attributes and children, each an element or a text.
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

// The same for pictures.
export function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) {
      made.setAttribute(key, '');
    } else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(key, String(value));
    }
  }
  made.append(...children.filter(child => child !== null && child !== undefined && child !== ''));
  return made;
}

// A name that may be broken where its parts end.
export function breakable(text) {
  const parts = text.split(/(?<=::|[/<,(])/);
  return parts.flatMap((part, index) => (index === 0 ? [part] : [element('wbr'), part]));
}

// Sets a text where it is another, so that nothing is announced twice.
export function say(target, text) {
  if (target.textContent !== text) {
    target.textContent = text;
  }
}

// A list of sentences; nothing where there are none.
export function sentences(lines, className = '') {
  if (lines.length === 0) {
    return null;
  }
  return element('ul', { class: className || null }, ...lines.map(line => element('li', {}, line)));
}

// A small picture of a course, and words for those who do not see it.
export function sparkline(values, words) {
  const width = 120;
  const height = 28;
  const most = Math.max(...values, 1);
  const least = Math.min(...values, 0);
  const x = index => (values.length < 2 ? 0 : (index / (values.length - 1)) * width);
  const y = value => height - 2 - ((value - least) / (most - least)) * (height - 4);
  const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  return drawing(
    'svg',
    { class: 'sparkline', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': words },
    drawing('polygon', { points: `0,${height} ${points.join(' ')} ${width},${height}` }),
    drawing('polyline', { points: points.join(' ') }),
  );
}
