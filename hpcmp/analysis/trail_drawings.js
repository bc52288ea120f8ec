"use strict";
// Text of the trail is only ever set as textContent or as an attribute; nothing is parsed as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const by = id => document.getElementById(id);
const SVG = new Set(["circle", "line", "path", "rect", "text", "g"]);
const PALETTE = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#3ca951", "#ff8ab7", "#9c6b4e", "#97bbf5", "#9498a0"];
const HEAT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 200, 37]]; // dark to bright, also without colours
const PAGE = 100; // rows that are shown at once
const number = new Intl.NumberFormat("en");

function add(parent, name, text, attrs) {
  const made = SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = String(text);
  for (const key in attrs || {}) made.setAttribute(key, attrs[key]);
  parent.appendChild(made);
  return made;
}
const colour = k => k < PALETTE.length ? PALETTE[k] : `hsl(${(k * 137.5) % 360} 55% 55%)`;
const dot = (parent, k) => add(parent, "i", null, {class: "dot", style: `background:${colour(k)}`});
function heat(share) {
  const at = Math.min(Math.max(share, 0), 1) * (HEAT.length - 1), k = Math.min(Math.floor(at), HEAT.length - 2);
  return `rgb(${HEAT[k].map((c, i) => Math.round(c + (at - k) * (HEAT[k + 1][i] - c))).join(" ")})`;
}
const shown = value => typeof value !== "number" ? String(value) : Number.isInteger(value) ? number.format(value) : value.toPrecision(3);
const several = (n, word) => `${number.format(n)} ${word}${n === 1 ? "" : "s"}`;
const who = k => data.names.name ? data.names.name[k] : data.names.id[k];

// ---------------------------------------------------------------- the hint beside the pointer

