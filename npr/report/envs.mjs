// Environments of Gymnasium, step for step: same states, rewards, ends and rounding to float32.
//
//   const env = make("Pendulum-v1", { g: 9.81 });   // arguments as of gymnasium.make
//   env.reset(random(0));
//   const { reward, terminated, truncated } = env.step([0.5]);
//
// An environment has `state`, `observe()` (what the policy is given), `params` (what sliders may
// change, each a property of the environment) and `starts` (the start states that may be chosen).
// One that says which actions are allowed has `mask(observation)`.

const f32 = Math.fround;
const f32s = (numbers) => numbers.map(f32);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** A generator of numbers in [0, 1) from a whole number. */
export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const uniform = (rng, low, high) => low + (high - low) * rng();
const normal = (rng) => Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());

/** Counts the steps of an episode and ends it at the time limit, as Gymnasium's TimeLimit. */
class Env {
  constructor(limit) {
    this.limit = limit;
    this.steps = 0;
  }

  /** Begin an episode: at `start`, a value of `starts`, or at random if it is null. */
  reset(rng, start = null) {
    this.rng = rng;
    this.steps = 0;
    this.begin(rng, start);
  }

  step(action) {
    const { reward, terminated } = this.advance(action);
    this.steps += 1;
    return { reward, terminated, truncated: this.steps >= this.limit };
  }
}

/** Environments whose observations are a few numbers. */
class Control extends Env {
  /** The observation with noise: a share of what each number usually varies by. */
  observe(noise = 0, rng = null) {
    const seen = this.numbers();
    return noise ? f32s(seen.map((x, i) => x + noise * this.spread[i] * normal(rng))) : seen;
  }
}

// ---- classic control

class CartPole extends Control {
  actions = { n: 2, names: ["left", "right"] };
  fps = 50;
  spread = [1, 1, 0.1, 1];
  names = ["position", "velocity", "angle", "angular velocity"];
  gravity = 9.8;
  params = [{ key: "gravity", label: "Gravity", min: 0, max: 30, step: 0.1, unit: "m/s²" }];
  starts = { label: "Start angle", min: -0.2, max: 0.2, step: 0.01, unit: "rad" };
  plane = { x: ["angle", -0.21, 0.21], y: ["angular velocity", -2, 2] };

  constructor({ sutton_barto_reward = false } = {}, limit = 500) {
    super(limit);
    this.sutton = sutton_barto_reward;
  }

  begin(rng, start) {
    this.state = [0, 0, 0, 0].map(() => uniform(rng, -0.05, 0.05));
    if (start !== null) this.state[2] = start;
  }

  advance(action) {
    let [x, v, angle, w] = this.state;
    const force = action === 1 ? 10 : -10;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [mass, pole, length] = [0.1 + 1.0, 0.1, 0.5];
    const temp = (force + pole * length * (w * w) * sin) / mass;
    const turn =
      (this.gravity * sin - cos * temp) / (length * (4 / 3 - (pole * (cos * cos)) / mass));
    const push = temp - (pole * length * turn * cos) / mass;
    const tau = 0.02;
    x += tau * v;
    v += tau * push;
    angle += tau * w;
    w += tau * turn;
    this.state = [x, v, angle, w];
    const edge = (12 * 2 * Math.PI) / 360;
    const terminated = x < -2.4 || x > 2.4 || angle < -edge || angle > edge;
    const reward = this.sutton ? (terminated ? -1 : 0) : 1;
    return { reward, terminated };
  }

  numbers() {
    return f32s(this.state);
  }

  inPlane() {
    return [this.state[2], this.state[3]];
  }

  fromPlane(angle, w) {
    return f32s([0, 0, angle, w]);
  }

  /** Without a key the cart is pushed to and fro: it has no action that does nothing. */
  byKeys({ left, right }) {
    return left === right ? this.steps % 2 : right ? 1 : 0;
  }
}

