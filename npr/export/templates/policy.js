// $TITLE
// $MEASURED
// Written by npr $VERSION.
//
//     import { act } from $FILE;
//     const action = act(observation);
//
// Weights are float32 numbers in base64; arithmetic is in float64.

/** Where the policy comes from, and what observations, actions and noise are. */
export const meta = $META;

/** @type {Policy} */
const policy = $POLICY;

const tests = $TESTS;

/**
 * @typedef {{ W: string, b: string, gain: string | null, inputs: number, outputs: number,
 *             activation: string }} Stored
 * @typedef {{ W: Float32Array, b: Float32Array, gain: Float32Array | null, activation: string,
 *             inputs: number, out: Float64Array }} Layer
 * @typedef {{ numbers: number, inputs: number, divisor: number, start: number | null }} Part
 * @typedef {{ head: string, kind: string, outputs: number, actions: number, masked: number,
 *             choices: number[], start: number[], low: (number | null)[],
 *             high: (number | null)[], middle: number[], half: number[], epsilon: number,
 *             temperature: number, spread: Stored | string | null,
 *             clip: [number, number] | null }} Head
 * @typedef {Head & { parts: Part[], inputs: number, layers: Stored[],
 *             table: (number | number[])[] | null, mask: number[], noise: number,
 *             norm: { mean: string, scale: string, clip: number } | null,
 *             ranges: (number | null)[], members: Head[] }} Policy
 */

/**
 * The deterministic action for one observation, e.g. act([0.1, 0.2, 0.3]).
 *
 * @param {number | ArrayLike<number>} obs  the environment's numbers, not normalized, a Dict's
 *     parts in the order of their names; or one number, for a Discrete space
$MASK_COMMENT * @returns {$ACTION}
 * @throws {RangeError} if it has another length, or holds a number that is not valid$MASK_ERROR
 */
export function act(obs$MASK) {
  return /** @type {$ACTION} */ (choose(encode(obs), null, $ALLOWED));
}
$SAMPLE
/**
 * The largest error of the stored tests, in units of the action's range, or of a tenth of its
 * largest bound if that is more; without bounds, of the action if that is larger than 1.
 *
 * @returns {number}  at most 1e-5; 0 for indices
 */
export function selftest() {
  const inputs = floats(tests.observations), count = meta.observation.numbers;
  /** @type {(want: Float32Array, run: (obs: Float32Array, i: number) => any) => number} */
  const largest = (want, run) => {
    let worst = 0;
    for (let i = 0; i < inputs.length / count; i++) {
      const got = [run(inputs.subarray(i * count, (i + 1) * count), i)].flat();
      got.forEach((value, j) => {
        const right = want[i * got.length + j];
        const unit = policy.ranges[j] ?? Math.max(1, Math.abs(right));
        const error = Math.abs(value - right) / unit;
        worst = error <= worst ? worst : error;
      });
    }
    return worst;
  };
  return $LARGEST;
}

// ---- from numbers of the observation to the network's inputs

/** @type {(obs: number | ArrayLike<number>) => Float64Array} */
function encode(obs) {
  const given = typeof obs === "number" ? [obs] : obs;
  if (given?.length !== meta.observation.numbers) {
    const numbers = meta.observation.numbers;
    throw new RangeError(`An observation has length ${numbers}, got ${given?.length}.`);
  }
  const x = new Float64Array(policy.inputs);
  let from = 0, to = 0;
  for (const part of policy.parts) {
    for (let i = 0; i < part.numbers; i++, from++) {
      const value = given[from], index = value - (part.start ?? 0);
      if (!Number.isFinite(Math.fround(value))) {
        throw new RangeError(`Number ${from} of the observation is ${value}, not a finite float32.`);
      }
      if (part.start === null) {
        x[to + i] = value / part.divisor;
      } else if (!Number.isInteger(index) || index < 0 || index >= part.inputs) {
        throw new RangeError(`Number ${from} of the observation is ${value}, not a whole number ` +
          `from ${part.start} to ${part.start + part.inputs - 1}.`);
      } else if (policy.table) {
        x[0] = index;
      } else {
        x[to + index] = 1;
      }
    }
    to += part.inputs;
  }
  if (norm) {
    for (let i = 0; i < to; i++) {
      const value = (x[i] - norm.mean[i]) * norm.scale[i];
      x[i] = Math.min(Math.max(value, -norm.clip), norm.clip);
    }
  }
  return x;
}

$MASKS// ---- from inputs to actions; without noise deterministic ones

/** @typedef {ArrayLike<number> | null} Noise */
/** @typedef {boolean[] | null} Allowed */

/** @type {(x: Float64Array, noise: Noise, allowed: Allowed) => number | number[]} */
function choose(x, noise, allowed) {
  if (policy.table) {
    const ranked = [policy.table[x[0]]].flat();
    const open = ranked.filter((a) => !allowed || allowed[a]);
    if (!open.length) throw new RangeError("The mask allows no action in this state.");
    return explored(open[0], noise, policy.mask.length ? open : every()) + policy.start[0];
  }
  if (noise && policy.head === "sampler") x.set(noise, policy.inputs - policy.noise);
  const y = layers.reduce(dense, x);
  if (!policy.members.length) return toEnvironment(policy, chosen(policy, y, x, noise, allowed));
  let [from, to, place] = [0, 0, 0];
  return policy.members.flatMap((one) => {
    const own = noise && Array.from(noise).slice(to, (to += one.actions));
    const open = allowed && one.masked ? allowed.slice(place, (place += one.masked)) : null;
    const a = chosen(one, y.subarray(from, (from += one.outputs)), x, own, open);
    return toEnvironment(one, a);
  });
}

