"use strict";
// The atlas of neuron descriptions: a table of all neurons (ATLAS.kind "atlas"), or the page of one ("neuron").
// Data files are loaded as scripts, since fetch() does not work on file:// pages. All texts (from web corpora and
// language models) enter the page through textContent or setAttribute, never as HTML.

const PAGE_ROWS = 100;
const isAtlas = ATLAS.kind === "atlas";
const layers = ATLAS.layers ?? [];
// Above this, only the layer that is looked at is kept in memory.
const loadAll = layers.reduce((sum, layer) => sum + layer.n_rows, 0) <= 60000;
const SIGNS = {positive: "+", negative: "−"};
const SIGN_WORDS = {positive: "+ positive activations", negative: "− negative activations"};
const STATUS = {
  ok: ["ok", ""],
  at_chance: ["at chance", "No description beats chance: the chosen one does not stand clear of descriptions of other neurons, chosen among as many in the same way."],
  no_activation: ["no activation", "The neuron has no activation of this sign on the training text, so there was nothing to describe."],
  no_description: ["no description", "The explainer model gave no usable description: its answers were refusals or could not be read (see the candidates)."],
  no_score: ["no score", "There is a description, but it could not be scored, for instance because the predicted or the real activations do not vary on the test text."],
};
const statusOf = (row) => row.status === "ok" && row.beats_chance === false ? "at_chance" : row.status;
const CANDIDATE_STATUS = {ok: "ok", refused: "the explainer refused", unparsed: "answer could not be read", no_activation: "nothing to describe"};

// ---- small helpers

const byId = (id) => document.getElementById(id);
const legend = byId("legend");  // moves between the table and the neuron
const headings = [...byId("rows").tHead.rows[0].cells];
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const number = (value, digits = 2) => isNumber(value) ? value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "") : "–";
const significant = (value) => isNumber(value) ? String(Number(value.toPrecision(3))).replace("-", "−") : "–";
const count = (value) => isNumber(value) ? value.toLocaleString("en") : "–";
const interval = (record) => isNumber(record.score_low) && isNumber(record.score_high)
  ? `[${number(record.score_low)}, ${number(record.score_high)}]` : "";

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const terms = (pairs) => pairs.map(([term, ...value]) => el("div", {}, el("dt", {}, term), el("dd", {}, ...value)));

// ---- state: everything that a link to this view must carry lives in the URL hash

const FIELDS = ["q", "layer", "sign", "status", "min", "sort", "page", "neuron"];
let state = {};

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  state = Object.fromEntries(FIELDS.map((field) => [field, given.get(field) ?? ""]));
  if (!loadAll && !state.layer) state.layer = state.neuron.split("/")[0] || String(layers[0].layer);
}

function hashOf(changes) {
  const filled = Object.entries({...state, ...changes}).filter(([, value]) => value);
  return "#" + new URLSearchParams(filled).toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
}

// Filters replace the history entry, so that "back" leaves the table or the neuron, not the last keystroke.
function change(changes) {
  history.replaceState(null, "", hashOf({page: "", ...changes}));
  return show();
}

// ---- loading

const rowsByLayer = new Map();
const failedFiles = new Set();
let detailsByNeuron = new Map();

function atlasRows(layer, columns) {  // called by rows/layer-*.js
  const names = Object.keys(columns);
  const rows = columns.neuron.map((_, i) => {
    const row = {layer};
    for (const name of names) row[name] = columns[name][i];
    row.text = (row.description ?? "").toLowerCase();
    return row;
  });
  if (!loadAll) rowsByLayer.clear();
  rowsByLayer.set(layer, rows);
}

function atlasDetails(neurons) {  // called by details/layer-*/*.js; only the last part is kept
  detailsByNeuron = new Map(neurons.map((neuron) => [`${neuron.layer}/${neuron.neuron}`, neuron]));
}

const loading = new Map();

function loadScript(src) {
  if (failedFiles.has(src)) return null;
  if (!loading.has(src)) loading.set(src, new Promise((done) => {
    const script = el("script", {src, load: done, error: () => { failedFiles.add(src); done(); }});
    document.head.append(script);
  }).then(() => loading.delete(src)));
  return loading.get(src);
}

