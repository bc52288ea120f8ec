// ---------------------------------------------------------------- messages: a search, and the way from one to another

const M = data.messages, n_held = M.sender.length;
const message = k => `${data.names.id[M.sender[k]]}:${M.number[k]}`;
const numbers = new Map();
for (let k = n_held - 1; k >= 0; k--) numbers.set(message(k), k);
const effects = Array.from({length: n_held}, () => []);
M.at.forEach((cause, k) => { if (cause >= 0) effects[cause].push(k); });
const short = k => `${data.types[M.type[k]]} ${message(k)}`;
const from_to = k => `${who(M.sender[k])} → ${who(M.receiver[k])}`;
const found = {rows: [], shown: 0, one: -1};

function chain(k) { // causes, the nearest first, as `hpcmp trace back` has them
  const way = [], seen = new Set([k]);
  for (let c = M.at[k]; c >= 0 && !seen.has(c); c = M.at[c]) { way.push(c); seen.add(c); }
  return way;
}
function caused(k) { // [message, generation] of all that it led to, as `hpcmp trace forward` has them, each below its cause
  const all = [], todo = effects[k].map(e => [e, 1]).reverse(), seen = new Set([k]);
  while (todo.length) {
    const [e, depth] = todo.pop();
    if (seen.has(e)) continue;
    seen.add(e);
    all.push([e, depth]);
    for (let i = effects[e].length - 1; i >= 0; i--) todo.push([effects[e][i], depth + 1]);
  }
  return all;
}

const texts = [];
const text_of = k => texts[k] ??= `${short(k)} ${from_to(k)} ${data.statuses[M.status[k]]} ${M.payload ? M.payload[k] : ""}`.toLowerCase();
const agents_named = new Map();
function numbers_of_agents(text) { // which agents a text names: one by its name or id, else all that have it in their names
  if (!agents_named.has(text)) {
    const names = data.names.id.map((id, k) => [id.toLowerCase(), who(k).toLowerCase()]);
    const exact = names.map((both, k) => [both, k]).filter(([both]) => both.includes(text));
    const named = exact.length ? exact : names.map((both, k) => [both, k]).filter(([both]) => both[1].includes(text));
    agents_named.set(text, new Set(named.map(([, k]) => k)));
  }
  return agents_named.get(text);
}
const KEYS = {
  agent: text => { const of = numbers_of_agents(text); return k => of.has(M.sender[k]) || of.has(M.receiver[k]); },
  from: text => { const of = numbers_of_agents(text); return k => of.has(M.sender[k]); },
  to: text => { const of = numbers_of_agents(text); return k => of.has(M.receiver[k]); },
  type: text => k => data.types[M.type[k]].toLowerCase().includes(text),
  fate: text => k => data.statuses[M.status[k]].includes(text) || (text === "dropped" && M.status[k] > 1),
  step: text => { const [a, b] = text.split("-").map(Number); return k => Number(M.sent[k]) >= a && Number(M.sent[k]) <= (b ?? a); },
};
function wanted(query) { // functions of a message that must all be true
  const piece = /([a-z]+):("(?:[^"\\]|\\.)*"|\S+)|("(?:[^"\\]|\\.)*"|\S+)/gi, tests = [];
  const bare = text => { try { return String(text.startsWith('"') ? JSON.parse(text) : text).toLowerCase(); } catch { return text.toLowerCase(); } };
  for (const [all, key, value, word] of query.matchAll(piece)) {
    if (numbers.has(all)) tests.push(k => k === numbers.get(all));
    else if (key && KEYS[key.toLowerCase()]) tests.push(KEYS[key.toLowerCase()](bare(value)));
    else { const text = bare(word ?? all); tests.push(k => text_of(k).includes(text)); }
  }
  return tests;
}

function search(query, jump) {
  if (query !== undefined) by("find").value = query;
  const tests = wanted(by("find").value);
  found.rows = M.sender.map((_, k) => k).filter(k => tests.every(test => test(k)));
  found.shown = 0;
  by("rows").replaceChildren();
  by("count").textContent = `${number.format(found.rows.length)} of ${number.format(n_held)} here`;
  more();
  if (jump) { by("messages").scrollIntoView(); by("find").focus({preventScroll: true}); }
}
function more() {
  for (const k of found.rows.slice(found.shown, found.shown + PAGE)) {
    const tr = add(by("rows"), "tr", null, {tabindex: 0, "data-k": k, "aria-selected": String(k === found.one)});
    add(tr, "td", M.delivered[k] < 0 ? M.sent[k] : `${M.sent[k]} → ${M.delivered[k]}`);
    add(tr, "td", message(k));
    add(tr, "td", from_to(k), {title: from_to(k)});
    const kind = add(tr, "td");
    dot(kind, M.type[k]);
    kind.append(` ${data.types[M.type[k]]}`);
    add(tr, "td", data.statuses[M.status[k]], M.status[k] > 1 ? {class: "bad-text"} : {});
  }
  found.shown += PAGE;
  by("more").hidden = found.shown >= found.rows.length;
  by("more").textContent = `show more of ${number.format(found.rows.length)}`;
}
by("more").addEventListener("click", more);
by("find").addEventListener("input", () => search());
by("rows").addEventListener("click", e => { const row = e.target.closest("tr"); if (row) choose(Number(row.dataset.k)); });
by("rows").addEventListener("keydown", e => {
  const row = e.target.closest("tr"), next = {ArrowDown: row.nextSibling, ArrowUp: row.previousSibling}[e.key];
  if (next) { next.focus(); choose(Number(next.dataset.k)); } else if (e.key === "Enter") choose(Number(row.dataset.k)); else return;
  e.preventDefault();
});

