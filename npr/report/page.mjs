// Builds the page from the data in it, and runs the agents.
//
// `policies` has { meta, act } of each agent that runs here: its own JavaScript export.

import { learningCurve, returnsStrip, short } from "./charts.mjs";
import { between, paint, paintMap, policyMap } from "./draw.mjs";
import { make, random } from "./envs.mjs";

const TRAIL = 14; // states before the current one that are drawn
const PAUSE = 900; // milliseconds that the end of an episode is shown
const KEYS = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
  " ": "act",
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** An element: h("p", { class: "note" }, "text", ...); properties that begin with on are listeners. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

let ids = 0;

/** A slider with its name and its value. */
function slider({ label, min, max, step, unit = "", value, shown = String, change }) {
  const id = `slider${ids++}`;
  const output = h("output", { for: id });
  const input = h("input", { id, type: "range", min, max, step, value });
  const show = () => {
    output.textContent = `${shown(input.valueAsNumber)} ${unit}`.trim();
  };
  input.addEventListener("input", () => {
    show();
    change(input.valueAsNumber);
  });
  show();
  return {
    element: h("div", { class: "slider" }, h("label", { for: id }, label), output, input),
    set(x) {
      input.value = x;
      show();
    },
  };
}

// ---- an agent at work

class Player {
  /**
   * agent    its data, with `live`: { env, kwargs, limit, policy }
   * act      observation, mask of actions -> action
   * small    for a page with many of them
   */
  constructor(agent, act, small) {
    const { env, kwargs, limit } = agent.live;
    this.agent = agent;
    this.small = small;
    this.env = make(env, kwargs, limit);
    this.act = this.env.mask ? (obs) => act(obs, this.env.mask(obs)) : act;
    this.usual = Object.fromEntries(this.env.params.map(({ key }) => [key, this.env[key]]));
    this.rng = random(1 + this.agent.live.policy);
    this.noise = 0;
    this.start = null;
    this.speed = 1;
    this.running = !calm.matches;
    this.human = false;
    this.held = {};
    this.episodes = 0;
    this.returns = []; // of complete episodes of the agent with the usual settings
    this.total = 0; // steps
    this.last = null; // time of the last frame
    this.visible = true;
    this.build();
    this.restart();
  }

  // -- the episode

  restart() {
    this.env.reset(this.rng, this.start);
    this.previous = this.env.state;
    this.score = 0;
    this.action = null;
    this.ended = null;
    this.fraction = 1;
    this.trail = [];
    this.fair = this.usualSettings();
    this.pressed = null;
    this.show();
  }

  usualSettings() {
    const same = this.env.params.every(({ key }) => this.env[key] === this.usual[key]);
    return same && !this.noise && this.start === null && !this.human;
  }

  choose() {
    if (!this.human) return this.act(this.env.observe(this.noise, this.rng));
    if (!this.env.byPress) return this.env.byKeys(this.held);
    const action = this.pressed;
    this.pressed = null;
    return action;
  }

  step() {
    if (this.ended) {
      this.restart();
      return;
    }
    const action = this.choose();
    if (action === null) return; // the human has not pressed a key
    this.fair &&= this.usualSettings();
    this.trail = [...this.trail, this.env.state].slice(-TRAIL);
    this.previous = this.env.state;
    this.action = action;
    const { reward, terminated, truncated } = this.env.step(action);
    this.score += reward;
    this.total += 1;
    if (!terminated && !truncated) return;
    this.ended = terminated ? "ended" : "time is up";
    this.episodes += 1;
    if (this.fair) this.returns.push(this.score);
  }

  /** Take the steps that are due at a time in milliseconds, and draw. */
  frame(now) {
    const passed = this.last === null ? 0 : Math.min(100, now - this.last);
    this.last = now;
    if (!this.visible) return;
    const waits = this.human && this.env.byPress && this.fraction >= 1 && this.pressed === null;
    if (this.running && !(waits && !this.ended)) this.advance(passed);
    this.draw();
  }