function wantedLayers() {
  if (loadAll) return layers;
  const wanted = /(?:^|\s)layer:(\d+)/.exec(state.neuron ? "" : state.q)?.[1] ?? (state.neuron || state.layer).split("/")[0];
  return layers.filter((layer) => String(layer.layer) === wanted);
}

// ---- table: choosing, ordering, drawing

const SIGN_NAMES = {"+": "positive", "-": "negative", "−": "negative"};

function rowFilter() {
  const tests = [];
  for (const word of state.q.toLowerCase().split(/\s+/).filter(Boolean)) {
    const [, field, text] = /^(layer|neuron|sign|status):(.+)$/.exec(word) ?? [];
    const value = field === "sign" ? SIGN_NAMES[text] ?? text : text;
    tests.push(field ? (row) => String(row[field]) === value || (field === "status" && statusOf(row) === value) : (row) => row.text.includes(word));
  }
  if (loadAll && state.layer) tests.push((row) => String(row.layer) === state.layer);
  if (state.sign) tests.push((row) => row.sign === state.sign);
  if (state.status) tests.push((row) => statusOf(row) === state.status || row.status === state.status);
  if (state.min !== "" && isNumber(Number(state.min))) tests.push((row) => isNumber(row.score) && row.score >= Number(state.min));
  return (row) => tests.every((test) => test(row));
}

function rowOrder() {
  const key = state.sort.replace(/^-/, "");
  const direction = state.sort.startsWith("-") ? -1 : 1;
  const valueOf = (row) => key === "description" ? row.text : row[key];
  const missing = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);
  const tie = (a, b) => a.layer - b.layer || a.neuron - b.neuron || (a.sign < b.sign ? 1 : -1);
  if (!headings.some((heading) => heading.dataset.key === key)) return tie;
  return (a, b) => {
    const x = valueOf(a), y = valueOf(b);
    if (missing(x) || missing(y)) return missing(x) - missing(y) || tie(a, b);  // missing last, in both directions
    return x < y ? -direction : x > y ? direction : tie(a, b);
  };
}

const loadedRows = () => wantedLayers().flatMap((layer) => rowsByLayer.get(layer.layer) ?? []);
const chosenRows = () => loadedRows().filter(rowFilter()).sort(rowOrder());

// One axis for all bars of a view: 0..1, or down to -0.5 or -1 where a value needs it.
function axisOf(records) {
  let least = 0;
  for (const r of records) for (const v of [r.score, r.score_low, r.null_score, r.token_baseline_score]) if (v < least) least = v;
  return least >= 0 ? 0 : least >= -0.5 ? -0.5 : -1;
}

function scoreBar(record, axis, large = false) {
  const at = (value) => 100 * (Math.min(1, Math.max(axis, value)) - axis) / (1 - axis);
  const words = `score ${number(record.score)} ${interval(record)}, null ${number(record.null_score)}, token baseline ${number(record.token_baseline_score)}`;
  const bar = el("span", {class: large ? "bar large" : "bar", role: "img", "aria-label": words, title: words});
  const mark = (name, value) => { if (isNumber(value)) bar.append(el("span", {class: name, style: `left:${at(value)}%`})); };
  if (axis < 0) mark("zero", 0);
  if (interval(record)) {
    const [left, right] = [at(record.score_low), at(record.score_high)];
    bar.append(el("span", {class: "interval", style: `left:${left}%;width:${right - left}%`}));
  }
  mark("tokens", record.token_baseline_score);
  mark("null", record.null_score);
  mark("score", record.score);
  if (large) for (let tick = axis; tick <= 1; tick += 0.5) {
    bar.append(el("span", {class: "tick", style: `left:${at(tick)}%`, "aria-hidden": "true"}, number(tick, 1)));
  }
  return bar;
}

