// SPDX-License-Identifier: Apache-2.0
// Asks /admin/status every two seconds, keeps five minutes of it, and draws. No library, no build; all text goes in as text, never as markup.
"use strict";

const EVERY_MS = 2000;
const KEEP = 151; // samples: five minutes
const SMOOTH = 15; // samples over which latencies are taken: half a minute
const SMOOTH_RATE = 5; // samples over which rates are taken: ten seconds
const KEY = "llm-gateway-admin-key";
const FAILED = (code) => code === "429" || code.startsWith("5"); // what a client did wrong, or took back, is no failure of the platform

const $ = (id) => document.getElementById(id);
const history = [];
let chosen = ""; // model, or all
let timer = 0;

// --- small tools

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "circle"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function short(value, unit = "") {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const [factor, letter] = value >= 1e9 ? [1e9, " G"] : value >= 1e6 ? [1e6, " M"] : value >= 1e4 ? [1e3, " k"] : [1, ""];
  const scaled = value / factor;
  const digits = scaled >= 100 || Number.isInteger(scaled) ? 0 : scaled >= 10 ? 1 : 2;
  return scaled.toFixed(digits) + letter + unit;
}

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return value < 1 ? short(value * 1000, " ms") : short(value, " s");
}

// The value below which `share` of the observations lie; straight lines within buckets, as Prometheus does it.
function quantile(counts, bounds, share) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (!total) return null;
  let rank = share * total;
  for (let i = 0; i < counts.length; i++) {
    if (rank <= counts[i] && counts[i] > 0) {
      if (i >= bounds.length) return bounds[bounds.length - 1];
      const from = i ? bounds[i - 1] : 0;
      return from + ((bounds[i] - from) * rank) / counts[i];
    }
    rank -= counts[i];
  }
  return bounds[bounds.length - 1];
}

const minus = (later, earlier) => later.map((count, i) => Math.max(0, count - (earlier ? earlier[i] : 0)));
const plus = (one, other) => (one ? one.map((count, i) => count + other[i]) : other);

// --- what the samples say

// What is kept of a status: counts by model, each engine once (it may serve many models), the keys that were used.
function sampleOf(status) {
  const engines = new Map();
  const models = status.models.map((model) => {
    const states = {};
    for (const engine of model.engines) {
      states[engine.state] = (states[engine.state] || 0) + 1;
      const known = engines.get(engine.address) || { ...engine, models: [] };
      known.models.push(model.name);
      engines.set(engine.address, known);
    }
    const codes = Object.entries(model.requests);
    const sum = (pairs) => pairs.reduce((all, [, count]) => all + count, 0);
    return {
      name: model.name, states, in_flight: model.in_flight, queue: model.queue_depth,
      requests: sum(codes), failed: sum(codes.filter(([code]) => FAILED(code))), tokens: model.tokens.completion,
      ttft: model.histograms.time_to_first_token || null, itl: model.histograms.inter_token || null,
    };
  });
  const keys = status.keys
    .map((key) => ({ name: key.name, requests: key.requests, tokens: key.prompt_tokens + key.completion_tokens }))
    .filter((key) => key.requests)
    .sort((one, other) => other.tokens - one.tokens || other.requests - one.requests);
  return { time: status.time, models, engines: [...engines.values()].sort((one, other) => one.name.localeCompare(other.name)), keys };
}

// The models that count, as one: sums of everything.
function total(sample, name) {
  const sum = { requests: 0, failed: 0, tokens: 0, in_flight: 0, queue: 0, ttft: null, itl: null };
  for (const model of sample.models) {
    if (name && model.name !== name) continue;
    for (const field of ["requests", "failed", "tokens", "in_flight", "queue"]) sum[field] += model[field];
    for (const field of ["ttft", "itl"]) {
      if (model[field]) sum[field] = { bounds: model[field].bounds, counts: plus(sum[field] && sum[field].counts, model[field].counts) };
    }
  }
  return sum;
}