function tell(x, y, title, rows) {
  const tip = by("tip");
  tip.replaceChildren();
  add(tip, "b", title);
  const table = add(tip, "table");
  for (const [what, value] of rows) { const tr = add(table, "tr"); add(tr, "td", what); add(tr, "td", shown(value)); }
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(4, y + 14 + box.height > innerHeight ? y - box.height - 14 : y + 14)}px`;
}
const hush = () => { by("tip").hidden = true; };

// ---------------------------------------------------------------- the head

const card = (n, what, bad) => { const li = add(by("cards"), "li", null, bad ? {class: "bad"} : {}); add(li, "b", number.format(n)); add(li, "span", what); };
card(data.n_messages, "messages");
data.status.forEach((n, k) => { if (n) card(n, data.statuses[k], k > 1); });
card(data.sources[1], "agents");
if (data.flow.first.length) card(Number(data.flow.last) - Number(data.flow.first[0]) + 1, "steps");
for (const name in data.facts) { add(by("facts"), "dt", name.replaceAll("_", " ")); add(by("facts"), "dd", data.facts[name]); }

// ---------------------------------------------------------------- messages over time

const flow = {hidden: new Set(), cursor: -1, left: 52, bottom: 24, top: 8};
const bins = data.flow.first.length;
const span = k => { const last = k + 1 < bins ? Number(data.flow.first[k + 1]) - 1 : Number(data.flow.last); return [Number(data.flow.first[k]), last]; };
const steps_of = k => { const [a, b] = span(k); return a === b ? `step ${a}` : `steps ${a} to ${b}`; };

function nice(most) { // the largest of 1, 2, 5 times a power of ten that gives three ticks or more
  const rough = most / 3, power = 10 ** Math.floor(Math.log10(rough));
  return Math.max(1, power * (rough / power >= 5 ? 5 : rough / power >= 2 ? 2 : 1));
}
function draw_flow() {
  const svg = by("flow"), w = svg.clientWidth, h = svg.clientHeight, {left, bottom, top} = flow;
  svg.replaceChildren();
  if (!bins) return;
  const kept = data.types.map((_, t) => t).filter(t => !flow.hidden.has(t));
  const heights = data.flow.first.map((_, k) => kept.reduce((sum, t) => sum + data.flow.counts[t][k], 0));
  const most = Math.max(1, ...heights), high = h - bottom - top, wide = (w - left - 4) / bins;
  const X = k => left + wide * k, Y = n => h - bottom - high * n / most;
  for (let n = 0, tick = nice(most); n <= most; n += tick) {
    add(svg, "line", null, {class: "axis", x1: left, x2: w - 4, y1: Y(n), y2: Y(n)});
    add(svg, "text", number.format(n), {class: "axis-text", x: left - 6, y: Y(n) + 4, "text-anchor": "end"});
  }
  const every = Math.max(1, Math.ceil(bins / Math.max(1, Math.floor((w - left) / 90))));
  for (let k = 0; k < bins; k += every)
    add(svg, "text", k ? number.format(span(k)[0]) : `step ${number.format(span(k)[0])}`, {class: "axis-text", x: X(k), y: h - 7});
  for (const t of [...kept]) add(svg, "g", null, {fill: colour(t), "data-type": t});
  for (let k = 0; k < bins; k++) {
    let sum = 0;
    kept.forEach((t, i) => {
      const n = data.flow.counts[t][k];
      if (!n) return;
      sum += n;
      add(svg.querySelectorAll("g")[i], "rect", null, {x: X(k), y: Y(sum), width: Math.max(.5, wide - (wide > 4 ? 1 : 0)), height: Math.max(.5, high * n / most)});
    });
  }
  if (flow.cursor >= 0) add(svg, "rect", null, {class: "cursor", x: X(flow.cursor), y: top, width: wide, height: high});
}
function point_flow(k, x, y) {
  if (k < 0 || k >= bins) return;
  flow.cursor = k;
  draw_flow();
  const box = by("flow").getBoundingClientRect(), wide = (box.width - flow.left - 4) / bins;
  const rows = data.types.map((kind, t) => [kind, data.flow.counts[t][k]]).filter(row => row[1]);
  tell(x ?? box.left + flow.left + wide * k, y ?? box.top + 40, steps_of(k), rows.length ? rows : [["no message", ""]]);
}
function list_bin(k) { if (k >= 0 && k < bins) search(`step:${span(k)[0] === span(k)[1] ? span(k)[0] : span(k).join("-")}`, true); }
by("flow").addEventListener("pointermove", e => {
  const box = by("flow").getBoundingClientRect();
  const k = Math.floor((e.clientX - box.left - flow.left) / ((box.width - flow.left - 4) / bins));
  if (k >= 0 && k < bins) point_flow(k, e.clientX, e.clientY);
});
by("flow").addEventListener("click", () => list_bin(flow.cursor));
for (const gone of ["pointerleave", "blur"]) by("flow").addEventListener(gone, () => { flow.cursor = -1; hush(); draw_flow(); });
by("flow").addEventListener("keydown", e => {
  if (e.key === "Enter") list_bin(flow.cursor);
  else if (e.key === "ArrowRight") point_flow(Math.min(bins - 1, flow.cursor + 1));
  else if (e.key === "ArrowLeft") point_flow(Math.max(0, flow.cursor - 1));
  else return;
  e.preventDefault();
});
data.types.forEach((kind, t) => {
  const key = add(by("keys"), "button", null, {type: "button", "aria-pressed": "true"});
  dot(key, t);
  key.append(`${kind} `);
  add(key, "small", number.format(data.flow.counts[t].reduce((a, b) => a + b, 0)));
  key.addEventListener("click", () => {
    if (!flow.hidden.delete(t)) flow.hidden.add(t);
    key.setAttribute("aria-pressed", String(!flow.hidden.has(t)));
    draw_flow();
  });
});

// ---------------------------------------------------------------- the graph

const G = data.graph, n_agents = G.agent.length;
const column = name => data.load.columns[data.load.names.indexOf(name)] || [];
const load = G.agent.map((_, k) => column("received")[k] + column("sent")[k]);
const least_load = n_agents ? Math.min(...load) : 0, most_load = Math.max(least_load + 1, ...load), by_load = load.map((_, k) => k).sort((a, b) => load[b] - load[a]);
const warmth = k => Math.log((1 + load[k]) / (1 + least_load)) / Math.log((1 + most_load) / (1 + least_load));
const view = {scale: 1, x: 0, y: 0, one: -1, drag: null};
const place_of = new Map(G.agent.map((agent, k) => [agent, k]));
const EDGES = G.edges.count.map((_, e) => e);
const most_count = Math.max(1, ...G.edges.count.map(Number));

function places() { // where agents are on the screen
  const svg = by("graph"), w = svg.clientWidth, h = svg.clientHeight, pad = 26;
  const x = k => w / 2 + view.scale * ((w - 2 * pad) * (G.x[k] / 1000 - .5) + view.x);
  const y = k => h / 2 + view.scale * ((h - 2 * pad) * (G.y[k] / 1000 - .5) + view.y);
  return {x, y, w, h};
}
const radius = k => (2 + (7 + 60 / Math.sqrt(10 + n_agents)) * (load[k] - least_load) / (most_load - least_load)) * Math.sqrt(view.scale);

function draw_graph() {
  const svg = by("graph"), {x, y, w, h} = places();
  svg.replaceChildren();
  const line = e => `M${x(G.edges.from[e]).toFixed(1)} ${y(G.edges.from[e]).toFixed(1)}L${x(G.edges.to[e]).toFixed(1)} ${y(G.edges.to[e]).toFixed(1)}`;
  const crowd = Math.min(1, 250 / (EDGES.length + 1)) ** .5; // many ways are drawn paler
  for (let level = 0; level < 5; level++) { // the busier, the stronger
    const of = EDGES.filter(e => Math.min(4, Math.floor(5 * Math.log1p(Number(G.edges.count[e])) / Math.log1p(most_count))) === level);
    if (of.length) add(svg, "path", null, {class: "ways", d: of.map(line).join(""), "stroke-opacity": (.12 + .17 * level) * (.3 + .7 * crowd), "stroke-width": .6 + .5 * level});
  }
  add(svg, "path", null, {class: "out"});
  add(svg, "path", null, {class: "in"});
  for (const k of [...by_load].reverse()) add(svg, "circle", null, {cx: x(k).toFixed(1), cy: y(k).toFixed(1), r: radius(k).toFixed(1), fill: heat(warmth(k)), "data-k": k});
  const taken = [];
  for (const k of by_load.slice(0, 400)) { // names of those of most load, where there is room
    const name = who(G.agent[k]), text = name.length > 24 ? name.slice(0, 23) + "…" : name;
    const at = {x: x(k) + radius(k) + 2, y: y(k) + 4}, box = [at.x, at.y - 11, at.x + 7 * text.length, at.y + 3];
    if (box[2] > w || box[0] < 0 || box[1] < 0 || box[3] > h || taken.length >= 40) continue;
    if (taken.some(b => b[0] < box[2] && box[0] < b[2] && b[1] < box[3] && box[1] < b[3])) continue;
    taken.push(box);
    add(svg, "text", text, at);
  }
  mark_agent();
}
function mark_agent() { // the agent at hand, its ways and those at their ends
  const svg = by("graph"), one = view.one, {x, y} = places();
  svg.classList.toggle("has-one", one >= 0);
  const mine = EDGES.filter(e => G.edges.from[e] === one || G.edges.to[e] === one);
  const near = new Set([one, ...mine.map(e => G.edges.from[e]), ...mine.map(e => G.edges.to[e])]);
  const ways = end => mine.filter(e => G.edges[end][e] === one).map(e => `M${x(G.edges.from[e])} ${y(G.edges.from[e])}L${x(G.edges.to[e])} ${y(G.edges.to[e])}`).join("");
  svg.querySelector(".out")?.setAttribute("d", ways("from"));
  svg.querySelector(".in")?.setAttribute("d", ways("to"));
  for (const c of svg.querySelectorAll("circle")) {
    c.classList.toggle("near", near.has(Number(c.dataset.k)));
    c.classList.toggle("one", Number(c.dataset.k) === one);
  }
}
function point_agent(k, at) {
  if (k !== view.one) { view.one = k; mark_agent(); }
  if (k < 0) return hush();
  const {x, y} = places(), box = by("graph").getBoundingClientRect();
  const rows = data.load.names.map((name, c) => [name.replaceAll("_", " "), data.load.columns[c][k]]);
  tell(at?.clientX ?? box.left + x(k), at?.clientY ?? box.top + y(k), who(G.agent[k]), [["load", load[k]], ...rows]);
}
function nearest(e) {
  const {x, y} = places(), box = by("graph").getBoundingClientRect();
  let best = -1, least = 14;
  for (let k = 0; k < n_agents; k++) {
    const far = Math.hypot(x(k) - e.clientX + box.left, y(k) - e.clientY + box.top) - radius(k);
    if (far < least) [best, least] = [k, far];
  }
  return best;
}
function zoom(factor) {
  const scale = factor ? Math.min(20, Math.max(1, view.scale * factor)) : 1;
  Object.assign(view, scale === 1 ? {scale, x: 0, y: 0} : {scale});
  draw_graph();
}
const list_agent = k => { if (k >= 0) search(`agent:${JSON.stringify(who(G.agent[k]))}`, true); };
by("graph").addEventListener("pointerdown", e => { view.drag = {x: e.clientX, y: e.clientY, moved: false}; });
by("graph").addEventListener("pointermove", e => {
  const d = view.drag;
  if (!d || !e.buttons || view.scale === 1) return point_agent(nearest(e), e);
  view.x += (e.clientX - d.x) / view.scale;
  view.y += (e.clientY - d.y) / view.scale;
  Object.assign(d, {x: e.clientX, y: e.clientY, moved: true});
  draw_graph();
});
by("graph").addEventListener("click", e => { if (!view.drag?.moved) { point_agent(nearest(e), e); list_agent(view.one); } });
by("graph").addEventListener("wheel", e => { if (e.ctrlKey) { e.preventDefault(); zoom(e.deltaY < 0 ? 1.2 : 1 / 1.2); } }, {passive: false});
for (const gone of ["pointerleave", "blur"]) by("graph").addEventListener(gone, () => point_agent(-1));
by("graph").addEventListener("keydown", e => {
  const at = by_load.indexOf(view.one), move = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[e.key];
  if (move) point_agent(by_load[Math.min(n_agents - 1, Math.max(0, at + move))] ?? -1);
  else if (e.key === "Enter") list_agent(view.one);
  else if (e.key === "+" || e.key === "-") zoom(e.key === "+" ? 1.5 : 1 / 1.5);
  else if (e.key === "0") zoom(0);
  else return;
  e.preventDefault();
});
for (const button of by("zoom").children) button.addEventListener("click", () => zoom(Number(button.dataset.by)));
const HOW = "Point at one for its figures and its ways (orange: it wrote, blue: it got), choose it for its messages.";
by("graph-note").textContent = n_agents < data.sources[1]
  ? `The ${number.format(n_agents)} foremost of ${several(data.sources[1], "agent")}, coloured by load: messages sent and got. ${HOW}`
  : `Agents coloured by load: messages sent and got. ${HOW}`;
const ends = by("scale").children;
ends[0].textContent = `load ${number.format(least_load)}`;
ends[1].style.background = `linear-gradient(90deg, ${HEAT.map((_, k) => heat(k / (HEAT.length - 1))).join(",")})`;
ends[2].textContent = number.format(Math.max(0, ...load));

// ---------------------------------------------------------------- bottlenecks

const table = {sort: "traffic", falls: true, rows: 15};
const [used, all] = data.sources;
by("how").textContent = "Betweenness: share of shortest ways that pass an agent; traffic: the same, every message another way; queue: most messages it got in a step" +
  (used < all ? `. Estimated from ways of ${number.format(used)} of ${several(all, "agent")}.` : ".");
const largest = data.load.columns.map(values => Math.max(0, ...values));
for (const name of n_agents ? ["agent", ...data.load.names] : []) {
  const head = by("load").tHead.rows[0] || by("load").tHead.insertRow();
  const button = add(add(head, "th", null, {scope: "col", "data-name": name}), "button", null, {type: "button"});
  button.addEventListener("click", () => {
    Object.assign(table, table.sort === name ? {falls: !table.falls} : {sort: name, falls: name !== "agent"});
    draw_load();
  });
}
function draw_load() {
  const values = table.sort === "agent" ? null : column(table.sort);
  const compare = values ? (a, b) => values[a] - values[b] : (a, b) => who(G.agent[a]).localeCompare(who(G.agent[b]), "en", {numeric: true});
  const order = G.agent.map((_, k) => k).sort((a, b) => (table.falls ? -compare(a, b) : compare(a, b)) || a - b);
  for (const th of by("load").tHead.querySelectorAll("th")) {
    const on = th.dataset.name === table.sort;
    th.setAttribute("aria-sort", on ? (table.falls ? "descending" : "ascending") : "none");
    th.firstChild.textContent = th.dataset.name.replaceAll("_", " ") + (on ? (table.falls ? " ▼" : " ▲") : "");
  }
  const body = by("load").tBodies[0];
  body.replaceChildren();
  for (const k of order.slice(0, table.rows)) {
    const tr = add(body, "tr", null, {tabindex: 0});
    add(tr, "td", who(G.agent[k]), {class: "name", title: who(G.agent[k])});
    data.load.columns.forEach((cells, c) => {
      const td = add(tr, "td", shown(cells[k]));
      if (data.load.names[c] !== "queue_step") td.style.setProperty("--of", largest[c] ? cells[k] / largest[c] : 0);
    });
    tr.addEventListener("click", () => list_agent(k));
    tr.addEventListener("keydown", e => { if (e.key === "Enter") list_agent(k); });
  }
  by("load-more").hidden = table.rows >= n_agents;
  by("load-more").textContent = `show ${number.format(Math.min(PAGE, n_agents - table.rows))} more of ${number.format(n_agents)}`;
}
by("load-more").addEventListener("click", () => { table.rows += PAGE; draw_load(); });

by("slow").hidden = !data.slow.length;
data.slow.forEach((step, k) => {
  if (!k) for (const name in step) add(by("seconds").tHead.rows[0] || by("seconds").tHead.insertRow(), "th", name, {scope: "col"});
  const tr = add(by("seconds").tBodies[0], "tr");
  for (const name in step) add(tr, "td", Number.isInteger(step[name]) ? step[name] : step[name].toPrecision(3));
});