function drawSummary(rows, total) {
  const share = (other) => {
    const both = rows.filter((row) => isNumber(row.score) && isNumber(row[other]));
    const above = both.filter((row) => row.score > row[other]).length;
    return both.length ? [`${Math.round(100 * above / both.length)} %`, el("small", {}, `${count(above)} of ${count(both.length)} that have both`)] : ["–"];
  };
  const beating = (rows) => {
    const known = rows.filter((row) => typeof row.beats_chance === "boolean");
    const many = known.filter((row) => row.beats_chance).length;
    return known.length ? [`${Math.round(100 * many / known.length)} %`, el("small", {}, `${count(many)} of ${count(known.length)} with nulls`)] : ["–"];
  };
  const scores = rows.map((row) => row.score).filter(isNumber).sort((a, b) => a - b);
  const half = scores.length >> 1;
  const median = scores.length % 2 ? scores[half] : (scores[half - 1] + scores[half]) / 2;
  const whole = loadAll ? "all rows" : `all rows of layer ${wantedLayers()[0]?.layer ?? "–"}`;
  byId("summary").replaceChildren(...terms([
    ["rows", count(rows.length), el("small", {}, rows.length === total ? whole : `match the filters, of ${count(total)}`)],
    ["with status ok", count(rows.filter((row) => row.status === "ok").length)],
    ["median score", number(median), el("small", {}, `over ${count(scores.length)} with a score`)],
    ["beats chance", ...beating(rows)],
    ["score above token baseline", ...share("token_baseline_score")],
  ]));
}

function markSort(axis) {
  for (const heading of headings) {
    const sorted = {[heading.dataset.key]: "ascending", ["-" + heading.dataset.key]: "descending"}[state.sort];
    if (sorted) heading.setAttribute("aria-sort", sorted); else heading.removeAttribute("aria-sort");
  }
  byId("axis").textContent = `bar: ${number(axis, axis % 1 ? 1 : 0)} to 1`;
}

function sortBy({key, first}) {  // first: the direction of the first click, "-" for scores
  const up = state.sort === key, down = state.sort === "-" + key;
  change({sort: (up ? "-" : down ? "" : first ?? "") + key});
}

const nameOf = (row) => `${row.layer}/${row.neuron}/${row.sign}`;

function drawRow(row, axis) {
  const href = hashOf({neuron: nameOf(row)});
  const cell = (key, label, ...content) => el("td", {class: `${key} number`, "data-label": label}, ...content);
  const open = (event) => { if (!event.target.closest("a") && !getSelection().toString()) location.hash = href; };
  const [statusWords, statusReason] = STATUS[statusOf(row)] ?? [row.status ?? "", ""];
  return el("tr", {click: open},
    cell("layer", "layer", String(row.layer)),
    el("td", {class: "neuron number", "data-label": "neuron", title: isNumber(row.peak) ? `largest activation: ${significant(row.peak)}` : null}, String(row.neuron)),
    el("td", {class: "sign", title: SIGN_WORDS[row.sign]}, SIGNS[row.sign] ?? String(row.sign)),
    el("td", {class: "description"}, el("a", {href, class: row.description ? null : "soft", title: row.description}, row.description || statusWords)),
    el("td", {class: "graph number"}, el("div", {}, isNumber(row.score) || isNumber(row.token_baseline_score) ? scoreBar(row, axis) : null,
      el("span", {}, number(row.score), el("small", {}, " ", interval(row))))),
    el("td", {class: "null_score number", "data-label": "null", title: nullWords(row) || null}, number(row.null_score)),
    cell("tokens_score", "tokens", number(row.token_baseline_score)),
    cell("published_score", "publ.", number(row.published_score)),
    el("td", {class: statusOf(row) === "ok" ? "status soft" : "status", title: statusReason || null}, statusWords));
}

function drawTable() {
  const total = loadedRows(), rows = chosenRows(), axis = axisOf(total);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
  const page = Math.min(pages, Math.max(1, parseInt(state.page, 10) || 1));
  const from = (page - 1) * PAGE_ROWS;
  for (const field of ["q", "layer", "sign", "status", "min"]) {
    const control = byId("filters").elements[field];
    if (control.value !== state[field]) control.value = state[field];  // leaves a half-typed number alone
  }
  if (!loadAll) byId("filters").elements.layer.value = wantedLayers()[0]?.layer ?? "";
  byId("rows-view").before(legend);
  drawSummary(rows, total.length);
  markSort(axis);
  byId("rows").tBodies[0].replaceChildren(...rows.slice(from, from + PAGE_ROWS).map((row) => drawRow(row, axis)));
  byId("empty").hidden = rows.length > 0;
  const turnTo = async (target) => {
    await change({page: String(target)});
    byId("filters").scrollIntoView();
    byId("rows").querySelector("tbody a").focus({preventScroll: true});
  };
  const go = (label, target) => el("button", {type: "button", disabled: target < 1 || target > pages || target === page,
    click: () => turnTo(target)}, label);
  byId("pager").replaceChildren(...(pages > 1 ? [go("First", 1), go("Previous", page - 1),
    `rows ${count(from + 1)}–${count(Math.min(rows.length, from + PAGE_ROWS))} of ${count(rows.length)}`,
    go("Next", page + 1), go("Last", pages)] : []));
}