// Series over the kept samples: rates over the last ten seconds, latencies over the last half minute.
function series(name) {
  const found = { requests: [], failed: [], tokens: [], in_flight: [], queue: [], ttft50: [], ttft95: [], itl50: [], itl95: [] };
  const totals = history.map((sample) => total(sample, name));
  for (let i = 1; i < history.length; i++) {
    const now = totals[i];
    const back = Math.max(0, i - SMOOTH_RATE);
    const before = totals[back];
    const span = history[i].time - history[back].time || 1;
    for (const field of ["requests", "failed", "tokens"]) found[field].push(Math.max(0, now[field] - before[field]) / span);
    for (const field of ["in_flight", "queue"]) found[field].push(now[field]);
    const start = totals[Math.max(0, i - SMOOTH)];
    for (const field of ["ttft", "itl"]) {
      const counts = now[field] ? minus(now[field].counts, start[field] && start[field].counts) : [];
      for (const percent of [50, 95]) found[field + percent].push(quantile(counts, now[field] ? now[field].bounds : [], percent / 100));
    }
  }
  return found;
}

const last = (values) => (values.length ? values[values.length - 1] : null);

// --- drawing

function nice(top) {
  if (!(top > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(top));
  for (const step of [1, 2, 4, 6, 8, 10]) if (top <= step * power) return step * power;
  return 10 * power;
}

function curve(values, x, y) {
  let path = "";
  let pen = false;
  values.forEach((value, i) => {
    if (value === null) { pen = false; return; }
    path += `${pen ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = true;
  });
  return path;
}

// The chart's width follows its card, so that text is never stretched.
function chart(title, lines, show, width) {
  const [height, left, right, top, bottom] = [152, 50, 8, 8, 20];
  const highest = nice(Math.max(0, ...lines.flatMap((line) => line.values.filter((value) => value !== null))));
  const count = KEEP - 1;
  const shift = count - lines[0].values.length;
  const x = (i) => left + ((i + shift) * (width - left - right)) / (count - 1);
  const y = (value) => top + (1 - value / highest) * (height - top - bottom);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const share of [0, 0.5, 1]) {
    const level = y(highest * share);
    svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: level, y2: level }));
    svg.append(make("text", { x: left - 8, y: level + 4, "text-anchor": "end" }, show(highest * share)));
  }
  for (const minute of [5, 4, 3, 2, 1, 0]) {
    const place = left + ((5 - minute) / 5) * (width - left - right);
    const anchor = minute === 0 ? "end" : "middle";
    svg.append(make("text", { x: place, y: height - 4, "text-anchor": anchor }, minute === 5 ? "−5 min" : minute ? `−${minute}` : "now"));
  }
  for (const line of lines) {
    const path = curve(line.values, x, y);
    if (!path) continue;
    const known = line.values.map((value, i) => (value === null ? -1 : i)).filter((i) => i >= 0);
    if (line.area && known.length === line.values.length) {
      const area = make("path", { class: "area", d: `${path}L${x(known[known.length - 1])} ${y(0)}L${x(known[0])} ${y(0)}Z` });
      area.style.fill = `var(${line.color})`;
      svg.append(area);
    }
    const stroke = make("path", { class: "curve", d: path });
    stroke.style.stroke = `var(${line.color})`;
    svg.append(stroke);
    const end = known[known.length - 1];
    const dot = make("circle", { class: "dot", cx: x(end), cy: y(line.values[end]), r: 3.5 });
    dot.style.fill = `var(${line.color})`;
    svg.append(dot);
  }
  const legend = lines.map((line) => {
    const swatch = make("i");
    swatch.style.background = `var(${line.color})`;
    return make("span", {}, swatch, `${line.name} ${show(last(line.values))}`);
  });
  return make("div", { class: "chart" }, make("h3", {}, title), make("p", {}, ...legend), svg);
}

function spark(values) {
  const [width, height] = [144, 24];
  const highest = Math.max(1e-9, ...values);
  const shift = KEEP - 1 - values.length;
  const path = curve(values, (i) => 1 + ((i + shift) * (width - 2)) / (KEEP - 2), (value) => height - 2 - (value / highest) * (height - 5));
  const svg = make("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const stroke = make("path", { class: "curve", d: path || "M0 0" });
  stroke.style.stroke = "var(--blue)";
  svg.append(stroke);
  return svg;
}

function number(label, value, unit = "", bad = false) {
  const big = make("b", {}, value);
  if (unit) big.append(make("small", {}, unit));
  return make("div", { class: bad ? "number bad" : "number" }, big, make("span", {}, label));
}

function drawNumbers(found, sample) {
  const models = sample.models.filter((model) => !chosen || model.name === chosen);
  const engines = sample.engines.filter((engine) => !chosen || engine.models.includes(chosen));
  const ready = engines.filter((engine) => engine.state === "ready").length;
  const failing = last(found.failed) || 0;
  $("numbers").replaceChildren(
    number("requests a second", short(last(found.requests))),
    number("tokens a second, out", short(last(found.tokens))),
    number("time to first token, median", seconds(last(found.ttft50))),
    number("between tokens, median", seconds(last(found.itl50))),
    number("in flight", short(models.reduce((sum, model) => sum + model.in_flight, 0))),
    number("waiting", short(models.reduce((sum, model) => sum + model.queue, 0))),
    number("engines ready", String(ready), `of ${engines.length}`, ready < engines.length),
    number("failed a second", short(failing), "", failing > 0),
  );
}

function drawCharts(found) {
  const place = $("charts");
  const width = Math.max(200, parseFloat(getComputedStyle(place).gridTemplateColumns) - 34); // less the card's padding and border
  place.replaceChildren(
    chart("Requests/s", [{ name: "all", values: found.requests, color: "--blue", area: true }, { name: "failed", values: found.failed, color: "--red" }], short, width),
    chart("Time to first token", [{ name: "p50", values: found.ttft50, color: "--teal", area: true }, { name: "p95", values: found.ttft95, color: "--amber" }], seconds, width),
    chart("Between tokens", [{ name: "p50", values: found.itl50, color: "--teal", area: true }, { name: "p95", values: found.itl95, color: "--amber" }], seconds, width),
    chart("Load", [{ name: "in flight", values: found.in_flight, color: "--blue", area: true }, { name: "waiting", values: found.queue, color: "--amber" }], short, width),
  );
}

function drawModels(sample) {
  const rows = sample.models.slice(0, 200).map((model) => {
    const found = series(model.name);
    const states = Object.entries(model.states).map(([state, count]) =>
      make("span", { class: `pill ${state}` }, `${count} ${state.replace("_", " ")}`));
    const cells = [short(model.in_flight), short(model.queue), short(last(found.requests)), short(last(found.tokens)),
      seconds(last(found.ttft50)), seconds(last(found.ttft95)), seconds(last(found.itl50)), seconds(last(found.itl95))];
    const row = make("tr", { class: model.name === chosen ? "picked" : "" },
      make("td", { class: "name", title: model.name }, model.name),
      make("td", { class: "states" }, ...(states.length ? states : [make("span", { class: "pill" }, "none")])),
      ...cells.map((cell, i) => make("td", { class: i === 1 && model.queue ? "n warm" : "n" }, cell)),
      make("td", {}, spark(found.requests)));
    row.addEventListener("click", () => choose(model.name === chosen ? "" : model.name));
    return row;
  });
  $("models").tBodies[0].replaceChildren(...rows);
}

function drawEngines(sample) {
  const engines = sample.engines.filter((engine) => !chosen || engine.models.includes(chosen));
  const many = engines.length > 60;
  const busiest = Math.max(8, ...engines.map((engine) => engine.in_flight));
  $("engines").className = many ? "many" : "";
  $("engines-note").textContent = many ? "requests in flight at each; point at one for its name" : "";
  $("engines").replaceChildren(...engines.map((engine) => {
    const facts = `${engine.name}: ${engine.state.replace("_", " ")}, ${engine.in_flight} in flight, ${engine.queue_depth} queued, ${engine.models.join(" ")}`;
    if (many) return make("div", { class: `engine ${engine.state}`, title: facts }, String(engine.in_flight));
    const level = make("span");
    level.style.width = `${Math.min(100, (100 * engine.in_flight) / busiest)}%`;
    const said = [engine.kind, engine.models.slice(0, 3).join(", ")].filter(Boolean).join(" · ");
    const load = make("div", { class: "load" }, make("span", {}, make("b", {}, String(engine.in_flight)), " in flight"));
    if (engine.queue_depth) load.append(make("span", { class: "warm" }, `${engine.queue_depth} queued`));
    if (engine.kv_use) load.append(make("span", {}, `KV ${Math.round(engine.kv_use * 100)} %`));
    if (engine.state !== "ready") load.append(make("span", { class: "bad" }, engine.state.replace("_", " ")));
    return make("div", { class: `engine ${engine.state}`, title: facts },
      make("div", { class: "title" }, engine.name), make("div", { class: "sub" }, said || engine.address), load, make("div", { class: "bar" }, level));
  }));
  if (!engines.length) $("engines").replaceChildren(make("p", { class: "empty" }, "No engine is known."));
}

function drawKeys(sample) {
  const most = Math.max(1, ...sample.keys.map((key) => key.tokens));
  $("keys").replaceChildren(...sample.keys.slice(0, 30).map((key) => {
    const level = make("span");
    level.style.width = `${(100 * key.tokens) / most}%`;
    return make("div", { class: "use" },
      make("span", { class: "who", title: key.name }, key.name), make("div", { class: "bar" }, level),
      make("span", { class: "n" }, short(key.tokens), make("small", {}, " tokens")),
      make("span", { class: "n requests" }, short(key.requests), make("small", {}, " requests")));
  }));
  if (!sample.keys.length) $("keys").replaceChildren(make("p", { class: "empty" }, "No key has been used yet."));
}

function drawChoice(sample) {
  const names = sample.models.map((model) => model.name);
  const options = ["", ...names];
  const select = $("model");
  if ([...select.options].map((option) => option.value).join("\n") !== options.join("\n")) {
    select.replaceChildren(...options.map((name) => make("option", { value: name }, name || "all")));
  }
  if (!options.includes(chosen)) chosen = "";
  select.value = chosen;
}

function draw() {
  const sample = last(history);
  if (!sample) return;
  drawChoice(sample);
  const found = series(chosen);
  drawNumbers(found, sample);
  drawCharts(found);
  drawModels(sample);
  drawEngines(sample);
  drawKeys(sample);
}

function choose(name) {
  chosen = name;
  draw();
}

// --- asking

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = bad ? "bad" : "";
}

function show(open) {
  $("login").hidden = open;
  $("page").hidden = !open;
  $("model-choice").hidden = !open;
  $("leave").hidden = !open;
}

function leave(why = "") {
  clearTimeout(timer);
  sessionStorage.removeItem(KEY);
  history.length = 0;
  show(false);
  say("");
  $("refused").textContent = why;
  $("key").focus();
}

async function ask() {
  clearTimeout(timer);
  const key = sessionStorage.getItem(KEY);
  if (!key) return leave();
  try {
    const reply = await fetch("/admin/status", { headers: { authorization: `Bearer ${key}` }, cache: "no-store" });
    if (reply.status === 401 || reply.status === 403) return leave("This is no admin key.");
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    const status = await reply.json();
    history.push(sampleOf(status));
    if (history.length > KEEP) history.shift();
    show(true);
    const workers = status.workers > 1 ? ` · ${status.workers} workers` : "";
    const refused = status.config_error ? ` · configuration refused: ${status.config_error}` : "";
    say(`${status.draining ? "draining" : "serving"} · version ${status.version}${workers}${refused}`, status.draining || Boolean(refused));
    draw();
  } catch (error) {
    say(`The gateway does not answer (${error.message}); trying again.`, true);
  }
  timer = setTimeout(ask, EVERY_MS);
}

document.addEventListener("DOMContentLoaded", () => {
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, $("key").value.trim());
    $("key").value = "";
    $("refused").textContent = "";
    ask();
  });
  $("leave").addEventListener("click", () => leave());
  $("model").addEventListener("change", () => choose($("model").value));
  addEventListener("resize", draw);
  ask();
});
