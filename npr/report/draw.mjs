// Pictures of environments on a canvas, in the colors of the page.

const LIGHT_TEXT = "#fff";

/** The colors of the page's style sheet, by name without dashes. */
export function colors() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "sheet", "ink", "soft", "line", "accent", "second", "ice", "hole", "bad", "good"];
  return Object.fromEntries(names.map((n) => [n, style.getPropertyValue(`--${n}`).trim()]));
}

/** A 2D context whose units are CSS pixels, cleared, and its width and height. */
export function prepared(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.lineCap = ctx.lineJoin = "round";
  return { ctx, w: width, h: height };
}

/**
 * Draw an environment.
 *
 * view   state: the one to draw, as `between` gives it; action: the last one, or null; trail: states
 *        before it; arrows: the policy's action in each state of a grid, or null
 */
export function paint(canvas, env, view) {
  const { ctx, w, h } = prepared(canvas);
  if (w < 10 || h < 10) return;
  PAINTERS[env.constructor.name](ctx, w, h, env, { ...view, color: colors() });
}

/** The state that is the share t of the way from a to b; of a grid, [row, column]. */
export function between(env, a, b, t) {
  if (env.rows) {
    const [from, to] = [a, b].map((s) => cellOf(env, s));
    const far = Math.abs(from[0] - to[0]) + Math.abs(from[1] - to[1]) > 1;
    const eased = far ? Math.round(t) : t * t * (3 - 2 * t);
    return from.map((x, i) => x + eased * (to[i] - x));
  }
  return a.map((x, i) => {
    let change = b[i] - x;
    if (env.constructor.name === "Acrobot" && i < 2) {
      change -= 2 * Math.PI * Math.round(change / (2 * Math.PI));
    }
    return x + t * change;
  });
}

function cellOf(env, s) {
  const place = env.decode ? Math.floor(s / 20) : s;
  return [Math.floor(place / env.columns), place % env.columns];
}

// ---- shapes

function line(ctx, points, color, width) {
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.beginPath();
  points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.stroke();
}

function disc(ctx, x, y, r, color) {
  ctx.fillStyle = color;
  ctx.beginPath();
  ctx.arc(x, y, r, 0, 2 * Math.PI);
  ctx.fill();
}

function box(ctx, x, y, w, h, r, color) {
  ctx.fillStyle = color;
  ctx.beginPath();
  ctx.roundRect(x, y, w, h, r);
  ctx.fill();
}

function arrow(ctx, x, y, dx, dy, color, width) {
  const length = Math.hypot(dx, dy);
  if (length < 2) return;
  const [ux, uy] = [dx / length, dy / length];
  const head = Math.min(length, 3.2 * width);
  const [ex, ey] = [x + dx, y + dy];
  line(ctx, [[x, y], [ex - ux * head * 0.6, ey - uy * head * 0.6]], color, width);
  ctx.fillStyle = color;
  ctx.beginPath();
  ctx.moveTo(ex, ey);
  ctx.lineTo(ex - ux * head - uy * head * 0.6, ey - uy * head + ux * head * 0.6);
  ctx.lineTo(ex - ux * head + uy * head * 0.6, ey - uy * head - ux * head * 0.6);
  ctx.fill();
}

function flag(ctx, x, y, size, color, pole) {
  line(ctx, [[x, y], [x, y - size]], pole, Math.max(1.5, size / 16));
  ctx.fillStyle = color;
  ctx.beginPath();
  ctx.moveTo(x, y - size);
  ctx.lineTo(x + size * 0.5, y - size * 0.8);
  ctx.lineTo(x, y - size * 0.58);
  ctx.fill();
}

/** The points of the trail fade: the oldest are nearly invisible. */
function trail(ctx, points, color, size) {
  points.forEach(([x, y], i) => {
    ctx.globalAlpha = (0.35 * (i + 1)) / points.length;
    disc(ctx, x, y, size, color);
  });
  ctx.globalAlpha = 1;
}

/** The push of an action in [-1, 1], 0 for none; null where it has no direction. */
function push(env, action) {
  if (action === null) return 0;
  const { n, high } = env.actions;
  return n ? (n === 2 ? 2 * action - 1 : action - 1) : action[0] / high[0];
}

// ---- environments

