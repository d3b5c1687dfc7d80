// ---- rows: a block of columns for each layer, as atlas/browsing.py packs them

const NONE = -32768, MISSING = 0xFFFFFFFF;
const blocks = new Map();  // layer -> block
const STATUS_NAMES = Object.keys(STATUS);

function addBlock(layer, {head, arrays}) {
  const block = {...head, ...arrays, layer, n: arrays.neuron.length, first: 0, least: 0};
  for (const one of layers) if (one.layer === layer) break; else block.first += one.n_rows;
  const places = block.words.status.map((status) => block.words.chance.map((chance) => STATUS_NAMES.indexOf(statusOf({status, chance}))));
  block.place = Uint8Array.from(block.status, (status, i) => places[status][block.chance[i]]);
  for (let i = 0; i < block.n; i++) for (const value of [block.score[i], block.score_low[i], chanceAt(block, i, "panel_"), block.token_baseline_score[i]])
    if (value !== NONE && value < block.least) block.least = value;
  block.directed = block.direct_score.some((value) => value !== NONE);
  block.dense = block.log_density.some((value) => value !== NONE);
  blocks.set(layer, block);
}

const loadedBlocks = () => layers.map(({layer}) => blocks.get(layer)).filter(Boolean);
const valueAt = (block, i, name) => block[name][i] === NONE ? null : block[name][i] / block.factors[name];
const chanceAt = (block, i, where = "") => block[`${where}best_null_score`][i] === NONE ? block[`${where}null_score`][i] : block[`${where}best_null_score`][i];

function rowAt(block, i) {
  const row = {layer: block.layer, neuron: block.neuron[i], description: block.order[i] === MISSING ? null : textAt(block, i),
    peak: Number.isNaN(block.peak[i]) ? null : Number(block.peak[i].toPrecision(3))};
  for (const name of Object.keys(block.factors)) row[name] = valueAt(block, i, name);
  for (const name of Object.keys(block.words)) row[name] = block.words[name][block[name][i]];
  if (byMeaning()) row.near = nearAt(block, i);
  if (state.like) row.alike = alikeAt(block, i);
  return row;
}

function rowOf(index) {
  const block = loadedBlocks().findLast(({first}) => first <= index);
  return rowAt(block, index - block.first);
}

// Number of a row among all; -1 where there is none.
function indexOf(layer, neuron, sign) {
  const block = blocks.get(layer), code = block?.words.sign.indexOf(sign);
  const at = block ? block.neuron.findIndex((one, i) => one === neuron && (!sign || block.sign[i] === code)) : -1;
  return at < 0 ? -1 : block.first + at;
}

// Other rows of the same description, which is a place in the order of all; none where there is none.
function sameDescription(index) {
  if (index < 0) return [];
  const own = loadedBlocks().findLast(({first}) => first <= index), order = own.order[index - own.first];
  if (order === MISSING) return [];
  return loadedBlocks().flatMap((block) => {
    const found = [];
    for (let i = block.order.indexOf(order); i >= 0; i = block.order.indexOf(order, i + 1)) if (block.first + i !== index) found.push(rowAt(block, i));
    return found;
  });
}

let descriptionsHad = {size: 0};  // how often each place in the order of all is had: 0, 1, or 2 for more often

function timesHad(place) {
  if (descriptionsHad.size !== blocks.size) {
    const all = loadedBlocks(), times = new Uint8Array(ATLAS.total ?? ATLAS.first.total);
    for (const {order} of all) for (const one of order) if (one !== MISSING && times[one] < 2) times[one]++;
    descriptionsHad = {size: blocks.size, times};
  }
  return descriptionsHad.times[place];
}

// ---- choosing and ordering rows

const SIGN_NAMES = {"+": "positive", "-": "negative", "−": "negative"};
const FIELD = /^(layer|neuron|sign|status|type|source):(.+)$/;
const PLACE = /^(\d+)\/(\d+)(?:\/?(\+|-|−|positive|negative))?$/;
const NUMBERS = /^(\d+)(?:[-–](\d+))?$/;
const everywhere = () => true, nowhere = () => false;
const isWord = (block, name, value) => { const code = block.words[name].indexOf(value); return code < 0 ? nowhere : (i) => block[name][i] === code; };