  advance(passed) {
    if (this.ended) {
      this.waited = (this.waited ?? 0) + passed * Math.max(1, this.speed);
      if (this.waited < PAUSE && this.fraction >= 1) return;
      if (this.waited >= PAUSE) {
        this.waited = 0;
        this.restart();
        return;
      }
    }
    this.fraction += (passed / 1000) * this.env.fps * this.speed;
    if (this.ended) this.fraction = Math.min(1, this.fraction);
    while (this.fraction > 1 && !this.ended) {
      const before = this.total;
      this.step();
      if (this.total === before) {
        this.fraction = 1;
        break;
      }
      this.fraction -= 1;
    }
    this.show();
  }

  draw() {
    const { env } = this;
    const share = calm.matches ? 1 : Math.min(1, this.fraction);
    const state = between(env, this.previous, env.state, share);
    const view = { state, action: this.action, trail: this.trail, arrows: null };
    if (env.rows) {
      view.shown = share < 1 ? this.previous : env.state;
      view.arrows = this.arrows();
    }
    paint(this.canvas, env, view);
    if (!this.map) return;
    this.image ??= policyMap(env, this.act);
    paintMap(this.map, env, this.image, view);
  }

  arrows() {
    const { env } = this;
    const cells = Array.from({ length: env.rows * env.columns }, (_, cell) => env.stateOf(cell));
    const key = String(cells);
    if (key !== this.arrowsOf) {
      this.arrowsOf = key;
      this.drawn = cells.map((s) => (s === null ? null : this.act(s)));
    }
    return this.drawn;
  }

  // -- what the user does

  toggle() {
    this.running = !this.running;
    this.show();
  }

  takeOver(human) {
    this.human = human;
    this.held = {};
    this.pressed = null;
    if (human) {
      this.running = true;
      this.canvas.focus({ preventScroll: true });
    }
    this.restart();
  }

  /** A key or touch button goes down or up. Taking over begins a new episode. */
  key(name, down) {
    if (down && !this.human) this.takeOver(true);
    this.held[name] = down;
    if (down && this.env.byPress) this.pressed = this.env.byPress(name) ?? null;
  }

  // -- the elements