const PAINTERS = {
  CartPole(ctx, w, h, env, { state, action, color }) {
    const scale = Math.min(w / 5.3, h / 2);
    const [x, ground] = [w / 2 + state[0] * scale, (h + 1.2 * scale) / 2];
    const [half, tall] = [0.28 * scale, 0.24 * scale];
    line(ctx, [[0, ground], [w, ground]], color.line, 1.5);
    for (let mark = -2.4; mark < 2.5; mark += 0.6) {
      const edge = Math.abs(mark) > 2.3;
      const at = w / 2 + mark * scale;
      line(ctx, [[at, ground + 4], [at, ground + (edge ? 16 : 9)]], edge ? color.bad : color.line, edge ? 2.5 : 1.5);
    }
    const top = ground - tall - 0.07 * scale;
    ctx.globalAlpha = 0.5;
    for (const side of [-1, 1]) {
      const tip = [x + side * Math.sin(0.2094) * scale, top - Math.cos(0.2094) * scale];
      ctx.setLineDash([2, 6]);
      line(ctx, [[x, top], tip], color.bad, 1.5);
    }
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    const force = push(env, action);
    const at = x + force * (half + 5);
    arrow(ctx, at, ground - 0.07 * scale - tall / 2, force * 0.36 * scale, 0, color.second, 0.05 * scale);
    box(ctx, x - half, top, 2 * half, tall, 0.05 * scale, color.ink);
    for (const side of [-0.6, 0.6]) {
      disc(ctx, x + side * half, ground - 0.075 * scale, 0.075 * scale, color.ink);
      disc(ctx, x + side * half, ground - 0.075 * scale, 0.03 * scale, color.sheet);
    }
    const tip = [x + Math.sin(state[2]) * scale, top - Math.cos(state[2]) * scale];
    line(ctx, [[x, top], tip], color.accent, 0.09 * scale);
    disc(ctx, x, top, 0.03 * scale, color.sheet);
  },

  MountainCar: mountain,
  MountainCarContinuous: mountain,

  Acrobot(ctx, w, h, env, { state, action, trail: before, color }) {
    const scale = Math.min(w / 4.4, h / 4.5);
    const [cx, cy] = [w / 2, h / 2];
    const joints = (s) => {
      const elbow = [cx + Math.sin(s[0]) * scale, cy + Math.cos(s[0]) * scale];
      const sum = s[0] + s[1];
      return [elbow, [elbow[0] + Math.sin(sum) * scale, elbow[1] + Math.cos(sum) * scale]];
    };
    ctx.setLineDash([6, 6]);
    line(ctx, [[w * 0.06, cy - scale], [w * 0.94, cy - scale]], color.good, 1.5);
    ctx.setLineDash([]);
    trail(ctx, before.map((s) => joints(s)[1]), color.second, 0.05 * scale);
    const [elbow, tip] = joints(state);
    line(ctx, [[cx, cy], elbow], color.ink, 0.13 * scale);
    line(ctx, [elbow, tip], color.accent, 0.13 * scale);
    turning(ctx, elbow[0], elbow[1], 0.3 * scale, push(env, action), color.second, 0.05 * scale);
    for (const [x, y] of [[cx, cy], elbow]) {
      disc(ctx, x, y, 0.11 * scale, color.ink);
      disc(ctx, x, y, 0.045 * scale, color.sheet);
    }
  },

  Pendulum(ctx, w, h, env, { state, trail: before, color }) {
    const scale = Math.min(w, h) / 2.7;
    const [cx, cy] = [w / 2, h / 2];
    const tipOf = (s) => [cx - Math.sin(s[0]) * scale, cy - Math.cos(s[0]) * scale];
    ctx.strokeStyle = color.line;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    ctx.arc(cx, cy, scale * 1.12, 0, 2 * Math.PI);
    ctx.stroke();
    line(ctx, [[cx, cy - scale * 1.06], [cx, cy - scale * 1.18]], color.good, 3);
    trail(ctx, before.map(tipOf), color.accent, 0.055 * scale);
    const tip = tipOf(state);
    line(ctx, [[cx, cy], tip], color.accent, 0.16 * scale);
    turning(ctx, cx, cy, 0.42 * scale, env.torque / 2, color.second, 0.05 * scale);
    disc(ctx, cx, cy, 0.1 * scale, color.ink);
    disc(ctx, cx, cy, 0.04 * scale, color.sheet);
  },

  FrozenLake(ctx, w, h, env, view) {
    const { color } = view;
    grid(ctx, w, h, env, view, (s, x, y, size) => {
      const letter = env.letter(s);
      box(ctx, x + 1.5, y + 1.5, size - 3, size - 3, size * 0.12, color.ice);
      if (letter === "H") disc(ctx, x + size / 2, y + size / 2, size * 0.34, color.hole);
      if (letter === "G") flag(ctx, x + size * 0.36, y + size * 0.8, size * 0.6, color.good, color.ink);
    });
  },

  CliffWalking(ctx, w, h, env, view) {
    const { color } = view;
    grid(ctx, w, h, env, view, (s, x, y, size) => {
      const letter = env.letter(s);
      const cliff = letter === "C";
      ctx.globalAlpha = cliff ? 0.85 : 1;
      box(ctx, x + 1.5, y + 1.5, size - 3, size - 3, size * 0.12, cliff ? color.bad : color.ice);
      ctx.globalAlpha = 1;
      if (letter === "G") flag(ctx, x + size * 0.36, y + size * 0.82, size * 0.64, color.good, color.ink);
    });
  },

  Taxi(ctx, w, h, env, view) {
    const { color } = view;
    const paints = ["#d1495b", "#3a9d5d", "#d9a013", "#3d7ec4"];
    const { passenger, goal } = env.decode(view.shown);
    const field = grid(ctx, w, h, env, view, (s, x, y, size) => {
      box(ctx, x + 1, y + 1, size - 2, size - 2, size * 0.06, color.ice);
      const stop = env.stops.findIndex(([r, c]) => r * 5 + c === s);
      if (stop < 0) return;
      ctx.globalAlpha = 0.35;
      box(ctx, x + 4, y + 4, size - 8, size - 8, size * 0.08, paints[stop]);
      ctx.globalAlpha = 1;
      if (stop === goal) flag(ctx, x + size * 0.68, y + size * 0.46, size * 0.34, paints[stop], color.ink);
      if (stop === passenger) person(ctx, x + size * 0.24, y + size * 0.72, size * 0.3, color.ink);
    });
    const { size, left, top } = field;
    for (let row = 0; row < 5; row++) {
      for (let column = 0; column < 4; column++) {
        if (!env.wall(row, column, 1)) continue;
        const x = left + (column + 1) * size;
        line(ctx, [[x, top + row * size + 3], [x, top + (row + 1) * size - 3]], color.ink, size * 0.07);
      }
    }
    const [x, y] = [left + (view.state[1] + 0.5) * size, top + (view.state[0] + 0.5) * size];
    const [long, wide] = [size * 0.56, size * 0.32];
    box(ctx, x - long / 2, y - wide / 2, long, wide, wide * 0.35, color.second);
    box(ctx, x - long * 0.26, y - wide * 0.86, long * 0.52, wide * 0.5, wide * 0.2, color.second);
    for (const side of [-0.28, 0.28]) disc(ctx, x + side * long, y + wide / 2, wide * 0.24, color.ink);
    if (passenger === 4) person(ctx, x, y - wide * 0.05, size * 0.22, LIGHT_TEXT);
  },
};