// Words of a search: "quoted phrases" and other words are looked for in descriptions; 5/699, 5/699/positive, layer:5,
// layer:5-15, neuron:699, sign:+, status:at_chance, type:context and source:concepts choose rows (of: block -> number of a row -> whether).
function searchTerms(text) {
  return [...text.matchAll(/(\w+:)?"([^"]*)"?|\S+/g)].map(([whole, field, quoted]) => {
    const said = quoted === undefined ? whole : (field ?? "") + quoted, word = said.toLowerCase();
    const place = quoted === undefined && PLACE.exec(word);
    if (place) return {of: (block) => {
      const isSign = place[3] ? isWord(block, "sign", SIGN_NAMES[place[3]] ?? place[3]) : everywhere;
      return String(block.layer) === place[1] ? (i) => String(block.neuron[i]) === place[2] && isSign(i) : nowhere;
    }};
    const [, name, value] = (field || quoted === undefined) && FIELD.exec(word) || [];
    const range = (name === "layer" || name === "neuron") && NUMBERS.exec(value);
    if (range) {
      const [from, to] = [Number(range[1]), Number(range[2] ?? range[1])];
      if (name === "layer") return {of: ({layer}) => layer >= from && layer <= to ? everywhere : nowhere};
      return {of: (block) => (i) => block.neuron[i] >= from && block.neuron[i] <= to};
    }
    if (name === "sign") return {of: (block) => isWord(block, "sign", SIGN_NAMES[value] ?? value)};
    if (name === "status") return {of: (block) => isStatus(block, value.replaceAll(/[ -]/g, "_"))};
    if (name === "type") return {of: (block) => isWord(block, "type", value)};
    if (name === "source") return {of: (block) => isWord(block, "explainer", block.words.explainer.find((one) => one?.toLowerCase() === value))};
    return word ? {word, said} : null;
  }).filter(Boolean);
}

function isStatus(block, value) {
  const place = STATUS_NAMES.indexOf(value), isRaw = isWord(block, "status", value);
  return (i) => block.place[i] === place || isRaw(i);
}

// Rows whose density is known and within bounds, in %, either of which may be empty.
function densityWithin(from, to) {
  const thousandths = (percent, none) => percent === "" || !(Number(percent) >= 0) ? none : Math.round(1000 * Math.log10(Number(percent) / 100));
  const [least, most] = [thousandths(from, -Infinity), thousandths(to, Infinity)];
  return ({log_density: density}) => (i) => density[i] !== NONE && density[i] >= least && density[i] <= most;
}

function filters() {
  const terms = searchTerms(state.q), words = terms.map((term) => term.word).filter(Boolean), least = Number(state.min);
  const found = terms.map((term) => term.of).filter(Boolean);
  if (state.layer) found.push(({layer}) => String(layer) === state.layer ? everywhere : nowhere);
  if (state.sign) found.push((block) => isWord(block, "sign", state.sign));
  if (state.status) found.push((block) => ((place) => (i) => block.place[i] === place)(STATUS_NAMES.indexOf(state.status)));
  if (state.type) found.push((block) => isWord(block, "type", state.type));
  if (state.source) found.push((block) => isWord(block, "explainer", state.source));
  if (state.same) found.push(({order}) => ((wanted) => (i) => order[i] !== MISSING && timesHad(order[i]) === wanted)(state.same === "shared" ? 2 : 1));
  if (state.dense_from !== "" || state.dense_to !== "") found.push(densityWithin(state.dense_from, state.dense_to));
  if (state.min !== "" && isNumber(least)) found.push(({score, factors}) => ((bound) => (i) => score[i] !== NONE && score[i] >= bound)(least * factors.score - 1e-6));
  if (state.like) found.push((block) => alike.rows.has(block.layer) ? (i) => alikeAt(block, i) !== null : nowhere);
  if (words.length && !byMeaning()) found.push(haveAll(words));  // last: what costs most
  return found;
}

// Columns whose medians are told.
const SUMMED = SIMULATED ? ["score", "score_contrast"] : ["direct_score", "direct_score_contrast"];
const sorting = () => state.sort || (state.like ? "-alike" : byMeaning() ? "-meaning" : SIMULATED ? "-score" : "-direct_score");

