"use strict";
// What is shown follows from the events alone: take() notes an event, render()
// draws what has been noted. All that others wrote reaches the page as text.

const maxShown = 40; // messages in the list
const maxWaiting = 24; // arrows that wait for their turn
const quiet = 3000; // ms of silence after which a node that others call dead is shown as dead
const lingering = 30000; // ms that a node which is gone stays in sight

const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");

// ---- what is known ----

let sources, nodes, elections, clusters, waitingClusters, loggedOnce, ticks, news;
let connected = "connecting";
let live = false; // what comes is news, and not how things stood
let loading = false; // how things stand is being told

function reset() {
  sources = new Map(); // by key: the nodes that tell us of themselves
  nodes = new Map(); // by key: all that have been heard of
  elections = new Map(); // by key of a source: the election that it takes part in
  clusters = []; // what is drawn as one ring each
  waitingClusters = null;
  loggedOnce = new Map();
  ticks = 0;
  news = null; // who became coordinator just now
  live = false;
  loading = true;
  waitingArrows.length = 0;
  $("happened").replaceChildren();
  for (const layer of ["arrows", "beats"]) $(layer).replaceChildren();
}

// plain is text of others without what is invisible, and without more marks on
// a letter than languages need; joiners stay, since scripts and emoji need them.
function plain(text, most) {
  const clean = String(text ?? "")
    .replace(/[\n\t\u2028\u2029]/g, " ")
    .replace(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, "")
    .replace(/(\p{M}{3})\p{M}+/gu, "$1");
  const letters = Array.from(clean);
  return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : clean;
}

const nick = (p, most = 24) => plain(p?.nick, most).trim() || "?";
const show = (p) => (p ? `${nick(p)}#${p.id || "?"}` : "?");
const code = (hist) => hist.slice(0, 4);
const count = (n, one, many) => `${n} ${n === 1 ? one : many}`;
const list = (items) => (items.length < 2 ? items.join("") : items.slice(0, -1).join(", ") + " and " + items.at(-1));

function known(p) {
  let n = nodes.get(p.node);
  if (!n) nodes.set(p.node, (n = { key: p.node, id: 0, nick: "", addr: "", gone: "", goneAt: 0, goneTick: 0, suspects: new Map() }));
  if (p.id) n.id = p.id;
  if (p.nick) n.nick = p.nick;
  if (p.addr) n.addr = p.addr;
  return n;
}

function source(e) {
  let s = sources.get(e.node);
  if (!s) {
    s = { key: e.node, view: null, digest: null, hello: null, ended: false, phase: "", msgs: new Map(), order: [], fresh: [], beat: 0 };
    sources.set(e.node, s);
  }
  s.tick = ++ticks;
  s.heard = performance.now();
  if (e.id) known(e).id = e.id;
  else known(e);
  return s;
}