function person(ctx, x, y, size, color) {
  disc(ctx, x, y - size * 0.35, size * 0.3, color);
  ctx.beginPath();
  ctx.arc(x, y + size * 0.5, size * 0.46, Math.PI, 2 * Math.PI);
  ctx.fill();
}

/** An arc with an arrow head; positive strength turns to the left. */
function turning(ctx, x, y, r, strength, color, width) {
  if (Math.abs(strength) < 0.02) return;
  const from = -Math.PI / 2;
  const to = from - strength * 0.75 * Math.PI;
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.beginPath();
  ctx.arc(x, y, r, from, to, strength > 0);
  ctx.stroke();
  const [ex, ey] = [x + r * Math.cos(to), y + r * Math.sin(to)];
  const side = Math.sign(strength);
  const [dx, dy] = [Math.sin(to) * side * 3 * width, -Math.cos(to) * side * 3 * width];
  arrow(ctx, ex - dx * 0.4, ey - dy * 0.4, dx, dy, color, width);
}

function mountain(ctx, w, h, env, { state, action, color }) {
  const scale = w / 1.8;
  const up = Math.min(h * 0.62, scale * 0.9) / 0.9; // pixels per unit of height
  const px = (x) => (x + 1.2) * scale;
  const py = (x) => h * 0.9 - (Math.sin(3 * x) * 0.45 + 0.45) * up;
  const ridge = Array.from({ length: 91 }, (_, i) => -1.2 + (1.8 * i) / 90).map((x) => [px(x), py(x)]);
  ctx.fillStyle = color.ice;
  ctx.beginPath();
  ctx.moveTo(0, h);
  ridge.forEach(([x, y]) => ctx.lineTo(x, y));
  ctx.lineTo(w, h);
  ctx.fill();
  line(ctx, ridge, color.line, 2);
  const size = Math.min(w, h * 1.6);
  flag(ctx, px(env.goal), py(env.goal), size * 0.13, color.good, color.ink);
  const x = state[0];
  const slope = Math.atan2(-Math.cos(3 * x) * 1.35 * up, scale);
  ctx.save();
  ctx.translate(px(x), py(x));
  ctx.rotate(slope);
  const force = push(env, action);
  const [long, tall] = [size * 0.09, size * 0.034];
  arrow(ctx, (Math.sign(force) * long) / 1.8, -tall * 1.5, force * size * 0.07, 0, color.second, size * 0.011);
  box(ctx, -long / 2, -tall * 1.9, long, tall * 1.2, tall * 0.45, color.accent);
  box(ctx, -long * 0.26, -tall * 2.7, long * 0.5, tall * 1.2, tall * 0.5, color.accent);
  for (const side of [-0.28, 0.28]) {
    disc(ctx, side * long, -tall * 0.6, tall * 0.6, color.ink);
    disc(ctx, side * long, -tall * 0.6, tall * 0.25, color.sheet);
  }
  ctx.restore();
}

