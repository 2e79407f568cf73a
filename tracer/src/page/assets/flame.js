// The flame graph: callers above what they call, as wide as what they hold.

import { byId, element, say } from './dom.js';
import { amount, percent } from './format.js';

const ROW = 24;
const NARROWEST = 1.5;

const KINDS = [
  ['own', 'own code'],
  ['dependency', 'dependencies'],
  ['system', 'system libraries'],
  ['container', 'what is allocated'],
  ['standard', 'standard library'],
  ['runtime', 'runtime'],
];

// Kinds that look alike.
const LOOK = { wrapper: 'container', allocator: 'standard', nothing: 'runtime' };

export class Flame {
  constructor() {
    this.nodes = [];
    this.slot = 0;
    this.unit = 'bytes';
    // Names from the root to the frame that is zoomed to: it may be another node the next time.
    this.path = [];
    this.search = '';
    this.focused = null;
    const holder = byId('flame');
    holder.addEventListener('click', event => this.on(event, node => this.zoom(node)));
    holder.addEventListener('keydown', event => this.key(event));
    holder.addEventListener('focusin', event => this.on(event, node => this.focus(node)));
    holder.addEventListener('pointerover', event => this.on(event, node => this.describe(node)));
    byId('reset').addEventListener('click', () => this.zoom(null));
    new ResizeObserver(() => this.draw()).observe(holder);
    byId('legend').replaceChildren(
      ...KINDS.map(([kind, words]) => element('li', {}, element('span', { class: `swatch ${kind}` }), words)),
    );
  }

  show(flame, slot, unit) {
    this.slot = slot;
    this.unit = unit;
    if (flame !== this.flame) {
      this.flame = flame;
      this.nodes = nodes(flame);
    }
    this.draw();
  }

  get roots() {
    return this.nodes.filter(node => node.depth === 0);
  }

  value(node) {
    return node.values[this.slot];
  }

  total() {
    return this.roots.reduce((sum, node) => sum + this.value(node), 0);
  }

  // The frame that is zoomed to, if it is still there.
  zoomed() {
    let found = null;
    let among = this.roots;
    for (const name of this.path) {
      found = among.find(node => node.name.name === name) ?? null;
      if (found === null) {
        return null;
      }
      among = found.children;
    }
    return found;
  }

  matches(node) {
    const wanted = this.search.toLowerCase();
    const { name, full } = node.name;
    return wanted !== '' && (name.toLowerCase().includes(wanted) || (full ?? '').toLowerCase().includes(wanted));
  }

  // Frames that match, what they hold together, and the largest of them.
  find(search) {
    this.search = search;
    let held = 0;
    let found = 0;
    let largest = null;
    const walk = (node, isBelow) => {
      const isMatch = this.value(node) > 0 && this.matches(node);
      if (isMatch) {
        found += 1;
        held += isBelow ? 0 : this.value(node);
        largest = largest === null || this.value(node) > this.value(largest) ? node : largest;
      }
      node.children.forEach(child => walk(child, isBelow || isMatch));
    };
    this.roots.forEach(root => walk(root, false));
    this.draw();
    return { found, held, largest };
  }

  draw() {
    const holder = byId('flame');
    const hadFocus = holder.contains(document.activeElement);
    const zoomed = this.zoomed();
    const width = holder.clientWidth;
    const boxes = [];
    if (zoomed !== null) {
      // The way to it, over the whole width.
      for (let node = zoomed.parent; node !== null; node = node.parent) {
        boxes.push(this.box(node, 0, width, true));
      }
      boxes.reverse();
    }
    let deepest = 0;
    const walk = (node, left, scale) => {
      const own = this.value(node) * scale;
      if (own < NARROWEST) {
        return;
      }
      deepest = Math.max(deepest, node.depth);
      boxes.push(this.box(node, left, own, false));
      let from = left;
      for (const child of node.children) {
        walk(child, from, scale);
        from += this.value(child) * scale;
      }
    };
    const roots = zoomed === null ? this.roots : [zoomed];
    const sum = roots.reduce((all, node) => all + this.value(node), 0);
    let left = 0;
    for (const root of roots) {
      walk(root, left, sum > 0 ? width / sum : 0);
      left += sum > 0 ? (this.value(root) / sum) * width : 0;
    }
    holder.replaceChildren(...boxes.map(({ box }) => box));
    holder.style.height = `${boxes.length === 0 ? ROW : (deepest + 1) * ROW}px`;
    this.drawn = new Map(boxes.map(({ box, node }) => [box, node]));
    byId('reset').hidden = zoomed === null;
    this.keepFocus(boxes, hadFocus);
    say(byId('flame-hint'), this.hint(boxes.length));
  }

