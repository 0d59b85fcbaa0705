// Written by `skein load export`. Run it with:
//   k6 run -e SKEIN_URL=https://… -e SKEIN_API_KEY=skn_… this-file.js
import http from 'k6/http';
import { check, fail } from 'k6';

const url = __ENV.SKEIN_URL || 'http://127.0.0.1:8700';
const mix = /*mix*/;
const all = mix.reduce((sum, [, weight]) => sum + weight, 0);
const body = JSON.stringify({ agent: /*agent*/, input: /*input*/, metadata: { load: /*scenario*/ } });
const definition = /*definition*/;

export const options = {
  scenarios: {
    load: {
      executor: 'ramping-arrival-rate',
      timeUnit: '1m',
      startRate: /*begins*/,
      stages: /*stages*/,
      preAllocatedVUs: /*users*/,
      maxVUs: /*most_users*/,
    },
  },
  thresholds: /*thresholds*/,
};

function params(name) {
  return {
    headers: { Authorization: `Bearer ${__ENV.SKEIN_API_KEY}`, 'Content-Type': 'application/json' },
    tags: { name },
  };
}

function createRun() {
  return http.post(`${url}/v1/runs`, body, params('create_run'));
}

export function setup() {
  if (definition) {
    const stored = http.post(`${url}/v1/agents/${/*agent*/}`, definition, params('prepare'));
    if (stored.status !== 200 && stored.status !== 201) fail(`the agent cannot be stored: ${stored.body}`);
  }
  const first = createRun();
  if (first.status !== 202) fail(`no run can be created: ${first.body}`);
  return { run: first.json('id') };
}

let latest;

export default function (data) {
  let rest = Math.random() * all;
  const [name] = mix.find(([, weight]) => (rest -= weight) < 0) || mix[0];
  let answer;
  switch (name) {
    case 'create_run':
      answer = createRun();
      if (answer.status === 202) latest = answer.json('id');
      break;
    case 'read_run':
      answer = http.get(`${url}/v1/runs/${latest || data.run}`, params(name));
      break;
    case 'list_runs':
      answer = http.get(`${url}/v1/runs`, params(name));
      break;
    case 'read_agent':
      answer = http.get(`${url}/v1/agents/${/*agent*/}`, params(name));
      break;
  }
  check(answer, { answered: (one) => one.status === 200 || one.status === 202 });
}