// Writes what a block's rows are ordered by, as whole numbers, from a place on; MISSING stands last in both directions. Column by column, since
// a function called for each of a million rows takes longer than the sorting.
function writeKeys(keys, from, block, key) {
  const {n} = block, whole = {neuron: block.neuron, description: block.order, status: block.place}[key];
  if (whole) return keys.set(whole, from);
  if (key === "meaning") return keys.set(nearness(block), from);
  if (key === "alike") {  // by its size, in ten-thousandths
    for (let i = 0, some = alike.rows.has(block.layer); i < n; i++) {
      const r = some ? alikeAt(block, i) : null;
      keys[from + i] = r === null ? MISSING : Math.round(10000 * Math.abs(r));
    }
    return undefined;
  }
  if (key === "layer") return keys.fill(block.layer, from, from + n);
  if (key === "sign" || key === "type") {
    const places = block.words[key].map((word) => word === null ? MISSING : key === "sign" ? Object.keys(SIGNS).length - Object.keys(SIGNS).indexOf(word) : TYPE_NAMES.indexOf(word));
    for (let i = 0, codes = block[key]; i < n; i++) keys[from + i] = places[codes[i]];
    return undefined;
  }
  if (key === "explainer") {
    const names = sourcesOf(loadedBlocks()), places = block.words.explainer.map((name) => name === null ? MISSING : names.indexOf(name));
    for (let i = 0, codes = block.explainer; i < n; i++) keys[from + i] = places[codes[i]];
    return undefined;
  }
  if (key !== "chance" && !block.factors[key]) return keys.fill(0, from, from + n);  // of an address that somebody wrote
  const [own, other] = key === "chance" ? [block.best_null_score, block.null_score] : [block[key], block[key]];  // as chanceAt
  for (let i = 0; i < n; i++) {
    const value = own[i] === NONE ? other[i] : own[i];
    keys[from + i] = value === NONE ? MISSING : value - NONE;
  }
  return undefined;
}

// All rows in order, by a counting sort: what has the same key stays in its place.
function ordered(all, total, key, falling) {
  const keys = new Uint32Array(total);
  let most = 0, missing = 0, from = 0;
  for (const block of all) {
    writeKeys(keys, from, block, key);
    from += block.n;
  }
  for (let row = 0; row < total; row++) if (keys[row] === MISSING) missing++; else if (keys[row] > most) most = keys[row];
  const starts = new Uint32Array(most + 2), order = new Uint32Array(total);
  if (falling) for (let row = 0; row < total; row++) if (keys[row] !== MISSING) keys[row] = most - keys[row];
  for (let row = 0; row < total; row++) if (keys[row] !== MISSING) starts[keys[row] + 1]++;
  for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1];
  for (let row = 0, end = total - missing; row < total; row++) order[keys[row] === MISSING ? end++ : starts[keys[row]]++] = row;
  return order;
}

const orders = new Map();  // the last ones, by what rows are sorted by

function orderOf(all, total, sort) {
  const key = `${sort} ${sort === "-meaning" ? queryOf(state.q) : sort.endsWith("alike") ? alike.of : ""} ${blocks.size}`, order = orders.get(key) ?? ordered(all, total, sort.replace(/^-/, ""), sort.startsWith("-"));
  orders.delete(key);
  orders.set(key, order);
  if (orders.size > 2) orders.delete(orders.keys().next().value);
  return order;
}

function medianOf(counts, n, factor) {
  if (!n) return [null, 0];
  const at = (rank) => { for (let value = 0, seen = 0; ; value++) if ((seen += counts[value]) > rank) return (value + NONE) / factor; };
  return [(at((n - 1) >> 1) + at(n >> 1)) / 2, n];
}

// What wrote the descriptions of some blocks.
const sourcesOf = (all) => [...new Set(all.flatMap((block) => block.words.explainer.filter((name) => name !== null)))].sort();

let chosenNow = {key: null}, letThrough = {key: null};