  build() {
    const { env, small } = this;
    const name = this.agent.env;
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": `${name}, played live. Arrow keys take over.` });
    this.badge = h("span", { class: "badge" });
    this.end = h("span", { class: "end" });
    this.stage = h("div", { class: env.rows ? "stage grid" : "stage" }, this.canvas, this.badge, this.end);
    this.play = h("button", { type: "button", onclick: () => this.toggle() });
    const stepOnce = () => {
      this.running = false;
      this.fraction = 1;
      this.step();
      this.show();
      this.draw();
    };
    this.hand = h("button", { type: "button", class: "hand", onclick: () => this.takeOver(!this.human) });
    const buttons = h(
      "div",
      { class: "buttons" },
      this.play,
      h("button", { type: "button", onclick: stepOnce }, "Step"),
      h("button", { type: "button", onclick: () => this.restart() }, "Restart"),
      this.hand,
    );
    this.live = Object.fromEntries(
      ["Episode", "Step", "Return", "Action"].map((key) => [key, h("dd", { "data-live": key.toLowerCase() })]),
    );
    const numbers = Object.entries(this.live).map(([key, dd]) => h("div", {}, h("dt", {}, key), dd));
    this.summary = h("p", { class: "note summary" });
    this.pad = this.touchPad();
    const sliders = this.sliders();
    const settings = small ? h("details", {}, h("summary", {}, "Change the world"), sliders) : sliders;
    const plane = env.plane && !small ? this.planeFigure() : null;
    const parts = [buttons, this.pad, h("dl", { class: "live" }, ...numbers), settings, this.summary];
    this.element = small
      ? h("div", { class: "player small" }, this.stage, ...parts)
      : h("div", { class: "player" }, h("div", { class: "view" }, this.stage, plane), h("div", { class: "panel" }, ...parts));
    for (const [type, down] of [["keydown", true], ["keyup", false]]) {
      (small ? this.canvas : document).addEventListener(type, (event) => this.onKey(event, down));
    }
    this.canvas.addEventListener("blur", () => {
      this.held = {};
    });
    new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
    }).observe(this.canvas);
  }

  onKey(event, down) {
    if (event.key === "Escape" && down && this.human) this.takeOver(false);
    const name = KEYS[event.key];
    if (!name || event.ctrlKey || event.metaKey || event.altKey) return;
    // sliders have arrow keys of their own, the space bar presses buttons, up and down scroll
    const own = name === "act" ? "input, summary, button" : "input";
    if (event.target.closest?.(own)) return;
    const playing = this.human || event.target === this.canvas;
    if (name === "act" && !(this.env.decode && this.human)) return;
    if ((name === "up" || name === "down") && !(this.env.byPress && playing)) return;
    event.preventDefault();
    if (!(down && event.repeat && !this.env.byPress)) this.key(name, down);
  }

  touchPad() {
    const grid = Boolean(this.env.byPress);
    const names = grid ? ["left", "up", "down", "right"] : ["left", "right"];
    const signs = { left: "←", right: "→", up: "↑", down: "↓" };
    const button = (name, text) => {
      const set = (down) => (event) => {
        event.preventDefault();
        this.key(name, down);
      };
      // a press of the keyboard has no pointer
      const click = (event) => {
        if (event.detail === 0) this.key(name, true);
      };
      const events = { onpointerdown: set(true), onpointerup: set(false), onpointerleave: () => this.human && this.key(name, false), onclick: click };
      return h("button", { type: "button", "aria-label": name, ...events }, text);
    };
    const act = this.env.decode ? [button("act", "Pick up or drop off")] : [];
    return h("div", { class: "pad", role: "group", "aria-label": "Your actions" }, ...names.map((n) => button(n, signs[n])), ...act);
  }

  planeFigure() {
    this.map = h("canvas", { role: "img", "aria-label": `The policy over ${this.env.plane.x[0]} and ${this.env.plane.y[0]}` });
    const { names } = this.env.actions;
    const [least, most] = names.length > 1 ? [names[0], names.at(-1)] : [`negative ${names[0]}`, `positive ${names[0]}`];
    const middle = names.length === 3 ? [["ice", names[1]]] : [];
    const keys = [["second", least], ...middle, ["accent", most]].map(([color, text]) =>
      h("span", { class: `key ${color}` }, text),
    );
    return h("figure", { class: "plane" }, this.map, h("figcaption", {}, "What the policy does:", ...keys));
  }

  sliders() {
    const { env } = this;
    const held = [];
    const add = (options) => {
      const one = slider(options);
      held.push([one, options.value]);
      return one.element;
    };
    const params = env.params.map((param) =>
      add({
        ...param,
        value: env[param.key],
        shown: (x) => String(+x.toFixed(4)),
        change: (x) => {
          // the slider cannot hold every number, such as 2/3
          env[param.key] = Math.abs(x - this.usual[param.key]) < param.step / 2 ? this.usual[param.key] : x;
          env.made = null;
          this.show();
        },
      }),
    );
    const noise = add({
      label: "Noise on observations", min: 0, max: 1, step: 0.01, value: 0,
      shown: (x) => `${Math.round(100 * x)} %`,
      change: (x) => {
        this.noise = x;
        this.show();
      },
    });
    const { starts } = env;
    const low = starts.min - starts.step; // the lowest place of the slider is a random start
    const start = add({
      ...starts, min: low, value: low,
      shown: (x) => (x < starts.min - starts.step / 2 ? "random" : `${+x.toFixed(2)} ${starts.unit ?? ""}`.trim()),
      unit: "",
      change: (x) => {
        this.start = x < starts.min - starts.step / 2 ? null : x;
        this.restart();
        this.draw();
      },
    });
    const speed = add({
      label: "Speed", min: -2, max: 5, step: 1, value: 0,
      shown: (x) => `× ${2 ** x}`,
      change: (x) => {
        this.speed = 2 ** x;
      },
    });
    const reset = () => {
      for (const [one, value] of held) one.set(value);
      Object.assign(env, this.usual, { made: null });
      [this.noise, this.start, this.speed] = [0, null, 1];
      this.restart();
    };
    const button = h("button", { type: "button", class: "plain", onclick: reset }, "As in training");
    return h("div", { class: "sliders" }, ...params, noise, start, speed, button);
  }

  show() {
    const { env, live } = this;
    this.play.textContent = this.running ? "Pause" : "Play";
    this.hand.textContent = this.human ? "Give back" : "Take over";
    this.hand.setAttribute("aria-pressed", this.human);
    this.badge.textContent = this.human ? "You" : "Agent";
    this.stage.classList.toggle("human", this.human);
    this.pad.classList.toggle("shown", this.human);
    this.end.textContent = this.ended ? `${this.ended}: ${short(this.score)}` : "";
    live.Episode.textContent = this.episodes + (this.ended ? 0 : 1);
    live.Step.textContent = env.limit < 1e6 ? `${env.steps} / ${env.limit}` : env.steps;
    live.Return.textContent = short(this.score);
    live.Action.textContent = this.actionName();
    this.summary.textContent = this.summaryText();
  }

  actionName() {
    if (this.action === null) return "–";
    const { names, n } = this.env.actions;
    return n ? names[this.action] : this.action[0].toFixed(2).replace("-", "−");
  }

  summaryText() {
    const { returns, agent } = this;
    if (!this.usualSettings() && !this.human) return "The world is not as in training.";
    if (this.human) {
      return this.env.byPress
        ? `Arrow keys move${this.env.decode ? ", space picks up and drops off" : ""}; Escape gives back.`
        : "Hold the left or right arrow key; Escape gives back.";
    }
    if (!returns.length) return "";
    const many = returns.length === 1 ? "1 episode" : `${returns.length} episodes`;
    const here = `${many} here, mean return ${short(mean(returns))}`;
    const beside = agent.evaluation && !this.small; // a card has the evaluation below
    return beside ? `${here}; evaluated: ${short(agent.evaluation.mean)}.` : `${here}.`;
  }
}