// ---- one neuron

// Whitespace is drawn as faint signs; a space before a word stays a plain space.
function tokenText(token) {
  const pieces = token.split(/(\r?\n|\t| {2,}|^ $)/).filter(Boolean);
  if (!pieces.length) return [el("span", {class: "space"}, "∅")];
  return pieces.map((piece) => /^(\s*[\n\t]| {2,}|^ )$/.test(piece)
    ? el("span", {class: "space"}, piece.replace(/\r?\n/, "↵").replace("\t", "⇥").replaceAll(" ", "·")) : piece);
}

function shadedToken(token, value, largest, words) {
  const strength = isNumber(value) && largest > 0 ? Math.min(1, Math.abs(value) / largest) : 0;
  return el("span", {class: value < 0 ? "negative" : "positive", style: `--a:${strength.toFixed(3)}`, title: `${JSON.stringify(token)}  ${words}`}, ...tokenText(token));
}

const largestOf = (values, keep = () => true) => values.reduce((most, v) => isNumber(v) && keep(v) ? Math.max(most, Math.abs(v)) : most, 0);

function sequence(record, ...content) {
  const meta = [`#${record.rank}`, record.source, `sequence ${record.seq_id}`, isNumber(record.peak) ? `peak ${significant(record.peak)}` : null];
  return el("div", {class: "sequence"}, el("div", {class: "meta"}, meta.filter(Boolean).join(" · ")), ...content);
}

function exemplarLine(record, scale) {
  return sequence(record, el("div", {class: "text", dir: "auto"}, record.tokens.map((token, i) => {
    const value = record.activations[i];
    return shadedToken(token, value, value < 0 ? scale.negative : scale.positive, `activation ${significant(value)}`);
  })));
}

// Each token is a column of two, true above simulated, so that the lines stay aligned where they wrap.
function simulatedLine(record, sign) {
  const largestTrue = largestOf(record.activations), largestSimulated = largestOf(record.simulated);
  const direction = sign === "negative" ? -1 : 1;
  return sequence(record,
    el("div", {class: "meta"}, `largest: true ${significant(largestTrue)}, simulated ${significant(largestSimulated)} of 10`),
    el("div", {class: "text"}, el("span", {class: "pair label"}, el("span", {}, "true"), el("span", {}, "simulated")),
      record.tokens.map((token, i) => {
        const real = record.activations[i], guess = record.simulated[i];
        const words = `true ${significant(real)}, simulated ${significant(guess)} of 10`;
        return el("span", {class: "pair"}, shadedToken(token, real, largestTrue, words),
          shadedToken(token, isNumber(guess) ? direction * guess : null, largestSimulated, words));
      })));
}

// Groups by split and kind; only the first is open, and a closed one is built when it is first opened.
function groups(records, drawOne) {
  const KINDS = {top: "strongest activations", middle: "middle of the activation range", random: "random sequences"};
  const SPLITS = ["train", "valid", "test"];
  const grouped = new Map();
  for (const record of records) {
    const key = `${record.split}/${record.kind}`;
    grouped.set(key, [...grouped.get(key) ?? [], record]);
  }
  const place = ([key]) => SPLITS.indexOf(key.split("/")[0]) * 3 + Object.keys(KINDS).indexOf(key.split("/")[1]);
  return [...grouped].sort((a, b) => place(a) - place(b)).map(([key, members], i) => {
    const [split, kind] = key.split("/");
    const box = el("details", {class: "group"}, el("summary", {}, `${split}: ${KINDS[kind] ?? kind} (${members.length})`));
    const fill = () => { if (box.childElementCount === 1) box.append(...members.map(drawOne)); };
    box.addEventListener("toggle", fill);
    if (i === 0) { fill(); box.open = true; }
    return box;
  });
}