/** The cells of a grid, the policy's arrows, and the agent where it is not drawn by the caller. */
function grid(ctx, w, h, env, view, cell) {
  const { color, arrows } = view;
  const size = Math.floor(Math.min((w - 16) / env.columns, (h - 16) / env.rows));
  const [left, top] = [(w - size * env.columns) / 2, (h - size * env.rows) / 2];
  for (let s = 0; s < env.rows * env.columns; s++) {
    const [x, y] = [left + (s % env.columns) * size, top + Math.floor(s / env.columns) * size];
    cell(s, x, y, size);
    const action = arrows?.[s] ?? null;
    if (action === null || action >= env.moves.length) continue;
    const [down, right] = env.moves[action];
    const [dx, dy] = [right * size * 0.26, down * size * 0.26];
    ctx.globalAlpha = 0.55;
    arrow(ctx, x + size / 2 - dx / 2, y + size / 2 - dy / 2, dx, dy, color.soft, Math.max(1.5, size * 0.035));
    ctx.globalAlpha = 1;
  }
  if (!env.decode) {
    const [x, y] = [left + (view.state[1] + 0.5) * size, top + (view.state[0] + 0.5) * size];
    disc(ctx, x, y, size * 0.27, color.accent);
    disc(ctx, x - size * 0.08, y - size * 0.05, size * 0.04, LIGHT_TEXT);
    disc(ctx, x + size * 0.08, y - size * 0.05, size * 0.04, LIGHT_TEXT);
  }
  return { size, left, top };
}

// ---- the policy over two numbers of the state

const MAP = 56; // points along each side

/** Colors of `act` over env.plane, as an image of MAP x MAP points; the y axis points up. */
export function policyMap(env, act) {
  const color = colors();
  const shades = [color.second, color.ice, color.accent].map(parsed);
  const image = new ImageData(MAP, MAP);
  const [, x0, x1] = env.plane.x;
  const [, y0, y1] = env.plane.y;
  for (let row = 0; row < MAP; row++) {
    for (let column = 0; column < MAP; column++) {
      const x = x0 + ((x1 - x0) * (column + 0.5)) / MAP;
      const y = y1 - ((y1 - y0) * (row + 0.5)) / MAP;
      const t = push(env, act(env.fromPlane(x, y)));
      const end = shades[t > 0 ? 2 : 0];
      const share = Math.min(1, Math.abs(t));
      const rgb = shades[1].map((v, i) => v + share * (end[i] - v));
      image.data.set([...rgb, 255], 4 * (row * MAP + column));
    }
  }
  const held = document.createElement("canvas");
  held.width = held.height = MAP;
  held.getContext("2d").putImageData(image, 0, 0);
  return held;
}

/** Draw such an image with its axes, and where the state is in it. */
export function paintMap(canvas, env, image, view) {
  const { ctx, w, h } = prepared(canvas);
  const color = colors();
  const [left, bottom] = [22, 22];
  const [pw, ph] = [w - left - 1, h - bottom - 1];
  ctx.imageSmoothingEnabled = !env.actions.n;
  ctx.save();
  ctx.beginPath();
  ctx.roundRect(left, 1, pw, ph, 4);
  ctx.clip();
  ctx.drawImage(image, left, 1, pw, ph);
  const [, x0, x1] = env.plane.x;
  const [, y0, y1] = env.plane.y;
  const at = ([x, y]) => [left + (pw * (x - x0)) / (x1 - x0), 1 + (ph * (y1 - y)) / (y1 - y0)];
  const now = env.state;
  const place = (state) => {
    env.state = state;
    const point = at(env.inPlane());
    env.state = now;
    return point;
  };
  trail(ctx, view.trail.map(place), color.ink, 2.5);
  const [x, y] = place(view.state);
  disc(ctx, x, y, 6, color.sheet);
  disc(ctx, x, y, 4.5, color.ink);
  ctx.restore();
  ctx.fillStyle = color.soft;
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.fillText(env.plane.x[0], left + pw / 2, h - 6);
  ctx.save();
  ctx.translate(13, 1 + ph / 2);
  ctx.rotate(-Math.PI / 2);
  ctx.fillText(env.plane.y[0], 0, 0);
  ctx.restore();
}

function parsed(color) {
  return [1, 3, 5].map((i) => Number.parseInt(color.slice(i, i + 2), 16));
}