// ---- the page

function paragraph(text) {
  return h("p", { class: "note" }, text);
}

/** A table of names and values. */
function table(rows, caption) {
  const body = rows.map(([name, value, changed]) =>
    h("tr", changed ? { class: "changed" } : {}, h("th", { scope: "row" }, name), h("td", {}, value)),
  );
  return h("table", {}, h("caption", { class: "hidden" }, caption), h("tbody", {}, ...body));
}

function section(title, ...children) {
  return h("section", {}, h("h2", {}, title), ...children);
}

/** Mean and deviation with the same number of digits after the point. */
function plusMinus({ mean: center, std }) {
  if (Number.isInteger(center) && !std) return `${short(center)} ± 0`;
  const size = Math.floor(Math.log10(Math.max(Math.abs(center), std, 0.01)));
  const [a, b] = [center, std].map((x) => x.toFixed(Math.max(0, 2 - size)).replace("-", "−"));
  return `${a} ± ${b}`;
}

function figures(agent) {
  const found = [];
  if (agent.curve.x.length || agent.evaluations.x.length) {
    const box = h("div", { class: "chart" });
    learningCurve(box, agent);
    const dots = agent.evaluations.x.length ? [h("span", { class: "key dots" }, "evaluations during the run")] : [];
    const caption = h("figcaption", {}, h("span", { class: "key accent" }, "training episodes: mean, and 80 % of them"), ...dots);
    found.push(section("Learning", h("figure", {}, box, caption)));
  } else {
    found.push(section("Learning", paragraph("There is no learning curve: the episodes of a training are in its run folder.")));
  }
  const { evaluation } = agent;
  if (evaluation) {
    const box = h("div", { class: "chart" });
    returnsStrip(box, evaluation.returns, evaluation.mean);
    const rows = [
      ["Return", plusMinus(evaluation)],
      ["Lowest, highest", `${short(evaluation.min)}, ${short(evaluation.max)}`],
      ["Steps of an episode", short(evaluation.length)],
    ];
    if (evaluation.success !== null) rows.push(["Success", `${Math.round(100 * evaluation.success)} %`]);
    const caption = `The returns of ${evaluation.returns.length} episodes with deterministic actions, and their mean`;
    found.push(section("Evaluation", h("figure", {}, box, h("figcaption", {}, caption)), table(rows, "Evaluation")));
  } else {
    found.push(section("Evaluation", paragraph(agent.not_evaluated)));
  }
  return h("div", { class: "columns" }, ...found);
}

