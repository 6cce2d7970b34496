// Learning curves and returns as SVG, drawn at the width that they have on the page.

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A number in few characters: 12,500 is 12.5k. */
export function short(x) {
  const size = Math.abs(x);
  if (size >= 1e6) return `${+(x / 1e6).toFixed(2)}M`;
  if (size >= 1e4) return `${+(x / 1e3).toFixed(1)}k`;
  if (size >= 100 || Number.isInteger(x)) return `${Math.round(x)}`.replace("-", "−");
  return `${+x.toPrecision(3)}`.replace("-", "−");
}

/** About n round numbers from low to high, each with its text: [number, text] pairs. */
export function ticks(low, high, n) {
  const raw = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const numbers = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
  return numbers.map((x) => {
    const [unit, name] = Math.abs(x) >= 1e6 ? [1e6, "M"] : Math.abs(x) >= 1e4 ? [1e3, "k"] : [1, ""];
    const digits = Math.max(0, Math.ceil(Math.log10(unit / step) - 1e-9)); // so that texts differ
    return [x, `${+(x / unit).toFixed(digits)}${name}`.replace("-", "−")];
  });
}

const pathOf = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

/** Call draw(width) now and whenever the width of an element changes. */
function whenSized(element, draw) {
  let last = 0;
  new ResizeObserver(() => {
    const width = Math.round(element.clientWidth);
    if (!width || width === last) return;
    last = width;
    requestAnimationFrame(() => draw(width)); // it changes the height
  }).observe(element);
}

/**
 * A learning curve in an element.
 *
 * curve         x, mean, low, high: env steps, and the returns of the episodes that end near them
 * evaluations   x, mean, low, high of the evaluations during the run; empty if there were none
 * small         without axes and numbers
 */
export function learningCurve(element, { curve, evaluations }, small = false) {
  const all = [...curve.low, ...curve.high, ...evaluations.low, ...evaluations.high];
  if (!all.length) return;
  let [low, high] = [Math.min(...all), Math.max(...all)];
  if (low === high) [low, high] = [low - 1, high + 1];
  const [first, last] = [0, Math.max(...curve.x, ...evaluations.x)];
  whenSized(element, (width) => {
    const height = small ? 52 : Math.round(Math.min(320, Math.max(200, width * 0.46)));
    const [left, right, top, bottom] = small ? [1, 1, 4, 4] : [48, 14, 12, 38];
    const px = (x) => left + ((width - left - right) * (x - first)) / (last - first || 1);
    const py = (y) => top + ((height - top - bottom) * (high - y)) / (high - low);
    const points = (xs, ys) => xs.map((x, i) => [px(x), py(ys[i])]);
    const label = `Return of an episode over ${short(last)} env steps, from ${short(low)} to ${short(high)}`;
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    if (!small) {
      for (const [y, text] of ticks(low, high, 5)) {
        root.append(
          svg("line", { class: "rule", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
          svg("text", { class: "tick", x: left - 8, y: py(y) + 4, "text-anchor": "end" }, text),
        );
      }
      for (const [x, text] of ticks(first, last, Math.max(2, width / 130))) {
        root.append(svg("text", { class: "tick", x: px(x), y: height - 16, "text-anchor": "middle" }, text));
      }
      root.append(svg("text", { class: "tick", x: width - right, y: height - 3, "text-anchor": "end" }, "env steps"));
    }
    if (curve.x.length) {
      const band = [...points(curve.x, curve.high), ...points(curve.x, curve.low).reverse()];
      root.append(
        svg("path", { class: "band", d: `${pathOf(band)}Z` }),
        svg("path", { class: "curve", d: pathOf(points(curve.x, curve.mean)) }),
      );
    }
    if (!small) {
      points(evaluations.x, evaluations.mean).forEach(([x, y], i) => {
        root.append(
          svg("line", { class: "bar", x1: x, x2: x, y1: py(evaluations.low[i]), y2: py(evaluations.high[i]) }),
          svg("circle", { class: "dot", cx: x, cy: y, r: 3.5 }),
        );
      });
      root.append(hover(root, { left, top, width, height, bottom, px, py, curve }));
    }
    element.replaceChildren(root);
  });
}

/** A line and the numbers of the curve at the pointer. */
function hover(root, { left, top, width, height, bottom, px, py, curve }) {
  const rule = svg("line", { class: "cursor", y1: top, y2: height - bottom });
  const dot = svg("circle", { class: "cursor-dot", r: 4 });
  const text = svg("text", { class: "cursor-text", y: top + 10 });
  const group = svg("g", { visibility: "hidden" }, rule, dot, text);
  root.addEventListener("pointermove", (event) => {
    if (!curve.x.length) return;
    const x = event.clientX - root.getBoundingClientRect().left;
    const away = curve.x.map((one) => Math.abs(px(one) - x));
    const i = away.indexOf(Math.min(...away));
    const at = px(curve.x[i]);
    for (const name of ["x1", "x2"]) rule.setAttribute(name, at);
    dot.setAttribute("cx", at);
    dot.setAttribute("cy", py(curve.mean[i]));
    const end = at > (left + width) / 2;
    text.setAttribute("x", at + (end ? -8 : 8));
    text.setAttribute("text-anchor", end ? "end" : "start");
    text.textContent = `${short(curve.x[i])} steps: ${short(curve.mean[i])}`;
    group.setAttribute("visibility", "visible");
  });
  root.addEventListener("pointerleave", () => group.setAttribute("visibility", "hidden"));
  return group;
}

/** Returns as dots on a line, with their mean. */
export function returnsStrip(element, returns, mean) {
  let [low, high] = [Math.min(...returns), Math.max(...returns)];
  if (low === high) {
    const apart = Math.abs(low) / 10 || 1;
    [low, high] = [low - apart, high + apart];
  }
  whenSized(element, (width) => {
    const height = 92;
    const px = (x) => 14 + ((width - 28) * (x - low)) / (high - low);
    const label = `${returns.length} returns from ${short(low)} to ${short(high)}`;
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    for (const [x, text] of ticks(low, high, Math.max(2, width / 90))) {
      const anchor = px(x) > width - 22 ? "end" : px(x) < 22 ? "start" : "middle";
      root.append(
        svg("line", { class: "rule", x1: px(x), x2: px(x), y1: 8, y2: 68 }),
        svg("text", { class: "tick", x: px(x), y: 86, "text-anchor": anchor }, text),
      );
    }
    // dots that would hide each other are above each other
    const columns = new Map();
    for (const x of returns) {
      const column = Math.round(px(x) / 6);
      columns.set(column, [...(columns.get(column) ?? []), x]);
    }
    const most = Math.max(...[...columns.values()].map((column) => column.length));
    const apart = Math.min(6.5, 58 / most);
    for (const column of columns.values()) {
      column.forEach((x, i) => {
        const y = 38 + apart * (i - (column.length - 1) / 2);
        root.append(svg("circle", { class: "sample", cx: px(x), cy: y, r: 3 }));
      });
    }
    root.append(svg("line", { class: "mean", x1: px(mean), x2: px(mean), y1: 4, y2: 72 }));
    element.replaceChildren(root);
  });
}