function dataTable(className, columns, rows) {
  return el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": className},
    el("table", {class: className}, el("thead", {}, el("tr", {}, columns.map(([text, title]) => el("th", {scope: "col", title}, text)))),
      el("tbody", {}, rows)));
}

function statisticsTable(statistics) {
  const splits = Object.keys(statistics);
  const keys = [...new Set(splits.flatMap((split) => Object.keys(statistics[split])))];
  const heading = (key) => {
    const [, share, side] = /^q(.+)_(low|high)$/.exec(key) ?? [];
    return share ? [`${side === "low" ? "lowest" : "highest"} ${Number((100 * share).toPrecision(3))} %`,
      `this share of the tokens lies ${side === "low" ? "below" : "above"} this activation`] : [key];
  };
  return dataTable("statistics", [["text"], ...keys.map(heading)], splits.map((split) => el("tr", {}, el("th", {scope: "row"}, split),
    keys.map((key) => el("td", {class: "number"}, key === "tokens" ? count(statistics[split][key]) : significant(statistics[split][key]))))));
}

function candidatesTable(sign) {
  const ranks = (candidate) => (candidate.exemplar_ranks ?? []).map((rank) => `#${rank}`).join(" ");
  return dataTable("candidates", [["Candidate"], ["Description"], ["Selection score", "on the text used for choosing among the candidates"],
    ["Score", "on the test text; for the chosen candidate, and the one that the published pipeline would choose"], ["Published", "as the published pipeline computes it (in-sample)"],
    ["Explainer", "who wrote it; tokens: no model, the tokens where exemplars peak, in words"], ["Exemplars read", "ranks of the strongest training exemplars that the explainer was shown"]],
  sign.candidates.map((candidate) => el("tr", {class: candidate.candidate === sign.best ? "chosen" : null},
    el("td", {class: "number"}, String(candidate.candidate), candidate.candidate === sign.best ? el("strong", {}, " ✓ chosen") : null),
    el("td", {}, candidate.description || null, candidate.status === "ok" ? null
      : el("em", {class: "soft"}, `${candidate.description ? " " : ""}(${CANDIDATE_STATUS[candidate.status] ?? candidate.status})`)),
    ["selection_score", "score", "published_score"].map((key) => el("td", {class: "number"}, number(candidate[key]))),
    el("td", {class: "small"}, candidate.explainer), el("td", {class: "small soft"}, ranks(candidate)))));
}

const percentile = (value) => isNumber(value) ? `${Number(value.toFixed(1))} %` : "–";
const nullWords = (record) => isNumber(record.null_percentile) ? `The score is above ${percentile(record.null_percentile)} of the nulls, and above `
  + `${percentile(record.best_null_percentile)} of the best of as many as there are candidates` : "";
const madeOn = (record) => isNumber(record.n_top) ? ["top", "middle", "random"].map((kind) => `${record[`n_${kind}`]} ${kind}`).join(" + ") : "–";

function verdict(record) {
  const chance = record.beats_chance ? "Beats chance: clear of descriptions of other neurons, chosen in the same way. " : "";
  const against = (value, name, meaning) => !isNumber(value) || !isNumber(record.score) ? "" : record.score <= value ? `Not above ${name}: ${meaning}. `
    : `Above ${name}${record.score_low <= value ? ", though the interval reaches down to it" : ""}. `;
  return chance + against(record.best_null_score ?? record.null_score, "the null", "descriptions of other neurons do as well")
    + against(record.token_baseline_score, "the token baseline", "it is not shown to say more than “these tokens”");
}

const keyMark = (name) => el("span", {class: "bar key"}, el("span", {class: name, style: "left:50%"}));