// Which rows the filters let through, and sums over them; made anew where these have changed.
function throughFilters(all, total) {
  const key = JSON.stringify([...FILTERS.map((field) => state[field]), blocks.size]);
  if (letThrough.key === key) return letThrough;
  const tests = filters(), marks = new Uint8Array(total), [main, other] = SUMMED, chances = {};
  const ofMain = new Uint32Array(65536), ofOther = new Uint32Array(65536);  // how often each value is had
  let found = 0, first = 0, described = 0, above = 0, both = 0;
  for (const block of all) {
    const own = [], at = first;
    first += block.n;
    for (const of of tests) if (own.at(-1) !== nowhere) own.push(of(block));
    if (own.at(-1) === nowhere) continue;
    const [one = everywhere, ...others] = own.filter((test) => test !== everywhere), only = one === everywhere;
    const {[main]: score, [other]: contrast, token_baseline_score: tokens, status, chance: chanceOf} = block;
    const ok = block.words.status.indexOf("ok"), ofChance = new Uint32Array(block.words.chance.length);
    rows: for (let i = 0; i < block.n; i++) {
      if (!only && !one(i)) continue;
      for (let k = 0; k < others.length; k++) if (!others[k](i)) continue rows;
      marks[at + i] = 1;
      found++;
      if (status[i] === ok) described++;
      ofChance[chanceOf[i]]++;
      const value = score[i], baseline = tokens[i];
      ofMain[value - NONE]++;
      ofOther[contrast[i] - NONE]++;
      if (value !== NONE && baseline !== NONE) { both++; if (value > baseline) above++; }
    }
    block.words.chance.forEach((word, code) => { chances[word] = (chances[word] ?? 0) + ofChance[code]; });
  }
  const medians = Object.fromEntries([[main, ofMain], [other, ofOther]].map(([name, values]) => {
    const missing = values[0];
    values[0] = 0;  // that of NONE
    return [name, medianOf(values, found - missing, all[0]?.factors[name])];
  }));
  const chance = ["beats chance", "not shown", "at chance"].map((word) => chances[word] ?? 0);
  letThrough = {key, marks, found, sums: {described, above: [above, both], medians, chance}};
  return letThrough;
}

// These rows in order; marks and rows count those that are there.
function chosen() {
  const all = loadedBlocks(), total = all.reduce((sum, {n}) => sum + n, 0), through = throughFilters(all, total), key = `${sorting()} ${through.key}`;
  if (chosenNow.key === key) return chosenNow;
  const {marks, found} = through, whole = orderOf(all, total, sorting());
  // Rows are numbered among all layers', those that are not there included.
  const numbers = all.length === layers.length ? null : all.flatMap(({first, n}) => Array.from({length: n}, (_, i) => first + i));
  let order = whole;
  if (found < total || numbers) {
    order = new Uint32Array(found);
    let n = 0;
    for (let at = 0; at < total; at++) if (marks[whole[at]] === 1) order[n++] = numbers ? numbers[whole[at]] : whole[at];
  }
  chosenNow = {key, order, total, ...through.sums};
  return chosenNow;
}

// What the table shows: rows of a page and sums over all that were found (as atlas/browsing.py: first_screen).
function viewOf() {
  const {order, total, described, medians, chance, above} = chosen(), all = loadedBlocks();
  const least = Math.min(0, ...all.map((block) => block.least / block.factors.score));
  const from = Math.max(0, Math.min(parseInt(state.page, 10) || 1, Math.ceil(order.length / PAGE_ROWS)) - 1) * PAGE_ROWS;
  return {total, found: order.length, from, rows: Array.from(order.subarray(from, from + PAGE_ROWS), rowOf), described, medians, chance, above,
    axis: axisFrom(least), typed: all.some(({words}) => words.type.some((type) => type !== null)), directed: all.some(({directed}) => directed),
    dense: all.some(({dense}) => dense), sources: sourcesOf(all)};
}

// A description with the words of the search marked.
function marked(text, terms) {
  const words = terms.map((term) => term.word).filter(Boolean).sort((a, b) => b.length - a.length);
  if (!words.length || text.toLowerCase().length !== text.length) return [text];
  const found = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "gi");
  return text.split(found).map((piece, i) => i % 2 ? el("mark", {}, piece) : piece).filter(Boolean);
}
