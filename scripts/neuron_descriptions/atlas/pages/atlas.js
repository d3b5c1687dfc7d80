// ---- state: everything that a link to this view must carry lives in the URL hash

const FILTERS = ["q", "by", "layer", "sign", "status", "type", "source", "same", "min", "dense_from", "dense_to", "like"];
const FIELDS = [...FILTERS, "sort", "page", "neuron"];
let state = {};

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  state = Object.fromEntries(FIELDS.map((field) => [field, given.get(field) ?? ""]));
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

const failedFiles = new Set();
let detailsByNeuron = new Map();
let arrived = null;  // what the script that has just run brought

window.atlasRows = (text, length) => { arrived = [text, length]; };  // called by rows/words.js and rows/layer-*.js
window.atlasDetails = window.atlasRows;  // called by details/layer-*/*/*.js

// A file's packed data; null where it cannot be had.
function loadScript(src) {
  return new Promise((done) => {
    const end = () => { script.remove(); done(arrived); arrived = null; };
    const script = el("script", {src, load: end, error: end});
    document.head.append(script);
  }).then(async (data) => data && unpacked(bytesOf(...data))).catch(() => null).then((data) => {
    if (!data) failedFiles.add(src);
    return data;
  });
}

const rowsAsked = new Map();
let wordsAsked = null;

async function loadBlock(layer) {
  wordsAsked ??= loadScript(WORDS_FILE).then((data) => data && keepWords(data));
  await wordsAsked;
  const data = lexicon && await loadScript(layer.rows);
  if (data) addBlock(layer.layer, data);
}

function loadRows(layer) {
  if (!rowsAsked.has(layer)) rowsAsked.set(layer, loadBlock(layer));
  return rowsAsked.get(layer);
}

let everything = null;

// The rows of all layers, one layer after the other, so that the page stays alive.
function loadEverything() {
  everything ??= ATLAS.packed ? Promise.resolve() : (async () => {
    for (const layer of layers) {
      await loadRows(layer);
      if (blocks.size < layers.length && !state.neuron) say(`Loading… ${blocks.size} of ${layers.length} layers`);
    }
  })();
  return everything;
}

const isLoaded = () => failedFiles.has(WORDS_FILE) || layers.every(({layer, rows}) => blocks.has(layer) || failedFiles.has(rows));

const partsAsked = new Map();  // only what is asked at once is kept

async function loadDetails(layer, part) {
  const src = `details/layer-${layer}/${part}.js`;
  if (!partsAsked.has(src)) partsAsked.set(src, loadScript(src).finally(() => partsAsked.delete(src)));
  const data = await partsAsked.get(src);
  if (data) keepDetails(data.neurons ??= neuronsOf(data));  // only the last part is kept
}

function keepDetails(neurons) {
  detailsByNeuron = new Map(neurons.map((neuron) => [`${neuron.layer}/${neuron.neuron}`, neuron]));
}

// The data of a page that stands alone.
async function unpack({words, rows, details}) {
  keepWords(await unpacked(bytesOfBase64(words)));
  for (const [i, text] of rows.entries()) addBlock(layers[i].layer, await unpacked(bytesOfBase64(text)));
  keepDetails((await unzipped(bytesOfBase64(details)).json()).filter(Boolean));
}

// ---- what is shown

let latest = 0;           // number of the newest show(): an older one that was waiting for a file gives up
let shownNeuron = null;   // "" while the table is shown
let tableScroll = 0;

function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

const isFirst = () => ATLAS.first && FIELDS.every((field) => !state[field]);

// Loads what the view needs. Returns the neuron, if it is one's.
async function prepare(ticket) {
  const [layer, index] = state.neuron.split("/"), place = `${layer}/${index}`;
  if (state.like) await loadAlike(ticket);
  if (!state.neuron) {
    if (!isLoaded() && !isFirst()) {
      say("Loading…");
      await loadEverything();
    }
    if (byMeaning()) await loadMeaning();
    return undefined;
  }
  await loadFeature(layer, index, ticket);
  if (!detailsByNeuron.has(place)) await loadEverything();  // the table is shown
  return detailsByNeuron.get(place);
}