function choose(k) { show(k); location.hash = message(k); } // shown at once: the event of the address comes later
addEventListener("hashchange", follow_address);
function follow_address() { // report.html#17:3 opens that message
  const k = numbers.get(decodeURIComponent(location.hash.slice(1)));
  if (k !== undefined && k !== found.one) show(k);
  return k !== undefined;
}

const sent = k => Number(M.sent[k]), ended = k => Math.max(sent(k), Number(M.delivered[k]));
function ways(box, rows, kind, [first, last]) { // a list of messages that lead on to each, with a bar from sending to delivery
  const list = add(box, "ol", null, {class: "way", "data-way": kind});
  let done = 0;
  const rest = add(box, "button", null, {type: "button"});
  const some = () => {
    for (const [k, depth] of rows.slice(done, done + PAGE)) {
      const go = add(add(list, "li"), "button", null, {type: "button", "data-k": k, style: `--in:${14 * Math.min(depth - 1, 12)}px`});
      dot(go, M.type[k]);
      go.append(`${short(k)}  `);
      add(go, "small", `${from_to(k)}, step ${M.sent[k]}${M.status[k] ? `, ${data.statuses[M.status[k]]}` : ""}`);
      const share = step => 100 * (step - first) / Math.max(1, last - first);
      add(add(go, "span", null, {class: "span"}), "i", null, {style: `left:${share(sent(k))}%;width:${share(ended(k)) - share(sent(k))}%;background:${colour(M.type[k])}`});
      go.addEventListener("click", () => choose(k));
    }
    done += PAGE;
    rest.hidden = done >= rows.length;
    rest.textContent = `show more of ${number.format(rows.length)}`;
  };
  rest.addEventListener("click", some);
  some();
}
function show(k) {
  found.one = k;
  for (const row of by("rows").children) row.setAttribute("aria-selected", String(Number(row.dataset.k) === k));
  const box = by("one"), root = chain(k).at(-1);
  box.replaceChildren();
  box.scrollTop = 0;
  dot(add(box, "h3"), M.type[k]);
  box.firstChild.append(` ${short(k)}`);
  const dl = add(box, "dl"), fact = (what, value) => { add(dl, "dt", what); return add(dl, "dd", value); };
  fact("from", who(M.sender[k]));
  fact("to", who(M.receiver[k]));
  fact("sent", `step ${M.sent[k]}`);
  fact("delivered", M.delivered[k] < 0 ? "never" : `step ${M.delivered[k]}`);
  fact("fate", data.statuses[M.status[k]]).className = M.status[k] > 1 ? "bad-text" : "";
  if (M.time) fact("time", M.time[k]);
  if (M.payload && M.payload[k]) fact("payload", M.payload[k]);
  if (root !== undefined) fact("began with", short(root));
  add(fact("on the command line"), "code", `hpcmp trace forward ${data.trail} ${message(k)}`);
  const causes = chain(k), all = caused(k);
  const times = [k, ...causes, ...all.map(([e]) => e)], extent = [Math.min(...times.map(sent)), Math.max(...times.map(ended))];
  const got = new Set([k, ...all.map(([e]) => e)].filter(e => M.status[e] === 0).map(e => M.receiver[e]));
  add(box, "h4", causes.length ? `${several(causes.length, "cause")}, the nearest first` : "no cause: it began by itself");
  ways(box, causes.map(c => [c, 1]), "causes", extent);
  if (M.at[causes.at(-1) ?? k] === -2) add(box, "p", "and further causes that this page has no room for", {class: "note"});
  add(box, "h4", all.length ? `${several(all.length, "effect")}; with it they reached ${several(got.size, "agent")}` : "no effect");
  ways(box, all, "effects", extent);
}

const part = data.facts.sample ? `The trail is a sample of ${100 * data.facts.sample} % of conversations. ` : "";
by("held").textContent = part + (n_held < data.n_messages
  ? `${number.format(n_held)} of ${several(data.n_messages, "message")} are on this page: conversations with losses, then the largest ones. The command \`hpcmp trace\` knows all.`
  : `All ${several(n_held, "message")} of the trail. Choose one for what caused it and what it led to.`);
new ResizeObserver(() => { hush(); draw_flow(); draw_graph(); }).observe(by("stage"));
draw_load();
search();
if (!follow_address() && n_held) show(found.rows[0]);
