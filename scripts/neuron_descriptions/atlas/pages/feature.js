// ---- what stands around a feature: what it writes, features like it, and copies of it

// What is put through the unembedding, by what a feature is called.
const WRITES = {neuron: "its column of the down projection", latent: "its row of the dictionary's decoder",
  direction: "the least change of what is read that raises it by 1", head: "the least change of the head's own numbers that raises it by 1"};

// Tokens that a neuron makes more and less likely: a negative activation turns the two ends around.
function writesSection(writes, signName) {
  const ends = signName === "negative" ? [["more", writes.bottom, -1], ["less", writes.top, -1]] : [["more", writes.top, 1], ["less", writes.bottom, 1]];
  const effect = (value) => `${value > 0 ? "+" : "−"}${significant(Math.abs(value))}`;
  return [el("h3", {}, "Writes"), el("p", {class: "small soft"}, `What the ${NOUN} itself adds to the logits where it fires with this sign, read off the weights: `
    + `${WRITES[NOUN] ?? WRITES.neuron} through the final norm and the unembedding, for one more unit of activation. Later layers may change it.`),
  el("dl", {class: "numbers"}, terms(ends.map(([words, tokens, turn]) => [`${words} likely`, tokens.flatMap(([token, value], i) => [i ? " " : "",
    el("code", {title: effect(turn * value)}, token)])]))),
  el("p", {class: "small soft"}, `Effects on all tokens: standard deviation ${significant(writes.std)}, kurtosis ${significant(writes.kurtosis)} beyond a normal distribution's`
    + " (large: few tokens stand out)."),
  judgedWords(writes.judged?.[signName]), explainedWords(writes.explained?.[signName]), scaledWords(writes.scaled?.[signName])];
}

// Which tokens' probability changes when the neuron is scaled, where that was measured.
function scaledWords(scaled) {
  if (!scaled) return null;
  const line = (words, {tokens, effect}) => [words, tokens.flatMap(([token, value], i) => [i ? " " : "", el("code", {title: `${value > 0 ? "+" : "−"}${significant(Math.abs(value))}`}, token)]),
    isNumber(effect) ? el("span", {class: "soft"}, ` effect ${number(effect, 1)}`) : null];
  return [el("p", {class: "small soft"}, `Measured: at ${count(scaled.n_places)} tokens of the panel where it is strongest, its activation times ${significant(scaled.factor)} changes the log probability of these next tokens most. `
    + `Tokens are chosen on half of the texts, changes are of the other half; the effect is the mean change beyond that of ${count(scaled.n_others)} other neurons scaled alike, in standard deviations of theirs.`),
  el("dl", {class: "numbers scaled"}, terms([line("more likely when scaled", scaled.up), line("less likely when scaled", scaled.down)]))];
}

// What an explainer says of these tokens, and whether those that it was not shown fit that.
function explainedWords(explained) {
  if (!explained) return null;
  const FAILED = {refused: "the explainer refused", unparsed: "its answer could not be read", nothing_written: "nothing: all effects are the same"};
  return [el("p", {class: "small soft"}, "An explainer was shown every second of these tokens. The AUC says how often one of the others fits its words better than a token drawn from the vocabulary, as a judge says; "
    + "what was said of other features is judged on the same tokens."), el("dl", {class: "numbers explained"}, terms([
    ["In the explainer's words", explained.words ?? FAILED[explained.status] ?? explained.status],
    ...isNumber(explained.auc) ? [["AUC of these words", `${number(explained.auc)} ${interval({low: explained.auc_low, high: explained.auc_high})}`]]
      : explained.words ? [["AUC of these words", "too few answers of the judge"]] : [],
    ...isNumber(explained.null_auc) ? [["Other features' words there", `${number(explained.null_auc)}; it is above ${percentile(explained.null_percentile)} of them`]] : []]))];
}

// Whether the model predicts these tokens where the neuron fires.
function judgedWords(judged) {
  if (!judged) return null;
  const AGREEMENT = {same: "the tokens that it reads, more than almost all others do", opposite: "the opposite of what it reads", neither: "neither the tokens that it reads nor their opposite"};
  const heard = !isNumber(judged.auc) ? `It fires at too few tokens of the panel (${count(judged.n_firing)}) to tell whether the model predicts them there.`
    : `Where it fires (${count(judged.n_firing)} tokens of ${count(judged.n_documents)} documents) the model finds the tokens above more likely than elsewhere, if the AUC is above one half${isNumber(judged.auc_null) ? `; of other ${NOUN}s' tokens at the same places it says how much of that is the place` : ""}. It is no proof that the ${NOUN} causes it.`;
  return [el("p", {class: "small soft"}, heard), el("dl", {class: "numbers judged"}, terms([
    ...judged.description ? [["What they have in common", judged.description]] : [],
    ...isNumber(judged.description_r) ? [["These words on other tokens, r", number(judged.description_r)]] : [],
    ...isNumber(judged.auc) ? [["AUC", `${number(judged.auc)} ${interval({low: judged.auc_low, high: judged.auc_high})}`]] : [],
    ...isNumber(judged.auc_null) ? [[`Other ${NOUN}s' tokens there`, `${number(judged.auc_null)}; it is above ${percentile(100 * judged.auc_percentile)} of them`]] : [],
    ...judged.agreement ? [["It writes", AGREEMENT[judged.agreement] ?? judged.agreement]] : [],
    ...isNumber(judged.gate_positive) ? [["Gate above 0 where it fires", percentile(100 * judged.gate_positive)]] : []]))];
}