const takers = {
  hello(e, s) {
    s.hello = e;
    s.ended = false;
    known(e).gone = "";
    known(e).addr = e.addr;
  },
  join(e, s) {
    s.phase = e.phase;
    if (e.phase === "failed") note(e, "bad", "✕", `a node could not join: ${plain(e.text, 120)}`);
  },
  view(e, s) {
    if (![e.members, e.joined, e.left].every(Array.isArray)) return;
    const first = !s.view; // all of its members are new to it then
    s.view = e;
    s.phase = "ready";
    const view = notation(e);
    const key = `${e.term}.${e.vid}.${e.coord}`;
    for (const m of e.members) {
      const n = known(m);
      n.suspects.delete(s.key);
      if (n.gone && !sources.get(n.key)?.ended) n.gone = "";
    }
    if (live && !first && e.cause !== "merge") for (const p of e.joined) note(e, "good", "→", `${show(p)} joined`, `join ${p.node} ${key}`, view);
    for (const d of e.left) {
      leave(known(d), d.why);
      if (d.why === "dead") note(e, "bad", "✕", `${show(d)} is dead`, `dead ${d.node} ${key}`, view);
      else note(e, "", "←", `${show(d)} left`, `left ${d.node} ${key}`, view);
    }
    if (e.cause === "merge") note(e, "good", "⋈", "groups became one", `merge ${key}`, view);
  },
  coord(e, s) {
    elections.delete(s.key);
    if (e.new) known(e.new);
    if (e.old && e.new && e.cause !== "first" && e.cause !== "merge") {
      const how = e.cause === "handover" ? `handed over by ${show(e.old)}` : `${(e.gap_ms / 1000).toFixed(1)} s without one`;
      note(e, "good", "♛", `${show(e.new)} is coordinator, term ${e.term}, ${how}`, `coord ${e.term} ${e.new.node}`);
      if (live && news?.term !== e.term) news = { term: e.term, key: e.new.node, how, until: performance.now() + 4000 };
    }
  },
  peer(e, s) {
    const n = known(e.peer);
    n.suspects.delete(s.key);
    if (e.state === "suspect") {
      n.suspects.set(s.key, e.why);
      const why = { reset: "broke its connection", refused: "refuses connections", timeout: "takes no connections" }[e.why] ?? `silent for ${(e.silent_ms / 1000).toFixed(1)} s`;
      note(e, "busy", "?", `${show(e.peer)} is suspect: ${why}`, `suspect ${n.key}`);
    } else if (e.state === "dead" || e.state === "left") leave(n, e.state);
    else n.gone = "";
  },
  hb(e, s) {
    s.beat = performance.now();
    if (e.from) beat(e.from.node, e.node);
  },
  elect(e, s) {
    for (const p of [e.from, e.to]) if (p) known(p);
    if (e.phase === "start") {
      lastElection = { term: e.term, algo: e.algo, at: performance.now() };
      elections.set(s.key, lastElection);
      note(e, "busy", "⚡", `election for term ${e.term} (${plain(e.algo, 12)})`, `elect ${e.term}`);
    } else if (e.phase === "win" || e.phase === "lose" || e.phase === "abort") elections.delete(s.key);
    // What both ends tell is drawn once, from its sender.
    const told = sources.get(e.from?.node);
    if (e.phase === "send" || (e.phase === "recv" && (!told || told.ended))) arrow(e);
  },
  msg(e, s) {
    if (typeof e.m !== "string" || !e.from) return;
    s.msgs.set(e.m, e);
    if (s.fresh.push(e.m) > 4 * maxShown) s.fresh.shift();
    if (s.msgs.size > 8 * maxShown) {
      const kept = new Set([...s.order, ...s.fresh]);
      for (const m of s.msgs.keys()) if (!kept.has(m)) s.msgs.delete(m);
    }
    if (live && e.inserted && !e.backlog) e.flash = true;
  },
  stable(e, s) {
    const m = s.msgs.get(e.m);
    if (m) m.stable = true;
  },
  order(e, s) {
    if (!Array.isArray(e.items)) return;
    s.order = e.items;
    s.fresh = s.fresh.filter((m) => !s.order.includes(m)).slice(-maxShown);
    s.settled = new Set(s.msgs.keys());
  },
  digest(e, s) {
    if (!/^[0-9a-f]{32}$/.test(e.hist)) return;
    s.digest = e;
  },
  nick(e) {
    note(e, "", "·", `${nick({ nick: e.old })} is now ${show(e.peer)}`, `nick ${e.peer.node} ${e.peer.nick}`);
    known(e.peer);
  },
  fault(e) {
    const cut = (e.cut ?? []).map((ids) => ids.join(",")).join(" | ");
    const what = [cut && `cut in ${cut}`, e.loss && `${e.loss} % lost`, e.delay_ms && `${e.delay_ms} ms late`].filter(Boolean).join(", ");
    note(e, what ? "bad" : "good", "≈", what ? `network: ${what}` : "the network is whole again", `fault ${what}`);
  },
  warn(e) {
    note(e, "busy", "!", plain(e.text, 160), `warn ${e.code}`);
  },
  error(e) {
    note(e, "bad", "!", plain(e.text, 160));
  },
  lagged(e) {
    note(e, "busy", "!", `${e.dropped} events were not shown`);
  },
  bye(e, s) {
    s.ended = true;
    leave(known(e), "left");
  },
};

function take(e) {
  if (typeof e?.ev !== "string" || typeof e.node !== "string") return;
  const s = source(e);
  if (Object.hasOwn(takers, e.ev)) takers[e.ev](e, s);
  draw();
}

// gone: a process has ended without a word.
function gone(key) {
  const s = sources.get(key);
  if (!s) return;
  s.ended = true;
  leave(nodes.get(key), "dead");
  draw();
}

function leave(n, why) {
  n.suspects.clear();
  if (n.gone && (n.gone === why || why === "left")) return;
  n.gone = why;
  n.goneAt = performance.now();
  n.goneTick = ticks;
}

// state is how a node is, as far as is known: what it says itself, lately,
// counts for more than what others think.
function state(n) {
  const s = sources.get(n.key);
  if (s?.ended) return n.gone || "dead";
  if (n.gone && !(s && s.tick > n.goneTick)) return s && performance.now() - n.goneAt < quiet ? "suspect" : n.gone;
  if (n.suspects.size) return "suspect";
  if (s && !s.view) return "joining";
  return "up";
}

function notation(v) {
  const ids = v.members.map((m) => m.id);
  const shown = ids.length > 12 ? ids.slice(0, 12).join(",") + ",…" : ids.join(",");
  return `[${v.coord}*|v${v.vid}] (${v.size ?? ids.length}) [${shown}]`;
}

// ---- what happened ----

// note adds a line to the log. What several nodes tell is noted once, by key.
function note(e, mood, sign, text, key, view) {
  if (key) {
    const now = performance.now();
    if (now - (loggedOnce.get(key) ?? -Infinity) < 10000) return;
    loggedOnce.set(key, now);
    if (loggedOnce.size > 500) loggedOnce.delete(loggedOnce.keys().next().value);
  }
  const log = $("happened");
  const item = el("li");
  item.dataset.mood = mood;
  const time = el("time", new Date(e.t).toLocaleTimeString([], { hour12: false }));
  time.dateTime = e.t;
  const words = el("span", text);
  if (view) words.append(" ", el("code", view));
  item.append(time, el("span", sign, "sign"), words);
  item.children[1].ariaHidden = "true";
  const bottom = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(item);
  while (log.childElementCount > 60) log.firstElementChild.remove();
  if (bottom) log.scrollTop = log.scrollHeight;
}

function el(name, text, className) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

function svg(name, attributes = {}) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
}

// ---- rings ----