function signSection(neuron, signName) {
  const sign = neuron.signs[signName];
  const chosen = sign.candidates?.find((candidate) => candidate.candidate === sign.best);
  const exemplars = sign.exemplars ?? [], simulated = sign.simulated ?? [];
  const all = Object.values(neuron.signs).flatMap((one) => one.exemplars ?? []).flatMap((one) => one.activations);
  const scale = {positive: largestOf(all, (v) => v > 0), negative: largestOf(all, (v) => v < 0)};
  const [, reason] = STATUS[statusOf(sign)] ?? ["", ""];
  const swatch = (name, words) => scale[name] > 0 ? [el("span", {class: `swatch ${name}`}), ` 0 to ${words}`] : [];
  return el("section", {},
    chosen?.description ? el("blockquote", {class: "description"}, chosen.description) : null,
    reason ? el("p", {class: "message"}, reason) : null,
    isNumber(sign.score) || isNumber(sign.token_baseline_score) ? el("div", {class: "measure"}, scoreBar(sign, axisOf([sign]), true)) : null,
    sign.status === "no_activation" ? null : el("dl", {class: "numbers"}, terms([
      [[keyMark("score"), "Score (test)"], `${number(sign.score)} ${interval(sign)}`], [[keyMark("null"), "Null"], `${number(sign.null_score)}, best of n ${number(sign.best_null_score)}`],
      [`Among ${count(sign.n_nulls)} nulls`, `above ${percentile(sign.null_percentile)}, best of n ${percentile(sign.best_null_percentile)}`],
      [[keyMark("tokens"), "Token baseline"], number(sign.token_baseline_score)], ["Published (in-sample)", `${number(sign.published_score)}, on test ${number(sign.published_score_test)}`],
      ["Spearman", number(sign.spearman)], ["Average precision", number(sign.average_precision)],
      ["R², absolute deviation explained", `${number(sign.r2)}, ${number(sign.abs_dev_explained)}`], ["Sequences", madeOn(sign)],
      ["Selection score", number(sign.selection_score)]])),
    el("p", {}, verdict(sign)),
    legend,
    sign.candidates?.length ? [el("h3", {}, "Candidate descriptions"), candidatesTable(sign)] : null,
    exemplars.length ? [el("h3", {}, "Exemplars"), el("p", {class: "small soft"}, "Shading: ",
      swatch("positive", `${significant(scale.positive)}  `), swatch("negative", `−${significant(scale.negative)}`),
      ". Point at a token for its activation."), groups(exemplars, (record) => exemplarLine(record, scale))] : null,
    simulated.length ? [el("h3", {}, "True against simulated"), el("p", {class: "small soft"},
      "Above, the neuron's real activations; below, what the simulator predicts from the description alone (0 to 10). Each line is shaded relative to its own largest value."),
    groups(simulated, (record) => simulatedLine(record, signName))] : null);
}

function drawNeuron(neuron, signName) {
  const signs = Object.keys(SIGNS).filter((name) => neuron.signs[name]);
  if (!signs.includes(signName)) signName = signs.find((name) => neuron.signs[name].status === "ok") ?? signs[0];
  const place = `${neuron.layer}/${neuron.neuron}`;
  const rows = isAtlas ? chosenRows() : [];
  const here = rows.findIndex((row) => nameOf(row) === `${place}/${signName}`);
  const neighbour = (row, words) => here >= 0 && row ? el("a", {href: hashOf({neuron: nameOf(row)})}, words) : null;
  byId("neuron-view").replaceChildren(
    ...isAtlas ? [el("nav", {"aria-label": "Table"}, el("a", {href: hashOf({neuron: ""})}, "← All neurons"),
      neighbour(rows[here - 1], "previous row"), neighbour(rows[here + 1], "next row"))] : [],
    el("h2", {tabindex: "-1"}, `Layer ${neuron.layer}, neuron ${neuron.neuron}`),
    el("nav", {class: "tabs", "aria-label": "Sign"}, signs.map((name) => el("a", {href: hashOf({neuron: `${place}/${name}`}),
      "aria-current": name === signName ? "true" : null}, SIGN_WORDS[name]))),
    signSection(neuron, signName),
    ...neuron.statistics ? [el("h3", {}, "Activation statistics"), statisticsTable(neuron.statistics)] : []);
}

// ---- what is shown

let latest = 0;           // number of the newest show(): an older one that was waiting for a file gives up
let shownNeuron = null;   // "" while the table is shown
let tableScroll = 0;

function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