// Features whose activations go with its own; a negative correlation leads to the other side. What they are called is
// filled in when the rows are there.
function neighboursSection({layer: ownLayer, neuron: ownIndex, neighbours}, signName) {
  if (!neighbours?.length) return [];
  const other = {positive: "negative", negative: "positive"};
  return [el("h3", {}, `Features like this one`), el("p", {class: "small soft"}, "Those whose activations on the panel go with its own most, of all layers, with the correlation over tokens."
    + " Where that is below 0 it is the other sign that goes with this one. ",
  isAtlas ? el("a", {id: "show-alike", href: `#like=${ownLayer}/${ownIndex}/${signName}`}, "Show them in the table") : null),
  el("ol", {class: "alike"}, neighbours.map(([layer, index, r]) => {
    const sign = r < 0 ? other[signName] : signName, place = `${layer}/${index}/${sign}`, words = `layer ${layer}, ${NOUN} ${index} ${SIGNS[sign]}`;
    return el("li", {"data-place": place}, isAtlas ? el("a", {href: hashOf({neuron: place})}, words) : words, el("span", {class: "number soft"}, ` r ${number(r)}`), el("span", {class: "said"}));
  }))];
}

let alike = {of: "", rows: new Map()};  // of the place last asked for: layer -> index -> [sign, correlation]

// Finds the features like the one that `like` names, by its details. A place without a sign is that of the positive one.
async function loadAlike(ticket) {
  if (alike.of === state.like) return;
  const of = state.like, [, layer, index, said = "+"] = PLACE.exec(of.trim()) ?? [], rows = new Map();
  if (layer !== undefined) await loadFeature(layer, index, ticket);
  if (ticket !== latest) return;
  const own = SIGN_NAMES[said] ?? said, other = own === "positive" ? "negative" : "positive";
  for (const [near, neighbour, r] of detailsByNeuron.get(`${layer}/${index}`)?.neighbours ?? []) {
    if (!rows.has(near)) rows.set(near, new Map());
    rows.get(near).set(neighbour, [r < 0 ? other : own, r]);
  }
  alike = {of, rows};
}

// Of a block's row the correlation with the feature that `like` names; null for one that is not like it.
function alikeAt(block, i) {
  const [sign, r] = alike.rows.get(block.layer)?.get(block.neuron[i]) ?? [];
  return sign !== undefined && block.words.sign[block.sign[i]] === sign ? r : null;
}

// What needs the rows of all layers: what neighbours are called, and where else the same description stands.
function nameNeighbours() {
  for (const item of byId("neuron-view").querySelectorAll(".alike [data-place]")) {
    const [layer, index, sign] = item.dataset.place.split("/"), at = indexOf(Number(layer), Number(index), sign), link = item.querySelector("a");
    if (at < 0) link?.replaceWith(link.textContent);
    item.querySelector(".said").textContent = at < 0 ? (ATLAS.packed ? " (not in this copy)" : " (not described)") : `: ${rowOf(at).description ?? "no description"}`;
  }
  const box = byId("collisions");
  if (!box) return;
  const [layer, index] = state.neuron.split("/").map(Number), sign = byId("neuron-view").querySelector("section").dataset.sign;
  const same = sameDescription(indexOf(layer, index, sign)), shown = same.slice(0, 10);
  box.hidden = !same.length;
  box.replaceChildren(`${count(same.length)} other ${same.length === 1 ? "row has" : "rows have"} this very description, so that it tells them not apart: `,
    ...shown.flatMap((row, i) => [i ? ", " : "", el("a", {href: hashOf({neuron: nameOf(row)})}, `${row.layer}/${row.neuron} ${SIGNS[row.sign]}`)]),
    same.length > shown.length ? ", …" : ".");
}

// How often which activation is had on the panel.
const histogramSection = ({histogram}) => histogram ? [el("p", {class: "small soft"}, "How often which activation is had on text as it comes (the panel); heights are logarithms of counts."),
  el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "activation histogram"}, histogramOf(histogram))] : [];

// ---- copying

// By the clipboard where the browser gives it, else as a selection is copied.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = el("textarea", {"aria-hidden": "true", class: "copied", readonly: true}), active = document.activeElement;
    box.value = text;
    document.body.append(box);
    box.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch { /* neither way is open */ }
    box.remove();
    active?.focus({preventScroll: true});
    return done;
  }
}

// A feature as this page has it, and the run that it is of.
function featureJson(neuron) {
  const about = Object.fromEntries(["run", "subject", "explainer", "simulator", "chosen"].flatMap((name) => ATLAS[name] ? [[name, ATLAS[name]]] : []));
  return JSON.stringify({...about, ...neuron}, null, 1);
}

function copyButtons(neuron, signName) {
  const said = el("span", {role: "status", class: "small soft"});
  const copies = (words, make, what) => el("button", {type: "button", click: async () => {
    said.textContent = "";
    said.textContent = await copyText(make()) ? `Copied ${what}.` : "This browser does not let the page copy; select and copy by hand.";
  }}, words);
  const link = () => `${location.href.split("#")[0]}#neuron=${neuron.layer}/${neuron.neuron}/${signName}`;
  return el("p", {class: "copies"}, location.protocol === "data:" ? null : copies("Copy link", link, "the link"), " ", copies("Copy as JSON", () => featureJson(neuron), `the ${NOUN} as JSON`), " ", said);
}
