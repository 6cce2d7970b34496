// Reads cases from stdin as JSON and plays them with npr/report/envs.mjs; tests/report/test_envs.py
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { IDS, make, random } = await import(pathToFileURL(process.argv[2]));
const cases = JSON.parse(readFileSync(0, "utf8"));

function episode({ id, kwargs, state, actions }) {
  const env = make(id, kwargs);
  env.reset(random(0));
  env.state = state;
  const rows = { first: env.observe(), obs: [], rewards: [], terminated: [], truncated: [] };
  for (const action of actions) {
    const { reward, terminated, truncated } = env.step(action);
    rows.obs.push(env.observe());
    rows.rewards.push(reward);
    rows.terminated.push(terminated);
    rows.truncated.push(truncated);
  }
  return rows;
}

const answers = {
  ids: () => IDS,
  limit: ({ id }) => {
    const { limit } = make(id);
    return limit === Infinity ? null : limit;
  },
  table: ({ id, kwargs }) => {
    const env = make(id, kwargs);
    return { table: env.table(), first: env.first };
  },
  masks: ({ id }) => {
    const env = make(id);
    return Array.from({ length: env.n }, (_, s) => env.mask(s));
  },
  episode,
  starts: ({ id, n }) => {
    const env = make(id);
    const rng = random(1);
    return Array.from({ length: n }, () => {
      env.reset(rng);
      return env.state;
    });
  },
  noise: ({ id, noise, n }) => {
    const env = make(id);
    const rng = random(2);
    env.reset(rng);
    return Array.from({ length: n }, () => env.observe(noise, rng));
  },
  draws: ({ id, state, action, n }) => {
    const env = make(id);
    env.reset(random(3));
    return Array.from({ length: n }, () => {
      env.state = state;
      env.step(action);
      return env.state;
    });
  },
};
process.stdout.write(JSON.stringify(cases.map((one) => answers[one.ask](one))));