async function show() {
  const ticket = ++latest;
  readHash();
  const [layer, index, signName] = state.neuron.split("/");
  const place = `${layer}/${index}`;
  if (shownNeuron === "" && state.neuron) tableScroll = window.scrollY;
  let neuron = ATLAS.neuron;
  if (isAtlas) {
    const wanted = wantedLayers().filter((one) => !rowsByLayer.has(one.layer) && !failedFiles.has(one.rows));
    if (wanted.length) say("Loading…");
    await Promise.all(wanted.map((one) => loadScript(one.rows)));
    const part = !state.neuron || detailsByNeuron.has(place) ? null
      : rowsByLayer.get(Number(layer))?.find((row) => String(row.neuron) === index)?.part;
    for (const one of wanted) if (!rowsByLayer.has(one.layer) && ticket === latest) failedFiles.add(one.rows);
    if (ticket === latest && part) {
      say("Loading…");
      await loadScript(`details/layer-${layer}/${part}.js`);
    }
    if (ticket !== latest) return;
    neuron = detailsByNeuron.get(place);
    const missing = state.neuron && !neuron ? `There are no details for neuron ${state.neuron}. ` : "";
    say(missing + (failedFiles.size ? `Could not load ${[...failedFiles].join(", ")}.` : ""));
  }
  const onNeuron = Boolean(neuron) && (!isAtlas || Boolean(state.neuron));
  const focusInside = byId("neuron-view").contains(document.activeElement);  // on a link that the drawing replaces
  byId("table-view").hidden = onNeuron;
  byId("neuron-view").hidden = !onNeuron;
  if (onNeuron) drawNeuron(neuron, signName);
  else drawTable();
  document.title = onNeuron ? `Layer ${neuron.layer}, neuron ${neuron.neuron} – ${ATLAS.subject}` : `Neuron descriptions – ${ATLAS.subject}`;

  const shown = onNeuron ? place : "";
  if (isAtlas && shownNeuron !== null && shown !== shownNeuron) {  // moved between views: scroll and focus as a page would
    window.scrollTo(0, onNeuron ? 0 : tableScroll);
    const target = onNeuron ? byId("neuron-view").querySelector("h2") : byId("rows").querySelector(`a[href*="neuron=${shownNeuron}/"]`);
    target?.focus({preventScroll: true});
  } else if (onNeuron && focusInside) {
    byId("neuron-view").querySelector(".tabs [aria-current]").focus({preventScroll: true});
  }
  shownNeuron = shown;
}

function accountingTerms(account) {
  if (!account?.answers) return [];
  const answers = [`${count(account.described)} of ${count(account.candidates)} candidates described in ${count(account.answers)} answers`,
    account.refused ? `${count(account.refused)} refused` : null, account.unparsed ? `${count(account.unparsed)} unreadable` : null];
  const tokens = [`${count(account.prompt_tokens)} prompt and ${count(account.completion_tokens)} completion tokens`,
    isNumber(account.prompt_tokens_per_second) ? `${significant(account.prompt_tokens_per_second)} and ${significant(account.completion_tokens_per_second)} per second` : null,
    isNumber(account.cost) ? `$${account.cost.toFixed(account.cost < 1 ? 4 : 2)}` : null];
  return [["explaining", [...answers, ...tokens].filter(Boolean).join(", ")]];
}

function start() {
  byId("heading").textContent = `Neuron descriptions: ${ATLAS.subject}`;
  byId("about").replaceChildren(...terms([["run", ATLAS.run], ["explainer", ATLAS.explainer], ["simulator", ATLAS.simulator],
    ...Object.entries(ATLAS.splits ?? {}).map(([split, size]) => [split, `${count(size.sequences)} sequences, ${count(size.tokens)} tokens`]),
    ...accountingTerms(ATLAS.accounting)]));
  if (isAtlas) {
    const form = byId("filters");
    form.elements.layer.append(...loadAll ? [el("option", {value: ""}, "all")] : [], ...layers.map((layer) => el("option", {value: layer.layer}, String(layer.layer))));
    form.elements.status.append(el("option", {value: ""}, "any"), ...Object.entries(STATUS).map(([key, [words]]) => el("option", {value: key}, words)));
    form.addEventListener("input", ({target}) => change({[target.name]: target.value,
      ...target.name === "layer" ? {q: state.q.replace(/(^|\s)layer:\S*/g, "").trim()} : {}}));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => { event.preventDefault(); change({q: "", sign: "", status: "", min: "", layer: loadAll ? "" : state.layer}); });
    for (const heading of headings) heading.firstElementChild.addEventListener("click", () => sortBy(heading.dataset));
    history.scrollRestoration = "manual";
  }
  window.addEventListener("hashchange", show);
  show();
}

start();