class Car extends Control {
  fps = 30;
  spread = [0.3, 0.02];
  names = ["position", "velocity"];
  gravity = 0.0025;
  params = [{ key: "gravity", label: "Gravity", min: 0, max: 0.005, step: 0.0001, unit: "" }];
  starts = { label: "Start position", min: -1.2, max: 0.4, step: 0.01, unit: "" };
  plane = { x: ["position", -1.2, 0.6], y: ["velocity", -0.07, 0.07] };

  constructor({ goal_velocity = 0 } = {}, limit) {
    super(limit);
    this.goalVelocity = goal_velocity;
  }

  begin(rng, start) {
    const drawn = uniform(rng, -0.6, -0.4);
    this.state = [start ?? drawn, 0];
  }

  numbers() {
    return f32s(this.state);
  }

  inPlane() {
    return this.state;
  }

  fromPlane(x, v) {
    return f32s([x, v]);
  }
}

class MountainCar extends Car {
  actions = { n: 3, names: ["left", "coast", "right"] };
  goal = 0.5;

  constructor(kwargs, limit = 200) {
    super(kwargs, limit);
  }

  advance(action) {
    let [x, v] = this.state;
    v += (action - 1) * 0.001 + Math.cos(3 * x) * -this.gravity;
    v = clamp(v, -0.07, 0.07);
    x = clamp(x + v, -1.2, 0.6);
    if (x === -1.2 && v < 0) v = 0;
    this.state = [x, v];
    return { reward: -1, terminated: x >= this.goal && v >= this.goalVelocity };
  }

  byKeys({ left, right }) {
    return 1 + (right ? 1 : 0) - (left ? 1 : 0);
  }
}

class MountainCarContinuous extends Car {
  actions = { low: [-1], high: [1], names: ["force"] };
  goal = 0.45;

  constructor(kwargs, limit = 999) {
    super(kwargs, limit);
  }

  /** Gymnasium keeps the state in float32, except for the one that an episode begins with. */
  advance(action) {
    const round = this.steps ? f32 : (x) => x;
    const asked = f32(action[0]);
    const force = clamp(asked, -1, 1);
    let [x, v] = this.state;
    const slope = f32(this.gravity * Math.cos(round(3 * x)));
    v = round(v + f32(f32(force * f32(0.0015)) - slope));
    v = clamp(v, -f32(0.07), f32(0.07));
    x = clamp(round(x + v), round(-1.2), round(0.6));
    if (x === round(-1.2) && v < 0) v = 0;
    const terminated = x >= round(this.goal) && v >= this.goalVelocity;
    this.state = f32s([x, v]);
    return { reward: (terminated ? 100 : 0) - asked ** 2 * 0.1, terminated };
  }

  byKeys({ left, right }) {
    return [(right ? 1 : 0) - (left ? 1 : 0)];
  }
}

class Acrobot extends Control {
  actions = { n: 3, names: ["left", "none", "right"] };
  fps = 15;
  spread = [0.5, 0.5, 0.5, 0.5, 3, 6];
  names = ["cos θ₁", "sin θ₁", "cos θ₂", "sin θ₂", "velocity 1", "velocity 2"];
  gravity = 9.8;
  params = [{ key: "gravity", label: "Gravity", min: 0, max: 30, step: 0.1, unit: "m/s²" }];
  starts = { label: "Start angle", min: -3.1, max: 3.1, step: 0.1, unit: "rad" };
  plane = { x: ["θ₁", -Math.PI, Math.PI], y: ["θ₂", -Math.PI, Math.PI] };

  constructor(kwargs, limit = 500) {
    super(limit);
  }

  begin(rng, start) {
    this.state = f32s([0, 0, 0, 0].map(() => uniform(rng, -0.1, 0.1)));
    if (start !== null) this.state[0] = start;
  }