/**
 * @type {(part: Head, y: Float64Array, x: Float64Array, noise: Noise, allowed: Allowed)
 *     => number | number[]}
 */
function chosen(part, y, x, noise, allowed) {
  switch (part.head) {
    case "argmax":
      return explored(choice(limited(y, allowed), undefined), noise,
        every().filter((a) => !allowed || allowed[a]));
    case "categorical":
      return choice(limited(y, allowed).map((value) => value / part.temperature), noise?.[0]);
    case "multi_categorical": {
      let from = 0;
      const scores = limited(y, allowed);
      return part.choices.map((n, i) => choice(scores.subarray(from, (from += n)), noise?.[i]));
    }
    case "bernoulli":
      return Array.from(y, (value, i) => {
        if (allowed && allowed[2 * i] !== allowed[2 * i + 1]) return Number(allowed[2 * i + 1]);
        return Number(noise ? noise[i] < 0.5 + 0.5 * Math.tanh(0.5 * value) : value > 0);
      });
    case "gaussian":
      return Array.from(noisy(part, y, x, noise));
    default:
      return Array.from(noisy(part, y, x, noise), Math.tanh);
  }
}

/** @type {(x: Float64Array, layer: Layer) => Float64Array} */
function dense(x, layer) {
  const { W, b, gain, inputs, out, activation } = layer;
  for (let i = 0, k = 0; i < out.length; i++) {
    let sum = gain ? 0 : b[i];
    for (let j = 0; j < inputs; j++, k++) sum += W[k] * x[j];
    out[i] = sum;
  }
  if (gain) normalize(out, gain, b);
  for (let i = 0; i < out.length; i++) {
    let sum = out[i];
    if (activation === "relu") sum = Math.max(sum, 0);
    else if (activation === "tanh") sum = Math.tanh(sum);
    else if (activation === "elu") sum = sum > 0 ? sum : Math.expm1(sum);
    out[i] = sum;
  }
  return out;
}

/** @type {(x: Float64Array, gain: Float32Array, b: Float32Array) => void} */
function normalize(x, gain, b) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + $EPSILON);
  for (let i = 0; i < x.length; i++) x[i] = (x[i] - mean) * scale * gain[i] + b[i];
}

/** @type {(scores: Float64Array, noise: number | undefined) => number} */
function choice(scores, noise) {
  const best = scores.reduce((top, score, i) => (score > scores[top] ? i : top), 0);
  if (noise === undefined) return best;
  let total = 0;
  const reached = scores.map((score) => (total += Math.exp(score - scores[best])));
  return Math.min(reached.filter((sum) => sum <= noise * total).length, reached.indexOf(total));
}

/** @type {(y: Float64Array, allowed: Allowed) => Float64Array} */
function limited(y, allowed) {
  return allowed ? y.map((value, i) => (allowed[i] ? value : -Infinity)) : y;
}

/** @type {() => number[]} */
const every = () => Array.from({ length: policy.choices[0] }, (_, a) => a);

/** @type {(best: number, noise: Noise, open: number[]) => number} */
function explored(best, noise, open) {
  const random = noise && noise[0] < policy.epsilon;
  return random ? open[Math.min(Math.floor(noise[1] * open.length), open.length - 1)] : best;
}

/** @type {(part: Head, mean: Float64Array, x: Float64Array, noise: Noise) => Float64Array} */
function noisy(part, mean, x, noise) {
  const spread = spreads.get(part);
  if (!noise || !spread) return mean;
  const last = layers.at(-2)?.out ?? x;
  const logStd = spread instanceof Float32Array ? Float64Array.from(spread) : dense(last, spread);
  const [low, high] = part.clip ?? [-Infinity, Infinity];
  return mean.map((m, i) => m + Math.exp(Math.min(Math.max(logStd[i], low), high)) * noise[i]);
}

// ---- from the agent's actions to the environment's

/** @type {(part: Head, a: number | number[]) => number | number[]} */
function toEnvironment(part, a) {
  const { kind, start, low, high, middle, half } = part;
  if (typeof a === "number") return a + start[0];
  if (kind !== "box") return a.map((value, i) => value + (start[i] ?? 0));
  return a.map((value, i) => {
    const scaled = value * half[i] + middle[i];
    return Math.min(Math.max(scaled, low[i] ?? -Infinity), high[i] ?? Infinity);
  });
}

// ---- arrays

/** @type {(base64: string) => Float32Array} */
function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);  // little-endian on every machine
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

/** @type {(stored: Stored) => Layer} */
function layer(stored) {
  const { W, b, gain, outputs } = stored;
  const out = new Float64Array(outputs);
  return { ...stored, W: floats(W), b: floats(b), gain: gain ? floats(gain) : null, out };
}

const layers = policy.layers.map(layer);
const norm = policy.norm && {
  mean: floats(policy.norm.mean), scale: floats(policy.norm.scale), clip: policy.norm.clip,
};
const spreads = new Map([policy, ...policy.members].map((part) => {
  const { spread } = part;
  return [part, typeof spread === "string" ? floats(spread) : spread && layer(spread)];
}));
