// ---- state: everything that a link to this view must carry lives in the URL hash

const FIELDS = ["q", "layer", "sign", "status", "type", "min", "sort", "page", "neuron"];
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

const MOST_ROWS = 60000;  // of a range of layers at once, where not all are kept
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

// The data of a page that stands alone.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const {rows, details} = JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
  for (const layer of layers) atlasRows(layer.layer, rows[layer.layer]);
  atlasDetails(details.filter(Boolean));
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
    const part = ATLAS.packed || !state.neuron || detailsByNeuron.has(place) ? null
      : rowsByLayer.get(Number(layer))?.find((row) => String(row.neuron) === index)?.part;
    for (const one of wanted) if (!rowsByLayer.has(one.layer) && ticket === latest) failedFiles.add(one.rows);
    if (ticket === latest && part) {
      say("Loading…");
      await loadScript(`details/layer-${layer}/${part}.js`);
    }
    if (ticket !== latest) return;
    if (!loadAll) for (const layer of rowsByLayer.keys()) if (!wantedLayers().some((one) => one.layer === layer)) rowsByLayer.delete(layer);
    neuron = detailsByNeuron.get(place);
    const missing = state.neuron && !neuron ? ATLAS.packed && rowsByLayer.get(Number(layer))?.some((row) => String(row.neuron) === index)
      ? `${CAPITAL} ${place} did not fit into this copy, which has the pages with the best scores: see the run's atlas/index.html. ` : `There are no details for ${NOUN} ${state.neuron}. ` : "";
    say(missing + (failedFiles.size ? `Could not load ${[...failedFiles].join(", ")}.` : ""));
  }
  const onNeuron = Boolean(neuron) && (!isAtlas || Boolean(state.neuron));
  const focusInside = byId("neuron-view").contains(document.activeElement);  // on a link that the drawing replaces
  byId("table-view").hidden = onNeuron;
  byId("neuron-view").hidden = !onNeuron;
  if (onNeuron) drawNeuron(neuron, signName);
  else drawTable();
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
    SIMULATED ? ["simulator", ATLAS.simulator] : ["chosen by", {concepts: "the direct score of concepts, on valid", "only one": "nothing: one candidate each"}[ATLAS.chosen] ?? `the scorer ${ATLAS.chosen}, on valid`],
    ...Object.entries(ATLAS.splits ?? {}).map(([split, size]) => [split, `${count(size.sequences)} sequences, ${count(size.tokens)} tokens`]),
    ...accountingTerms(ATLAS.accounting), ...probeTerms(ATLAS.probe)]));
  if (isAtlas) {
    const form = byId("filters");
    form.elements.layer.append(...loadAll ? [el("option", {value: ""}, "all")] : [], ...layers.map((layer) => el("option", {value: layer.layer}, String(layer.layer))));
    form.elements.status.append(el("option", {value: ""}, "any"), ...Object.entries(STATUS).map(([key, [words]]) => el("option", {value: key}, words)));
    form.addEventListener("input", ({target}) => change({[target.name]: target.value,
      ...target.name === "layer" ? {q: state.q.replace(/(^|\s)(layer:\S*|\d+\/\d+\S*)/g, "").trim()} : {}}));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => { event.preventDefault(); change({q: "", sign: "", status: "", type: "", min: "", layer: loadAll ? "" : state.layer}); });
    for (const heading of headings) heading.firstElementChild.addEventListener("click", () => sortBy(heading.dataset));
    history.scrollRestoration = "manual";
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