function report(agent, player) {
  const { evaluation } = agent;
  const lead = [agent.trained, evaluation && `return ${plusMinus(evaluation)} over ${evaluation.returns.length} episodes`];
  const changed = agent.settings.filter(([, , differs]) => differs);
  const others = agent.settings.filter(([, , differs]) => !differs);
  const settings = [
    changed.length ? table(changed, "Changed settings") : paragraph("All settings have their defaults."),
    others.length ? h("details", {}, h("summary", {}, `${others.length} settings with their defaults`), table(others, "Other settings")) : null,
  ];
  return [
    h("header", {}, h("p", { class: "kicker" }, "Run report"), h("h1", {}, agent.title), h("p", { class: "lead" }, lead.filter(Boolean).join(" · "))),
    player ? h("section", { class: "hero" }, player.element) : h("section", {}, h("h2", {}, "Live"), paragraph(agent.not_live)),
    figures(agent),
    h("div", { class: "columns" }, section("Settings", ...settings), section("Origin", table(agent.facts, "Origin"))),
  ];
}

function card(agent, player) {
  const { evaluation } = agent;
  const chart = h("div", { class: "chart spark" });
  learningCurve(chart, agent, true);
  const result = evaluation ? plusMinus(evaluation) : "";
  return h(
    "article",
    { class: "card" },
    h("header", {}, h("h2", {}, agent.algorithm), h("p", {}, agent.env)),
    player ? player.element : paragraph(agent.not_live),
    h("footer", {}, chart, h("p", { class: "note result" }, h("span", {}, agent.trained), h("strong", {}, result))),
  );
}

function gallery(data, players) {
  const cards = data.agents.map((agent, i) => card(agent, players[i]));
  const pause = h("button", { type: "button" }, "Pause all");
  pause.addEventListener("click", () => {
    const stop = players.some((player) => player?.running);
    for (const player of players) {
      if (player && player.running === stop) player.toggle();
    }
    pause.textContent = stop ? "Play all" : "Pause all";
  });
  return [
    h("header", {}, h("p", { class: "kicker" }, "Gallery"), h("h1", {}, data.title), h("p", { class: "lead" }, data.lead), pause),
    h("div", { class: "cards" }, ...cards),
  ];
}

/** Episodes of an agent without drawing, as evaluate() plays them: their returns and lengths. */
function measured(agent, act, episodes) {
  const env = make(agent.live.env, agent.live.kwargs, agent.live.limit);
  const rng = random(7);
  const found = { returns: [], lengths: [] };
  for (let i = 0; i < episodes; i++) {
    env.reset(rng);
    let [score, over] = [0, false];
    while (!over) {
      const { reward, terminated, truncated } = env.step(act(env.observe()));
      score += reward;
      over = terminated || truncated || env.steps >= 10_000;
    }
    found.returns.push(score);
    found.lengths.push(env.steps);
  }
  return found;
}

/** How many different pictures forty frames give. */
function pictures(player) {
  const found = new Set();
  player.visible = true;
  for (let i = 1; i <= 40; i++) {
    player.frame(player.last + 90);
    found.add(player.canvas.toDataURL());
  }
  return found.size;
}

/** With #check=N in the address: N episodes of each agent, as JSON in an element of its own. */
function check(data, players) {
  const [, episodes] = /^#check=(\d+)$/.exec(location.hash) ?? [];
  if (!episodes) return;
  setTimeout(() => {
    const found = data.agents.map((agent, i) => {
      if (!players[i]) return null;
      const { total, act } = players[i];
      return { steps: total, pictures: pictures(players[i]), ...measured(agent, act, Number(episodes)) };
    });
    document.body.append(h("pre", { id: "check" }, JSON.stringify(found)));
  }, 1500);
}

function main(policies) {
  const data = JSON.parse(document.getElementById("data").textContent);
  const small = data.kind === "gallery";
  document.body.className = data.kind;
  const players = data.agents.map((agent) => {
    if (!agent.live) return null;
    try {
      return new Player(agent, policies[agent.live.policy].act, small);
    } catch (error) {
      agent.not_live = `The agent does not act on this page: ${error.message}`;
      return null;
    }
  });
  const content = small ? gallery(data, players) : report(data.agents[0], players[0]);
  document.getElementById("page").replaceChildren(...content, h("footer", { class: "foot" }, data.made_by));
  const live = players.filter(Boolean);
  const loop = (now) => {
    for (const player of live) player.frame(now);
    requestAnimationFrame(loop);
  };
  for (const player of live) player.draw();
  requestAnimationFrame(loop);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const player of live) player.image = null;
  });
  check(data, players);
}

main(policies);