  box(node, left, width, isAbove) {
    const { name, full, kind } = node.name;
    const look = LOOK[kind] ?? kind ?? 'runtime';
    const classes = ['frame', look, isAbove ? 'above' : '', this.matches(node) ? 'found' : ''];
    const box = element(
      'button',
      { type: 'button', class: classes.filter(one => one !== '').join(' '), tabindex: -1, title: full ?? name },
      element('span', {}, width > 24 ? name : ''),
    );
    box.setAttribute('aria-label', this.words(node));
    box.style.left = `${left}px`;
    box.style.top = `${node.depth * ROW}px`;
    box.style.width = `${Math.max(width - 1, 1)}px`;
    return { box, node };
  }

  // One frame can be reached by Tab, the others from there by arrows.
  keepFocus(boxes, hadFocus) {
    const wanted = this.focused === null ? null : key(this.focused);
    const kept = boxes.find(({ node }) => key(node) === wanted) ?? boxes[0];
    if (kept === undefined) {
      return;
    }
    kept.box.tabIndex = 0;
    if (hadFocus) {
      kept.box.focus({ preventScroll: true });
    }
  }

  hint(drawn) {
    if (drawn === 0) {
      return this.slot < 2
        ? 'Nothing that was allocated since the recording began is live. “Allocated bytes” shows who allocates.'
        : 'Nothing was allocated.';
    }
    const left = this.flame.left_out;
    return left === 0 ? '' : `${left} frames are too small to be drawn, even when zoomed.`;
  }

  words(node) {
    const value = this.value(node);
    return `${node.name.name}: ${amount(value, this.unit)}, ${percent((value / Math.max(this.total(), 1)) * 100)}`;
  }

  describe(node) {
    const { name, full } = node.name;
    const value = this.value(node);
    byId('flame-detail').classList.remove('muted');
    byId('flame-detail').replaceChildren(
      element('strong', {}, `${amount(value, this.unit)} (${percent((value / Math.max(this.total(), 1)) * 100)})`),
      ' ',
      full ?? name,
    );
  }

  focus(node) {
    for (const [box, of] of this.drawn) {
      box.tabIndex = of === node ? 0 : -1;
    }
    this.focused = node;
    this.describe(node);
  }

  zoom(node) {
    this.path = [];
    for (let at = node; at !== null; at = at.parent) {
      this.path.unshift(at.name.name);
    }
    if (node !== null) {
      this.focused = node;
    }
    this.draw();
  }

  // Zooms to a frame and goes there.
  goTo(node) {
    this.zoom(node);
    this.moveTo(node);
  }

  moveTo(node) {
    for (const [box, of] of this.drawn) {
      if (of === node) {
        box.focus();
      }
    }
  }

  on(event, act) {
    const box = event.target.closest('.frame');
    const node = box === null ? undefined : this.drawn.get(box);
    if (node !== undefined) {
      act(node);
    }
  }

  key(event) {
    this.on(event, node => {
      const isDrawn = one => one !== undefined && one !== null && [...this.drawn.values()].includes(one);
      const beside = node.parent === null ? this.roots : node.parent.children;
      const shown = beside.filter(isDrawn);
      const at = shown.indexOf(node);
      const largest = node.children
        .filter(isDrawn)
        .reduce((best, one) => (best === null || this.value(one) > this.value(best) ? one : best), null);
      const next = {
        ArrowUp: node.parent,
        ArrowDown: largest,
        ArrowLeft: shown[at - 1],
        ArrowRight: shown[at + 1],
      }[event.key];
      if (event.key === 'Escape') {
        this.zoom(null);
      } else if (event.key.startsWith('Arrow')) {
        event.preventDefault();
        if (isDrawn(next)) {
          this.moveTo(next);
        }
      }
    });
  }
}

// What tells a frame from others, from one profile to the next.
function key(node) {
  const names = [];
  for (let at = node; at !== null; at = at.parent) {
    names.push(at.name.name);
  }
  return JSON.stringify(names);
}

// From the flat list to frames that know their callers.
function nodes(flame) {
  const above = [];
  return flame.depths.map((depth, index) => {
    above.length = depth;
    const parent = above[depth - 1] ?? null;
    const node = {
      depth,
      parent,
      name: flame.names[flame.frames[index]],
      values: flame.values[index],
      children: [],
    };
    parent?.children.push(node);
    above.push(node);
    return node;
  });
}