// Loads the details of a feature, where there are some.
async function loadFeature(layer, index, ticket) {
  const own = layers.find((one) => String(one.layer) === layer);
  if (!own || ATLAS.packed || detailsByNeuron.has(`${layer}/${index}`)) return;
  say("Loading…");
  await loadRows(own);
  const at = indexOf(own.layer, Number(index));
  if (at >= 0 && ticket === latest) await loadDetails(layer, rowOf(at).part);
}

function sayWhatIsMissing(neuron) {
  const [layer, index] = state.neuron.split("/");
  const missing = !state.neuron || neuron ? "" : ATLAS.packed && indexOf(Number(layer), Number(index)) >= 0
    ? `${CAPITAL} ${layer}/${index} did not fit into this copy, which has the pages with the best scores: see the run's atlas/index.html. ` : `There are no details for ${NOUN} ${state.neuron}. `;
  const alone = state.like && !neuron && !alike.rows.size ? `Nothing is known of features like ${state.like}; name one of this table, such as ${PLACE_NAMED}. ` : "";
  say(missing + alone + (failedFiles.size ? `Could not load ${[...failedFiles].join(", ")}.` : ""));
}

async function show() {
  const ticket = ++latest;
  readHash();
  const [layer, index, signName] = state.neuron.split("/");
  const place = `${layer}/${index}`;
  if (shownNeuron === "" && state.neuron) tableScroll = window.scrollY;
  let neuron = ATLAS.neuron;
  if (isAtlas) {
    neuron = await prepare(ticket);
    if (ticket !== latest) return;
    sayWhatIsMissing(neuron);
  }
  const onNeuron = Boolean(neuron) && (!isAtlas || Boolean(state.neuron));
  const focusInside = byId("neuron-view").contains(document.activeElement);  // on a link that the drawing replaces
  byId("table-view").hidden = onNeuron;
  byId("neuron-view").hidden = !onNeuron;
  if (onNeuron) drawNeuron(neuron, signName);
  else drawTable(isFirst() && !failedFiles.size ? ATLAS.first : viewOf());
  document.title = onNeuron ? `Layer ${neuron.layer}, ${NOUN} ${neuron.neuron} – ${ATLAS.subject}` : `${CAPITAL} descriptions – ${ATLAS.subject}`;

  const shown = onNeuron ? place : "";
  if (isAtlas && shownNeuron !== null && shown !== shownNeuron) {  // moved between views: scroll and focus as a page would
    window.scrollTo(0, onNeuron ? 0 : tableScroll);
    const target = onNeuron ? byId("neuron-view").querySelector("h2") : byId("rows").querySelector(`a[href*="neuron=${shownNeuron}/"]`);
    target?.focus({preventScroll: true});
  } else if (onNeuron && focusInside) {
    byId("neuron-view").querySelector(".tabs [aria-current]").focus({preventScroll: true});
  }
  shownNeuron = shown;
  if (!isAtlas) return;
  if (!isLoaded()) await new Promise((done) => { setTimeout(done); });  // what is drawn is seen first
  const wasLoaded = isLoaded();
  await loadEverything();
  if (ticket !== latest) return;
  if (onNeuron) { drawNeighbours(); nameNeighbours(); }
  else if (!wasLoaded) {
    sayWhatIsMissing(neuron);
    if (failedFiles.size) drawTable(viewOf());
    else setTimeout(chosen);  // so that the first search finds the order made
  }
}