// findClusters groups the nodes by the coordinator that they follow. Who
// follows one that is gone stays where it was until there is another.
function findClusters() {
  const at = new Map(clusters.flatMap((c) => c.members.map((k) => [k, c.key])));
  const of = new Map();
  const lead = (s) => s.view?.members.find((m) => m.id === s.view.coord)?.node;
  for (const s of sources.values()) {
    const st = state(nodes.get(s.key));
    if (st === "dead" || st === "left" || !s.view) continue;
    const c = lead(s);
    const other = sources.get(c);
    const leads = other ? !other.ended && state(nodes.get(c)) !== "dead" && lead(other) === c : c && !nodes.get(c)?.gone;
    of.set(s.key, leads ? c : (at.get(s.key) ?? c));
  }
  for (const s of sources.values()) {
    if (!of.has(s.key)) continue;
    for (const m of s.view.members) if (!of.has(m.node) && !sources.has(m.node)) of.set(m.node, of.get(s.key));
  }
  const sizes = new Map();
  for (const key of of.values()) sizes.set(key, (sizes.get(key) ?? 0) + 1);
  const largest = [...sizes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
  for (const n of nodes.values()) {
    if (of.has(n.key)) continue;
    const st = state(n);
    const old = (st === "dead" || st === "left") && performance.now() - n.goneAt > lingering;
    if (!old) of.set(n.key, sizes.has(at.get(n.key)) ? at.get(n.key) : largest);
    else if (sources.get(n.key)?.ended || !sources.has(n.key)) nodes.delete(n.key);
  }
  const found = new Map();
  for (const [k, c] of of) found.set(c, [...(found.get(c) ?? []), k]);
  const id = (k) => nodes.get(k).id || Infinity;
  return [...found].map(([key, members]) => ({ key, members: members.sort((a, b) => id(a) - id(b) || (a < b ? -1 : 1)) }))
    .sort((a, b) => id(a.members[0]) - id(b.members[0]));
}

// settle takes over new rings when they have lasted for a moment, so that a
// view which reaches nodes one by one does not tear the ring.
function settle() {
  const found = findClusters();
  const sign = (cs) => cs.map((c) => c.members.join()).sort().join(";");
  const now = performance.now();
  if (sign(found) === sign(clusters) || clusters.length === found.length || !clusters.length) {
    clusters = found;
    waitingClusters = null;
    return;
  }
  if (waitingClusters?.sign !== sign(found)) waitingClusters = { sign: sign(found), since: now };
  if (now - waitingClusters.since >= 400) {
    clusters = found;
    waitingClusters = null;
    return;
  }
  // Until then, only who came or went.
  const present = new Set(found.flatMap((c) => c.members));
  const placed = new Set(clusters.flatMap((c) => c.members));
  for (const c of clusters) c.members = c.members.filter((k) => present.has(k));
  for (const k of present) if (!placed.has(k)) clusters[0].members.push(k);
  later(420);
}

// place gives each node its place, in pixels.
function place(width, height) {
  const wide = width >= height;
  const k = clusters.length;
  const long = k <= 3 ? k : Math.ceil(Math.sqrt(k));
  const short = Math.ceil(k / long);
  const cols = wide ? long : short;
  const rows = wide ? short : long;
  const sw = width / cols;
  const sh = height / rows;
  const most = Math.max(1, ...clusters.map((c) => c.members.length));
  let r = Math.min(92, 0.115 * Math.min(width, height), 0.17 * Math.min(sw, sh));
  const label = (r) => Math.max(13, r * 0.36);
  let q;
  const above = () => r * 1.85; // of a node's middle: the crown
  const below = () => r + 2.7 * label(r) + 6; // its name and code
  for (let i = 0; i < 3; i++) {
    q = (sh - above() - below()) / 2;
    const beside = sw / 2 - Math.max(r * (k > 1 ? 1.5 : 1.15), 3.2 * label(r));
    if (most > 2 || sw > sh) q = Math.min(q, beside);
    else q = Math.min(q, beside * 1.6);
    if (most > 1) r = Math.min(r, Math.max(14, (q * Math.sin(Math.PI / most)) / 1.3));
  }
  const spots = new Map();
  const rings = clusters.map((c, i) => {
    const x = sw * ((i % cols) + 0.5);
    const y = sh * Math.floor(i / cols) + (sh + above() - below()) / 2;
    const n = c.members.length;
    const radius = n > 1 ? q : 0;
    c.members.forEach((key, j) => {
      const a = 2 * Math.PI * (j / n) - Math.PI / 2 + (n === 2 && sw > sh ? Math.PI / 2 : 0);
      spots.set(key, { x: x + radius * Math.cos(a), y: y + radius * Math.sin(a) });
    });
    return { x, y, r: radius };
  });
  return { spots, rings, r, label: label(r), wide, width };
}

// sealPath is the shape that stands for a digest: 24 of them, flowers and
// stars with 3 to 8 points.
function sealPath(hist, r) {
  const points = 3 + (parseInt(hist.slice(0, 2), 16) % 6);
  const star = parseInt(hist[2], 16) & 1;
  const turn = -Math.PI / 2 + (parseInt(hist[3], 16) & 1 ? Math.PI / points : 0);
  const steps = star ? points * 2 : points * 16;
  let d = "";
  for (let i = 0; i < steps; i++) {
    const a = (2 * Math.PI * i) / steps;
    const far = star ? (i % 2 ? 0.58 : 1) : 0.8 + 0.2 * Math.cos(points * a);
    d += `${i ? "L" : "M"}${(far * r * Math.cos(a + turn)).toFixed(1)} ${(far * r * Math.sin(a + turn)).toFixed(1)}`;
  }
  return d + "Z";
}

const circlePath = (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
const hue = (hist) => ((parseInt(hist.slice(2, 6), 16) * 137.508) % 360).toFixed(0);
const crownPath = "M-12 7 -15 -8 -6.5 -2.5 0 -13 6.5 -2.5 15 -8 12 7Z";

// digestOf is the digest of a node's history as far as is known: what it says
// itself, or that all members of a view say the same.
function digestOf(key) {
  const s = sources.get(key);
  if (s) return s.digest;
  for (const o of sources.values()) {
    if (o.digest && o.digest.same === o.digest.of && o.view?.members.some((m) => m.node === key)) return o.digest;
  }
  return null;
}

// ---- drawing ----

const drawn = new Map(); // by key: the elements of a node
const crowns = []; // {key, el}
let layout = { spots: new Map(), rings: [], r: 40, label: 14 };
let focused = ""; // key of the node that Tab goes to
let pending = 0;
let timer = 0;

function draw() {
  pending ||= requestAnimationFrame(() => {
    pending = 0;
    render();
  });
}

function later(ms) {
  clearTimeout(timer);
  timer = setTimeout(draw, ms);
}

function render() {
  document.body.dataset.link = connected;
  if (loading) return;
  settle();
  const box = $("ring").getBoundingClientRect();
  if (box.width < 10 || box.height < 10) return;
  $("ring").setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  layout = place(box.width, box.height);
  drawRings(box);
  const coordinators = leaders();
  const order = clusters.flatMap((c) => c.members);
  if (!layout.spots.has(focused)) focused = order[0] ?? "";
  for (const [key, d] of drawn) {
    if (layout.spots.has(key)) continue;
    d.g.remove();
    drawn.delete(key);
  }
  for (const key of order) drawNode(key, coordinators);
  drawCrowns(coordinators);
  drawViews();
  drawVerdict(coordinators);
  drawMessages();
  if ($("details").open) fillDetails();
}

// leaders are the keys of the nodes that coordinate, as they say themselves or,
// of nodes that we do not hear, as those say that we do.
function leaders() {
  const found = new Set();
  for (const s of sources.values()) {
    if (!s.view || s.ended) continue;
    const c = s.view.members.find((m) => m.id === s.view.coord)?.node;
    const st = state(nodes.get(s.key));
    if (!c || st === "dead" || st === "left" || nodes.get(c) === undefined || ["dead", "left"].includes(state(nodes.get(c)))) continue;
    if (c === s.key || !sources.has(c)) found.add(c);
  }
  return found;
}

function drawRings(box) {
  const layer = $("circles");
  while (layer.childElementCount > layout.rings.length) layer.lastElementChild.remove();
  layout.rings.forEach((ring, i) => {
    let c = layer.children[i];
    if (c?.tagName !== "circle") {
      c?.remove();
      c = svg("circle", { class: "circle" });
      layer.insertBefore(c, layer.children[i] ?? null);
    }
    for (const [k, v] of [["cx", ring.x], ["cy", ring.y], ["r", ring.r]]) c.style.setProperty(k, `${v}px`);
  });
  if (clusters.length === 2) {
    const step = 14;
    const along = layout.wide ? box.height : box.width;
    const mid = (layout.wide ? box.width : box.height) / 2;
    let d = "";
    for (let i = 0; i * step < along; i++) {
      const off = mid + (i % 2 ? 9 : -9);
      d += `${i ? "L" : "M"}${layout.wide ? `${off} ${i * step}` : `${i * step} ${off}`}`;
    }
    layer.append(svg("path", { class: "tear", d }));
  }
}

function drawNode(key, coordinators) {
  const n = nodes.get(key);
  const spot = layout.spots.get(key);
  let d = drawn.get(key);
  if (!d) {
    d = { g: svg("g", { class: "node", role: "button", tabindex: "-1" }) };
    for (const [name, tag] of [["halo", "circle"], ["disc", "circle"], ["seal", "path"], ["plate", "circle"], ["id", "text"], ["nick", "text"], ["word", "text"]]) {
      d[name] = svg(tag, { class: name });
      d.g.append(d[name]);
    }
    d.badge = svg("g", { class: "badge" });
    d.badge.append(svg("circle"), svg("text"));
    d.g.append(d.badge);
    d.g.addEventListener("click", () => details(key));
    d.g.addEventListener("focus", () => {
      focused = key;
      for (const [k, o] of drawn) o.g.setAttribute("tabindex", k === key ? "0" : "-1");
    });
    d.g.dataset.key = key;
    drawn.set(key, d);
  }
  // In the order of the ring, for screen readers.
  const index = clusters.flatMap((c) => c.members).indexOf(key);
  if ($("nodes").children[index] !== d.g && document.activeElement !== d.g) $("nodes").insertBefore(d.g, $("nodes").children[index] ?? null);

  const r = layout.r;
  const st = state(n);
  const digest = digestOf(key);
  const empty = !digest || digest.n === 0;
  const leads = coordinators.has(key);
  d.g.setAttribute("class", `node ${st}${leads ? " coordinator" : ""}${empty ? " empty" : ""}`);
  d.g.dataset.state = st;
  d.g.dataset.code = digest ? code(digest.hist) : "";
  d.g.dataset.coordinator = leads;
  d.g.setAttribute("tabindex", key === focused ? "0" : "-1");
  d.g.style.transform = `translate(${spot.x.toFixed(1)}px, ${spot.y.toFixed(1)}px)`;
  const size = [r, empty, digest?.hist, layout.label].join();
  if (d.size !== size) {
    d.size = size;
    d.halo.setAttribute("r", r + 5);
    d.disc.setAttribute("r", r);
    d.plate.setAttribute("r", r * 0.42);
    d.seal.setAttribute("d", empty ? circlePath(r * 0.7) : sealPath(digest.hist, r * 0.9));
    if (!empty) d.g.style.setProperty("--hue", hue(digest.hist));
    d.id.setAttribute("font-size", r * 0.52);
    d.nick.setAttribute("font-size", layout.label);
    d.nick.setAttribute("y", r + layout.label * 1.15);
    d.word.setAttribute("font-size", layout.label * 0.92);
    d.word.setAttribute("y", r + layout.label * 2.25);
    d.badge.setAttribute("transform", `translate(${r * 0.72} ${-r * 0.72})`);
    d.badge.firstChild.setAttribute("r", Math.max(9, r * 0.28));
    d.badge.lastChild.setAttribute("font-size", Math.max(12, r * 0.36));
  }
  text(d.id, n.id || "·");
  const room = 2 * Math.min(spot.x, layout.width - spot.x, r * 2.4) - 6;
  const name = nick(n, 14);
  if (d.name !== name + room) {
    d.name = name + room;
    fit(d.nick, name, room);
  }
  text(d.badge.lastChild, st === "suspect" ? "?" : "✕");
  const word = { dead: "dead", left: "left", suspect: "suspect", joining: "joining" }[st] ?? (!digest ? "····" : empty ? "no words" : code(digest.hist));
  text(d.word, word);
  const said = [`${nick(n)}${sources.size === 1 && sources.has(key) ? ", this node" : ""}, node ${n.id || "without a number yet"}`, leads ? "coordinator" : "", st];
  if (digest && st === "up") said.push(empty ? "no messages" : `history ${code(digest.hist).split("").join(" ")}, ${count(digest.n, "message", "messages")}`);
  d.g.setAttribute("aria-label", said.filter(Boolean).join(", "));
}

function text(e, s) {
  s = String(s);
  if (e.textContent !== s) e.textContent = s;
}

// fit leaves out the end of a text that is too wide.
function fit(e, s, width) {
  text(e, s);
  for (const letters = Array.from(s.replace(/…$/, "")); letters.length > 1 && e.getComputedTextLength() > width; ) {
    letters.pop();
    text(e, letters.join("") + "…");
  }
}

// drawCrowns lets a crown that is lost fly to who has none yet.
function drawCrowns(coordinators) {
  const wanted = [...coordinators].filter((k) => layout.spots.has(k));
  const free = crowns.filter((c) => !wanted.includes(c.key));
  for (const key of wanted) {
    if (crowns.some((c) => c.key === key)) continue;
    let c = free.shift();
    if (!c) {
      c = { el: svg("g", { class: "crown" }) };
      c.el.append(svg("path", { d: crownPath }));
      $("crowns").append(c.el);
      crowns.push(c);
    }
    c.key = key;
  }
  for (const c of free) {
    c.el.remove();
    crowns.splice(crowns.indexOf(c), 1);
  }
  for (const c of crowns) {
    const spot = layout.spots.get(c.key);
    c.el.dataset.key = c.key;
    c.el.style.transform = `translate(${spot.x.toFixed(1)}px, ${(spot.y - layout.r * 1.3).toFixed(1)}px) scale(${(layout.r / 30).toFixed(2)})`;
  }
}

// viewOf is the view of a ring: its coordinator's, or the latest.
function viewOf(cluster) {
  const views = cluster.members.map((k) => sources.get(k)).filter((s) => s?.view && !s.ended && state(nodes.get(s.key)) !== "dead");
  const own = views.find((s) => s.key === cluster.key);
  return own ?? views.sort((a, b) => b.view.term - a.view.term || b.view.vid - a.view.vid)[0];
}

function drawViews() {
  const items = clusters.map(viewOf).filter(Boolean);
  const now = JSON.stringify(items.map((s) => [notation(s.view), s.digest?.hist, s.digest?.same, s.digest?.of]));
  if (drawViews.last === now) return;
  drawViews.last = now;
  $("views").replaceChildren(...items.map((s) => {
    const li = el("li");
    li.append(el("span", notation(s.view), "view"));
    const d = s.digest;
    if (d && d.n > 0) {
      const mini = svg("svg", { viewBox: "-50 -50 100 100", class: "mini", "aria-hidden": "true" });
      mini.append(svg("path", { class: "seal", d: sealPath(d.hist, 48) }));
      mini.style.setProperty("--hue", hue(d.hist));
      const same = d.same === d.of;
      li.append(mini, el("span", code(d.hist)), el("span", `${same ? "=" : "≠"} ${d.same}/${d.of}`, same ? "same" : "apart"));
    }
    return li;
  }));
}

function drawVerdict(coordinators) {
  const who = (k) => show(nodes.get(k));
  const up = [...nodes.values()].filter((n) => layout.spots.has(n.key) && !["dead", "left"].includes(state(n)));
  const suspects = up.filter((n) => state(n) === "suspect");
  const digests = new Map();
  for (const n of up) {
    const d = digestOf(n.key);
    if (d) digests.set(d.hist, d);
  }
  const now = performance.now();
  const running = [...elections.values()].filter((e) => now - e.at < 8000);
  const facts = [...sources.values()].find((s) => s.hello && !s.ended)?.hello;
  let mood = "good";
  let head, why;
  if (connected !== "live") {
    mood = "wait";
    head = connected === "lost" ? "Not connected" : "Connecting";
    why = connected === "lost" ? "this is how things stood; trying again…" : "";
  } else if (!up.length) {
    mood = "wait";
    head = "Nobody is here";
    why = sources.size ? "all nodes are gone" : "waiting for the first node";
  } else if (clusters.length > 1 && coordinators.size > 1) {
    mood = "bad";
    head = coordinators.size === 2 ? "Split brain" : `Split in ${coordinators.size}`;
    why = clusters.map((c) => viewOf(c)).filter(Boolean).map((s) => `${who(s.view.members.find((m) => m.id === s.view.coord)?.node)} leads ${list(s.view.members.map((m) => m.id))}`).join("; ");
  } else if (showing || (running.length && !suspects.length && coordinators.size)) {
    mood = "busy";
    head = "Election";
    why = lastElection ? `term ${lastElection.term}, ${plain(lastElection.algo, 12)}` : "";
    later(500);
  } else if (news && now < news.until && layout.spots.has(news.key)) {
    head = `${nick(nodes.get(news.key))} is coordinator`;
    why = `term ${news.term}, ${news.how}`;
    later(500);
  } else if (!coordinators.size) {
    mood = "busy";
    head = running.length ? "Election" : up.some((n) => state(n) === "joining") && up.length === 1 ? "Looking for the group" : "No coordinator";
    why = running.length ? `term ${running[0].term}, ${plain(running[0].algo, 12)}: nobody leads yet` : "";
  } else if (suspects.length) {
    mood = "busy";
    head = suspects.length === 1 ? `${who(suspects[0].key)} is suspect` : "Some are suspect";
    why = "asking it, and others, before anybody is called dead";
  } else if (digests.size > 1) {
    mood = "busy";
    head = "Histories differ";
    why = `catching up: ${list([...digests.keys()].slice(0, 6).map(code))}`;
  } else {
    const d = [...digests.values()][0];
    const behind = d && d.same < d.of;
    head = up.length === 1 ? "Alone so far" : behind ? "Catching up" : `${up.length} nodes, one history`;
    why = !d || d.n === 0 ? "nobody has said anything yet" : behind ? `${d.same} of ${d.of} hold the same ${count(d.n, "message", "messages")}` : `${up.length === 1 ? "it holds" : "all hold the same"} ${count(d.n, "message", "messages")}, digest ${code(d.hist)}`;
    if (behind) mood = "busy";
    if (up.length === 1) mood = "wait";
  }
  $("verdict").dataset.mood = mood;
  text($("headline"), head);
  text($("reason"), why);
  text($("facts"), facts ? [facts.group, `room ${plain(facts.room, 24)}`, facts.algo, facts.sec === "open" ? "open" : "sealed by passphrase"].join(" · ") : "");
  if ([...nodes.values()].some((n) => n.gone)) later(1000);
}

// ---- messages ----

// lineUp puts the ends of several histories into one order. Each is in the
// order all agree on, so that they never contradict each other.
function lineUp(histories) {
  const out = [];
  for (const h of histories) {
    let at = 0;
    const present = new Map(out.map((m, i) => [m, i]));
    const add = [];
    for (const m of h) {
      if (present.has(m)) at = present.get(m) + 1;
      else add.push([at, m]);
    }
    for (const [i, m] of add.reverse()) out.splice(i, 0, m);
  }
  return out;
}

function drawMessages() {
  const tellers = [...sources.values()].filter((s) => s.msgs.size && !["dead", "left"].includes(state(nodes.get(s.key))));
  const whole = tellers.length ? tellers : [...sources.values()].filter((s) => s.msgs.size).slice(0, 1);
  const order = lineUp(whole.map((s) => [...s.order, ...s.fresh.filter((m) => !s.order.includes(m))])).slice(-maxShown);
  const split = clusters.length > 1;
  const rows = [];
  for (const m of order) {
    const holders = whole.filter((s) => s.msgs.has(m));
    const e = holders[0]?.msgs.get(m);
    if (!e) continue;
    const partial = split && holders.length < whole.length;
    rows.push({
      m, e,
      inserted: ids(holders.filter((s) => s.msgs.get(m).inserted && !s.msgs.get(m).backlog)),
      flash: holders.some((s) => s.msgs.get(m).flash),
      stable: holders.some((s) => s.msgs.get(m).stable),
      holds: partial ? ids(holders) : "",
    });
  }
  const n = Math.max(0, ...[...sources.values()].map((s) => s.digest?.n ?? 0));
  text($("talk-note"), n > rows.length ? `the last ${rows.length} of ${n}` : rows.length ? count(rows.length, "message", "messages") : "");
  const sign = rows.map((r) => `${r.m}${r.inserted}${+r.stable}${r.holds}`).join("|");
  if (drawMessages.last === sign) return;
  drawMessages.last = sign;
  const box = $("messages");
  const bottom = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  const old = new Map([...box.children].map((li) => [li.dataset.m, li]));
  box.replaceChildren(...(rows.length ? rows.map((r) => messageRow(r, old.get(r.m))) : [el("li", "nobody has said anything yet", "none")]));
  if (bottom) box.scrollTop = box.scrollHeight;
}

const ids = (from) => from.map((s) => nodes.get(s.key).id).sort((a, b) => a - b).join(" ");

function messageRow(r, li) {
  const fresh = !li;
  if (fresh) {
    li = el("li");
    li.dataset.m = r.m;
    const body = r.e.text + (r.e.size ? " …" : "");
    const deed = body.startsWith("/me ");
    const who = el("span", `${nick(r.e.from, 16)} #${r.e.from.id}`, "who");
    who.title = show(r.e.from);
    li.append(who, el("span", (deed ? "* " : "") + plain(deed ? body.slice(4) : body, 280), "text"), el("span", "", "marks"));
  }
  li.className = (r.stable ? "" : "pending ") + (r.inserted ? "insert" : "");
  const marks = [];
  if (r.inserted) {
    const b = el("b", sources.size > 1 ? `↥ inserted at ${r.inserted}` : "↥ inserted");
    b.title = "it belongs before one that was there already";
    marks.push(b);
  }
  if (r.holds) marks.push(el("span", `only at ${r.holds}`, "holds"));
  const dot = el("span", r.stable ? "●" : "○", "stable");
  dot.title = r.stable ? "every member holds it" : "not every member holds it yet";
  dot.ariaLabel = dot.title;
  dot.role = "img";
  marks.push(dot);
  li.lastChild.replaceChildren(...marks);
  if (fresh && live && !still.matches) {
    li.animate([{ opacity: 0, transform: r.flash ? "translateX(2rem)" : "translateY(.5rem)" }, { opacity: 1, transform: "none" }], { duration: r.flash ? 700 : 250, easing: "ease-out" });
  }
  return li;
}

// ---- what passes ----

function beat(from, to) {
  if (!live || document.hidden) return;
  const a = layout.spots.get(from);
  const b = layout.spots.get(to);
  if (!a) return;
  if (from === to) {
    if ($("beats").childElementCount > 60) return;
    const p = svg("circle", { class: "pulse", r: layout.r });
    p.style.transform = `translate(${a.x}px, ${a.y}px)`;
    $("beats").append(p);
    const frames = still.matches ? [{ opacity: 0.9, strokeWidth: "6px" }, { opacity: 0 }] : [
      { opacity: 0.9, transform: `translate(${a.x}px, ${a.y}px) scale(1)` },
      { opacity: 0, transform: `translate(${a.x}px, ${a.y}px) scale(1.55)` },
    ];
    p.animate(frames, { duration: 700, easing: "ease-out" }).onfinish = () => p.remove();
    // Of nodes that we do not hear it is known only that they were sent it.
    const view = sources.get(from)?.view;
    for (const m of view?.members ?? []) if (m.node !== from && !sources.has(m.node)) dot(a, layout.spots.get(m.node));
  } else dot(a, b);
}

function dot(a, b) {
  if (!a || !b || still.matches || $("beats").childElementCount > 60) return;
  const c = svg("circle", { class: "beat", r: Math.max(4, layout.r * 0.1) });
  $("beats").append(c);
  c.animate([
    { opacity: 0, transform: `translate(${a.x}px, ${a.y}px)` },
    { opacity: 1, offset: 0.2 },
    { opacity: 1, offset: 0.8 },
    { opacity: 0, transform: `translate(${b.x}px, ${b.y}px)` },
  ], { duration: 420, easing: "ease-in-out" }).onfinish = () => c.remove();
}

// An election takes milliseconds. Its messages are shown one after the other,
// so that it can be followed.
const waitingArrows = [];
let showing = 0; // timer of the next one
let lastElection = null;

function arrow(e) {
  if (!live || document.hidden || !e.from || !e.kind) return;
  const to = e.to ? [e.to.node] : [...nodes.keys()].filter((k) => k !== e.from.node && ["up", "suspect"].includes(state(nodes.get(k))));
  if (!to.length) return;
  waitingArrows.push({ from: e.from.node, to, kind: plain(e.kind, 16) });
  if (waitingArrows.length > maxWaiting) waitingArrows.shift();
  showing ||= setTimeout(nextArrow, 0);
}

function nextArrow() {
  showing = 0;
  const a = waitingArrows.shift();
  if (!a) {
    if (news) news.until = Math.max(news.until, performance.now() + 3000);
    return draw();
  }
  for (const to of a.to) drawArrow(a.from, to, a.kind);
  showing = setTimeout(nextArrow, waitingArrows.length > 12 ? 150 : waitingArrows.length ? 380 : 1000);
}

const kinds = { ANSWER: "reply", COORDINATOR: "crowning" };

function drawArrow(from, to, kind) {
  const a = layout.spots.get(from);
  const b = layout.spots.get(to);
  if (!a || !b || from === to) return;
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const far = Math.hypot(dx, dy);
  const [ux, uy] = [dx / far, dy / far];
  const bend = Math.min(130, far * 0.24);
  const c = { x: (a.x + b.x) / 2 - uy * bend, y: (a.y + b.y) / 2 + ux * bend };
  const edge = (p) => {
    const l = Math.hypot(c.x - p.x, c.y - p.y);
    return { x: p.x + ((c.x - p.x) / l) * (layout.r + 8), y: p.y + ((c.y - p.y) / l) * (layout.r + 8), ux: (p.x - c.x) / l, uy: (p.y - c.y) / l };
  };
  const [s, t] = [edge(a), edge(b)];
  const h = Math.max(12, layout.r * 0.3);
  const g = svg("g", { class: `arrow ${kinds[kind] ?? ""}` });
  g.dataset.kind = kind;
  const line = svg("path", { d: `M${s.x} ${s.y}Q${c.x} ${c.y} ${t.x - t.ux * h * 0.7} ${t.y - t.uy * h * 0.7}` });
  const head = svg("path", {
    class: "head",
    d: `M${t.x} ${t.y}L${t.x - t.ux * h - t.uy * h * 0.5} ${t.y - t.uy * h + t.ux * h * 0.5}L${t.x - t.ux * h + t.uy * h * 0.5} ${t.y - t.uy * h - t.ux * h * 0.5}Z`,
  });
  const size = Math.max(11, layout.label * 0.72);
  const mid = { x: 0.25 * a.x + 0.5 * c.x + 0.25 * b.x, y: 0.25 * a.y + 0.5 * c.y + 0.25 * b.y };
  const label = svg("text", { ...mid, "font-size": size });
  label.textContent = kind;
  g.append(line, head, label);
  $("arrows").append(g);
  const wide = label.getComputedTextLength() + size * 1.2;
  g.insertBefore(svg("rect", { x: mid.x - wide / 2, y: mid.y - size * 0.85, width: wide, height: size * 1.7, rx: size * 0.85 }), label);
  const frames = [{ opacity: 0 }, { opacity: 1, offset: 0.06 }, { opacity: 1, offset: 0.7 }, { opacity: 0 }];
  g.animate(frames, { duration: 1700 }).onfinish = () => g.remove();
  if (still.matches) return;
  const long = line.getTotalLength();
  if (kinds[kind] !== "reply") line.animate([{ strokeDasharray: `0 ${long}` }, { strokeDasharray: `${long} 0` }], { duration: 320, easing: "ease-out" });
}

// ---- details, help, keys ----

let detailed = "";

function details(key) {
  detailed = key;
  fillDetails();
  if (!$("details").open) $("details").showModal();
}

function fillDetails() {
  const n = nodes.get(detailed);
  if (!n) return;
  const s = sources.get(detailed);
  const view = s?.view;
  const d = digestOf(detailed);
  const rows = [["state", state(n) + (n.suspects.size ? ` (suspected by ${list([...n.suspects.keys()].map((k) => show(nodes.get(k))))})` : "")], ["key", n.key], ["endpoint", n.addr]];
  if (s?.hello) rows.push(["process", s.hello.pid], ["election", s.hello.algo], ["security", s.hello.sec]);
  if (view) rows.push(["view", notation(view)], ["term", view.term], ["coordinator", show(view.members.find((m) => m.id === view.coord))]);
  if (s?.beat) rows.push(["heartbeat", `${((performance.now() - s.beat) / 1000).toFixed(1)} s ago`]);
  if (d) rows.push(["history", count(d.n, "message", "messages")], ["digest", d.hist], ["same at", `${d.same} of ${d.of}`]);
  else rows.push(["digest", "not known here"]);
  if (!s) rows.push(["seen by", "others: its own process does not report to this page"]);
  text($("details-title"), show(n));
  $("details-list").replaceChildren(...rows.filter((r) => r[1] !== "").flatMap(([k, v]) => [el("dt", k), el("dd", v)]));
}

setInterval(() => {
  if ($("details").open) fillDetails();
}, 500);

function help() {
  if (!$("help").open) $("help").showModal();
}

$("help-button").addEventListener("click", help);
for (const d of document.querySelectorAll("dialog")) {
  d.addEventListener("click", (e) => {
    if (e.target === d) d.close(); // outside of it
  });
}

function move(step) {
  const order = clusters.flatMap((c) => c.members);
  if (!order.length) return;
  const inside = document.activeElement?.classList.contains("node");
  const at = order.indexOf(focused);
  const next = step === "first" ? 0 : step === "last" ? order.length - 1 : inside ? (at + step + order.length) % order.length : Math.max(0, at);
  drawn.get(order[next])?.g.focus();
}

document.addEventListener("keydown", (e) => {
  if (e.altKey || e.ctrlKey || e.metaKey || $("help").open || $("details").open) return;
  const onNode = document.activeElement?.classList.contains("node");
  const scrolls = ["messages", "happened"].includes(document.activeElement?.id);
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  if (e.key === "?") help();
  else if (e.key in steps && !scrolls) move(steps[e.key]);
  else if (onNode && e.key === "Home") move("first");
  else if (onNode && e.key === "End") move("last");
  else if (onNode && (e.key === "Enter" || e.key === " ")) details(focused);
  else return;
  e.preventDefault();
});

// ---- the connection ----

function link(to) {
  connected = to;
  $("link").dataset.state = to;
  text($("link"), { live: "live", connecting: "connecting", lost: "not connected" }[to]);
  draw();
}

function connect() {
  const stream = new EventSource("events");
  const read = (data, use) => {
    try {
      use(JSON.parse(data));
    } catch (err) {
      console.error("event", err);
    }
  };
  stream.addEventListener("reset", reset);
  stream.addEventListener("live", () => {
    live = true;
    loading = false;
    link("live");
  });
  stream.addEventListener("gone", (e) => read(e.data, (d) => gone(d.node)));
  stream.onmessage = (e) => read(e.data, take);
  stream.onerror = () => {
    link("lost");
    if (stream.readyState !== EventSource.CLOSED) return;
    stream.close(); // it was refused, not broken: the browser does not try again
    setTimeout(connect, 3000);
  };
}

new ResizeObserver(draw).observe($("ring"));
reset();
connect();