  derivatives([t1, t2, w1, w2], torque) {
    const [g, lc, inertia] = [this.gravity, 0.5, 1]; // masses and lengths are 1
    const d1 = lc ** 2 + (1 + lc ** 2 + 2 * lc * Math.cos(t2)) + inertia + inertia;
    const d2 = lc ** 2 + lc * Math.cos(t2) + inertia;
    const phi2 = lc * g * Math.cos(t1 + t2 - Math.PI / 2);
    const phi1 =
      -lc * w2 ** 2 * Math.sin(t2) -
      2 * lc * w2 * w1 * Math.sin(t2) +
      (lc + 1) * g * Math.cos(t1 - Math.PI / 2) +
      phi2;
    const a2 =
      (torque + (d2 / d1) * phi1 - lc * w1 ** 2 * Math.sin(t2) - phi2) /
      (lc ** 2 + inertia - d2 ** 2 / d1);
    return [w1, w2, -(d2 * a2 + phi1) / d1, a2];
  }

  advance(action) {
    const dt = 0.2;
    const s = this.state;
    const slope = (scale, k) =>
      this.derivatives(k ? s.map((x, i) => x + scale * k[i]) : s, action - 1);
    const k1 = slope(0, null);
    const k2 = slope(dt / 2, k1);
    const k3 = slope(dt / 2, k2);
    const k4 = slope(dt, k3);
    const next = s.map((x, i) => x + (dt / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
    this.state = [
      wrapped(next[0]),
      wrapped(next[1]),
      clamp(next[2], -4 * Math.PI, 4 * Math.PI),
      clamp(next[3], -9 * Math.PI, 9 * Math.PI),
    ];
    const [t1, t2] = this.state;
    const terminated = -Math.cos(t1) - Math.cos(t2 + t1) > 1;
    return { reward: terminated ? 0 : -1, terminated };
  }

  numbers() {
    const [t1, t2, w1, w2] = this.state;
    return f32s([Math.cos(t1), Math.sin(t1), Math.cos(t2), Math.sin(t2), w1, w2]);
  }

  inPlane() {
    return [this.state[0], this.state[1]];
  }

  fromPlane(t1, t2) {
    return f32s([Math.cos(t1), Math.sin(t1), Math.cos(t2), Math.sin(t2), 0, 0]);
  }

  byKeys({ left, right }) {
    return 1 + (right ? 1 : 0) - (left ? 1 : 0);
  }
}

function wrapped(angle) {
  while (angle > Math.PI) angle -= 2 * Math.PI;
  while (angle < -Math.PI) angle += 2 * Math.PI;
  return angle;
}

class Pendulum extends Control {
  actions = { low: [-2], high: [2], names: ["torque"] };
  fps = 30;
  spread = [0.5, 0.5, 2];
  names = ["cos θ", "sin θ", "velocity"];
  params = [{ key: "gravity", label: "Gravity", min: 0, max: 30, step: 0.1, unit: "m/s²" }];
  starts = { label: "Start angle", min: -3.14, max: 3.14, step: 0.01, unit: "rad" };
  plane = { x: ["angle", Math.PI, -Math.PI], y: ["velocity", -8, 8] }; // left is left

  constructor({ g = 10 } = {}, limit = 200) {
    super(limit);
    this.gravity = g;
  }

  begin(rng, start) {
    const drawn = uniform(rng, -Math.PI, Math.PI);
    this.state = [start ?? drawn, uniform(rng, -1, 1)];
    this.torque = 0;
  }

  advance(action) {
    const [angle, w] = this.state;
    const torque = clamp(f32(action[0]), -2, 2);
    this.torque = torque;
    const cost =
      upright(angle) ** 2 + 0.1 * w ** 2 + f32(f32(0.001) * f32(torque ** 2));
    const turn = ((3 * this.gravity) / 2) * Math.sin(angle) + f32(3 * torque);
    const next = clamp(w + turn * 0.05, -8, 8);
    this.state = [angle + next * 0.05, next];
    return { reward: -cost, terminated: false };
  }

  numbers() {
    const [angle, w] = this.state;
    return f32s([Math.cos(angle), Math.sin(angle), w]);
  }

  inPlane() {
    return [upright(this.state[0]), this.state[1]];
  }

  fromPlane(angle, w) {
    return f32s([Math.cos(angle), Math.sin(angle), w]);
  }

  byKeys({ left, right }) {
    return [2 * ((left ? 1 : 0) - (right ? 1 : 0))];
  }
}

/** The angle in [-pi, pi) that is 0 upright, with the remainder of Python. */
function upright(angle) {
  const rest = (angle + Math.PI) % (2 * Math.PI);
  return (rest < 0 ? rest + 2 * Math.PI : rest) - Math.PI;
}

// ---- grid worlds

/**
 * Environments with a table of transitions:
 * table()[state][action] = [[probability, next state, reward, terminated], ...].
 */
class Grid extends Env {
  fps = 5;
  names = ["state"];

  begin(rng, start) {
    this.made = null; // a slider may have changed what the table holds
    const { values } = this.starts;
    const drawn = Math.floor(rng() * this.first.length);
    this.state = start === null ? this.first[drawn] : values[clamp(start, 0, values.length - 1)];
    this.lastAction = null;
  }

  advance(action) {
    this.made ??= this.table();
    const outcomes = this.made[this.state][action];
    let left = this.rng();
    const chosen = outcomes.find(([p]) => (left -= p) < 0) ?? outcomes.at(-1);
    this.state = chosen[1];
    this.lastAction = action;
    return { reward: chosen[2], terminated: chosen[3] };
  }

  table() {
    const states = Array.from({ length: this.n }, (_, s) => s);
    return states.map((s) =>
      Array.from({ length: this.actions.n }, (_, a) => this.outcomes(s, a)),
    );
  }

  /** The state, or with noise, in this share of the steps, any other one. */
  observe(noise = 0, rng = null) {
    return noise && rng() < noise ? Math.floor(rng() * this.n) : this.state;
  }

  /** The state of a cell, row after row; null for a cell that no step is taken from. */
  stateOf(cell) {
    return "GHC".includes(this.letter(cell)) ? null : cell;
  }

  inside(row, column) {
    return [clamp(row, 0, this.rows - 1), clamp(column, 0, this.columns - 1)];
  }
}

const LAKES = {
  "4x4": ["SFFF", "FHFH", "FFFH", "HFFG"],
  "8x8": [
    "SFFFFFFF",
    "FFFFFFFF",
    "FFFHFFFF",
    "FFFFFHFF",
    "FFFHFFFF",
    "FHHFFFHF",
    "FHFFHFHF",
    "FFFHFFFG",
  ],
};
const SLIP = { key: "slip", label: "Slipping", min: 0, max: 1, step: 0.01, unit: "" };

/** [probability, action]: moves along `action` and to both sides, which are next to it. */
function slipping(slip, action) {
  if (!slip) return [[1, action]];
  const sides = slip / 2;
  return [
    [sides, (action + 3) % 4],
    [1 - slip, action],
    [sides, (action + 1) % 4],
  ];
}

class FrozenLake extends Grid {
  actions = { n: 4, names: ["left", "down", "right", "up"] };
  moves = [[0, -1], [1, 0], [0, 1], [-1, 0]];
  params = [SLIP];

  constructor(kwargs = {}, limit = 100) {
    super(limit);
    const { desc = null, map_name = "4x4", is_slippery = true } = kwargs;
    const { success_rate = 1 / 3, reward_schedule = [1, 0, 0] } = kwargs;
    this.map = desc ?? LAKES[map_name];
    this.rewards = reward_schedule;
    this.slip = is_slippery ? 1 - success_rate : 0;
    [this.rows, this.columns] = [this.map.length, this.map[0].length];
    this.n = this.rows * this.columns;
    const cells = [...this.map.join("")].map((letter, i) => [letter, i]);
    this.first = cells.filter(([letter]) => letter === "S").map(([, i]) => i);
    const values = cells.filter(([letter]) => !"GH".includes(letter)).map(([, i]) => i);
    this.starts = { label: "Start cell", min: 0, max: values.length - 1, step: 1, values };
  }

  letter(s) {
    return this.map[Math.floor(s / this.columns)][s % this.columns];
  }

  outcomes(s, action) {
    if ("GH".includes(this.letter(s))) return [[1, s, 0, true]];
    return slipping(this.slip, action).map(([p, a]) => {
      const [row, column] = this.inside(
        Math.floor(s / this.columns) + this.moves[a][0],
        (s % this.columns) + this.moves[a][1],
      );
      const next = row * this.columns + column;
      const letter = this.letter(next);
      const reward = this.rewards[letter === "G" ? 0 : letter === "H" ? 1 : 2];
      return [p, next, reward, "GH".includes(letter)];
    });
  }

  byPress(key) {
    return { left: 0, down: 1, right: 2, up: 3 }[key];
  }
}

class CliffWalking extends Grid {
  actions = { n: 4, names: ["up", "right", "down", "left"] };
  moves = [[-1, 0], [0, 1], [1, 0], [0, -1]];
  params = [SLIP];
  rows = 4;
  columns = 12;
  n = 48;
  first = [36];

  constructor({ is_slippery = false } = {}, limit = Infinity) {
    super(limit);
    this.slip = is_slippery ? 2 / 3 : 0;
    const values = Array.from({ length: 37 }, (_, i) => i);
    this.starts = { label: "Start cell", min: 0, max: 36, step: 1, values };
  }

  letter(s) {
    return s === 36 ? "S" : s === 47 ? "G" : s > 36 ? "C" : "F";
  }

  outcomes(s, action) {
    return slipping(this.slip, action).map(([p, a]) => {
      const [row, column] = this.inside(
        Math.floor(s / 12) + this.moves[a][0],
        (s % 12) + this.moves[a][1],
      );
      const next = row * 12 + column;
      return this.letter(next) === "C" ? [p, 36, -100, false] : [p, next, -1, next === 47];
    });
  }

  byPress(key) {
    return { up: 0, right: 1, down: 2, left: 3 }[key];
  }
}

const TOWN = ["|R: | : :G|", "| : | : : |", "| : : : : |", "| | : | : |", "|Y| : |B: |"];
const STOPS = [[0, 0], [0, 4], [4, 0], [4, 3]];
const IN_TAXI = 4;

class Taxi extends Grid {
  actions = { n: 6, names: ["down", "up", "right", "left", "pick up", "drop off"] };
  moves = [[1, 0], [-1, 0], [0, 1], [0, -1]];
  params = [{ ...SLIP, label: "Rain (drifting)" }];
  rows = 5;
  columns = 5;
  n = 500;
  stops = STOPS;

  constructor({ is_rainy = false, rainy_probability = 0.8 } = {}, limit = 200) {
    super(limit);
    this.slip = is_rainy ? 1 - rainy_probability : 0;
    const states = Array.from({ length: 500 }, (_, s) => s);
    this.first = states.filter((s) => {
      const { passenger, goal } = this.decode(s);
      return passenger !== IN_TAXI && passenger !== goal;
    });
    const max = this.first.length - 1;
    this.starts = { label: "Start state", min: 0, max, step: 1, values: this.first };
  }

  decode(s) {
    const place = Math.floor(s / 20);
    return {
      row: Math.floor(place / 5),
      column: place % 5,
      passenger: Math.floor(s / 4) % 5,
      goal: s % 4,
    };
  }

  /** With the passenger and the goal of the current state. */
  stateOf(cell) {
    return cell * 20 + (this.state % 20);
  }

  encode(row, column, passenger, goal) {
    return ((row * 5 + column) * 5 + passenger) * 4 + goal;
  }

  /** Whether a wall is beside a cell: side is 1 for the right one, -1 for the left one. */
  wall(row, column, side) {
    return TOWN[row][2 * column + 1 + side] === "|";
  }

  /** The cell that a move leads to: the same one at a wall or at the edge. */
  moved(row, column, [down, right]) {
    if (right && this.wall(row, column, right)) return [row, column];
    return this.inside(row + down, column + right);
  }

  outcomes(s, action) {
    const { row, column, passenger, goal } = this.decode(s);
    if (action < 4) {
      const [down, right] = this.moves[action];
      const ahead = this.moved(row, column, [down, right]);
      const free = ahead[0] !== row || ahead[1] !== column;
      // where the way ahead is free, the rain may carry the taxi to a side instead
      const sides = [[-right, down], [right, -down]].map((move) =>
        free ? this.moved(row, column, move) : ahead,
      );
      const cells = this.slip ? [ahead, ...sides] : [ahead];
      const shares = this.slip ? [1 - this.slip, this.slip / 2, this.slip / 2] : [1];
      return cells.map(([r, c], i) => [shares[i], this.encode(r, c, passenger, goal), -1, false]);
    }
    const here = STOPS.findIndex(([r, c]) => r === row && c === column);
    let [next, reward, terminated] = [passenger, -10, false];
    if (action === 4 && passenger !== IN_TAXI && passenger === here) {
      [next, reward] = [IN_TAXI, -1];
    } else if (action === 5 && passenger === IN_TAXI && here >= 0) {
      terminated = here === goal;
      [next, reward] = [here, terminated ? 20 : -1];
    }
    return [[1, this.encode(row, column, next, goal), reward, terminated]];
  }

  /** 1 for each action that does something in a state, 0 for the others. */
  mask(s) {
    const { row, column, passenger } = this.decode(s);
    const here = STOPS.findIndex(([r, c]) => r === row && c === column);
    const moves = this.moves.map((move) => {
      const [r, c] = this.moved(row, column, move);
      return r !== row || c !== column;
    });
    const inTaxi = passenger === IN_TAXI;
    return [...moves, !inTaxi && passenger === here, inTaxi && here >= 0].map(Number);
  }

  byPress(key) {
    if (key === "act") return this.decode(this.state).passenger === IN_TAXI ? 5 : 4;
    return { down: 0, up: 1, right: 2, left: 3 }[key];
  }
}

// ---- by id

/** Id of Gymnasium -> [class, arguments that its registration fixes, time limit or undefined]. */
const ENVS = {
  "CartPole-v1": [CartPole, {}],
  "MountainCar-v0": [MountainCar, {}],
  "MountainCarContinuous-v0": [MountainCarContinuous, {}],
  "Acrobot-v1": [Acrobot, {}],
  "Pendulum-v1": [Pendulum, {}],
  "FrozenLake-v1": [FrozenLake, { map_name: "4x4" }],
  "FrozenLake8x8-v1": [FrozenLake, { map_name: "8x8" }, 200],
  "CliffWalking-v1": [CliffWalking, {}],
  "CliffWalkingSlippery-v1": [CliffWalking, { is_slippery: true }],
  "Taxi-v4": [Taxi, {}],
};

export const IDS = Object.keys(ENVS);

/**
 * An environment.
 *
 * id       one of IDS
 * kwargs   arguments, as of gymnasium.make
 * limit    steps after which an episode is truncated; null: the registered limit
 */
export function make(id, kwargs = {}, limit = null) {
  if (!IDS.includes(id)) throw new Error(`There is no JavaScript version of ${id}.`);
  const [kind, fixed, registered] = ENVS[id];
  return new kind({ ...fixed, ...kwargs }, limit ?? registered);
}