function accountingTerms(account) {
  if (!account?.answers) return [];
  const answers = [`${count(account.described)} of ${count(account.candidates)} candidates described in ${count(account.answers)} answers`,
    account.refused ? `${count(account.refused)} refused` : null, account.unparsed ? `${count(account.unparsed)} unreadable` : null,
    account.cut ? `${count(account.cut)} cut at max_tokens` : null];
  const tokens = [`${count(account.prompt_tokens)} prompt and ${count(account.completion_tokens)} completion tokens`,
    isNumber(account.prompt_tokens_per_second) ? `${significant(account.prompt_tokens_per_second)} and ${significant(account.completion_tokens_per_second)} per second` : null,
    isNumber(account.cost) ? `$${account.cost.toFixed(account.cost < 1 ? 4 : 2)}` : null];
  return [["explaining", [...answers, ...tokens].filter(Boolean).join(", ")]];
}

function probeTerms(probe) {
  if (!isNumber(probe?.true)) return [];
  const verdict = probe.listens ? "listens to descriptions" : "does not tell true descriptions from wrong ones: the scores say nothing about descriptions";
  return [["probe", `the simulator ${verdict} (${probe.n} known rules of text: true ones score ${probe.true.toFixed(2)}, wrong ones ${probe.wrong.toFixed(2)})`]];
}

async function start() {
  byId("heading").textContent = `${CAPITAL} descriptions: ${ATLAS.subject}`;
  for (const heading of headings) if (heading.dataset.key === "neuron") heading.firstElementChild.textContent = CAPITAL;
  byId("about").replaceChildren(...terms([["run", ATLAS.run], ["explainer", ATLAS.explainer],
    SIMULATED ? ["simulator", ATLAS.simulator] : ["chosen by", {concepts: "the direct score of concepts, on valid", "only one": "nothing: one candidate each", "not yet": "nothing yet: scores are being made, for atlas/index.html"}[ATLAS.chosen] ?? `the scorer ${ATLAS.chosen}, on valid`],
    ...Object.entries(ATLAS.splits ?? {}).map(([split, size]) => [split, `${count(size.sequences)} sequences, ${count(size.tokens)} tokens`]),
    ...accountingTerms(ATLAS.accounting), ...probeTerms(ATLAS.probe)]));
  if (isAtlas) {
    const form = byId("filters");
    form.elements.layer.append(el("option", {value: ""}, "all"), ...layers.map((layer) => el("option", {value: layer.layer}, String(layer.layer))));
    form.elements.status.append(el("option", {value: ""}, "any"), ...Object.entries(STATUS).map(([key, [words]]) => el("option", {value: key}, words)));
    byId("by-meaning").hidden = !HAS_MEANING;
    byId("of-like").hidden = !ATLAS.neighbours;
    form.elements.like.placeholder = PLACE_NAMED;
    form.addEventListener("input", ({target}) => change({[target.name]: target.type === "checkbox" && !target.checked ? "" : target.value,
      ...target.name === "layer" ? {q: state.q.replace(/(^|\s)(layer:\S*|\d+\/\d+\S*)/g, "").trim()} : {}}));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => { event.preventDefault(); change(Object.fromEntries(FILTERS.map((field) => [field, ""]))); });
    for (const heading of headings) heading.firstElementChild.addEventListener("click", () => sortBy(heading.dataset));
    history.scrollRestoration = "manual";
    prepareGraphs();
    if (!ATLAS.packed) byId("run-files").replaceChildren("Files of this run: ", ...[["atlas.parquet", "the table"],
      ...ATLAS.accounting ? [["scores.svg", "the plot of the scores"], ["provenance.json", "what it was made with"], ["accounting.parquet", "what describing took"]]
        : [["scores.csv", "each description's scores"], ["../atlas/index.html", "the run's own descriptions"]],  // from elsewhere
      ...ATLAS.probe ? [["../scores/probe.json", "the simulator's probe"]] : []].flatMap(([href, words], i) => [i ? ", " : "", el("a", {href}, words)]), ".");
    if (ATLAS.packed) {
      say("Unpacking…");
      await unpack(ATLAS.packed);
      say("");
    }
  }
  window.addEventListener("hashchange", show);
  show();
}

start();
