// ---- one neuron

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
  const keys = ["tokens", "mean", "std", "min", "max"];
  return dataTable("statistics", [["text"], ["tokens"], ["mean"], ["std", "standard deviation"], ["min"], ["max"], ["1 in 10,000 below"], ["1 in 10,000 above"]],
    splits.map((split) => {
      const [, low, high] = (statistics[split].tails ?? []).find(([share]) => share === 1e-4) ?? [];
      return el("tr", {}, el("th", {scope: "row"}, split), [...keys.map((key) => statistics[split][key]), low, high]
        .map((value, i) => el("td", {class: "number"}, i ? significant(value) : count(value))));
    }));
}

// How rare an activation is on the training text, in words. Shares of the tokens are kept strictest first.
function rarity(statistics, value) {
  const beyond = (statistics?.tails ?? []).find(([, low, high]) => value < 0 ? isNumber(low) && value < low : isNumber(high) && value > high);
  if (beyond) return `rarer than 1 token in ${count(Math.round(1 / beyond[0]))}`;
  const away = (value - statistics?.mean) / statistics?.std;
  return isNumber(away) && Math.abs(away) >= 2 ? `${significant(Math.round(10 * Math.abs(away)) / 10)} standard deviations from the mean` : "";
}

function statisticsWords(train) {
  if (!isNumber(train?.std)) return null;
  const [share, low, high] = train.tails?.at(-1) ?? [];
  const sure = isNumber(high) ? ` 1 token in ${count(Math.round(1 / share))} lies above ${significant(high)}, as many below ${significant(low)}: what is beyond that is rare.`
    : isNumber(train.tokens) ? " Too few tokens to say what is rarer than 1 in 10,000." : "";
  return el("p", {}, `On the ${isNumber(train.tokens) ? `${count(train.tokens)} tokens of the ` : ""}training text the activation is ${significant(train.mean)} on average,`
    + ` mostly within ${significant(train.std)} of that, and goes from ${significant(train.min)} to ${significant(train.max)}.${sure}`);
}

function candidatesTable(sign) {
  const ranks = (candidate) => (candidate.exemplar_ranks ?? []).map((rank) => `#${rank}`).join(" ");
  return dataTable("candidates", [["Candidate"], ["Description"], ...!SIMULATED ? [] : [["Selection score", "on the text used for choosing among the candidates"],
    ["Contrast score", "on the test text; for the chosen candidate, and the one that the published pipeline would choose"], ["Published", "as the published pipeline computes it (in-sample)"]],
    ["Explainer", "who wrote it; tokens: no model, the tokens where exemplars peak, in words"], ["Exemplars read", "ranks of the strongest training exemplars that the explainer was shown"]],
  sign.candidates.map((candidate) => el("tr", {class: candidate.candidate === sign.best ? "chosen" : null},
    el("td", {class: "number"}, String(candidate.candidate), candidate.candidate === sign.best ? el("strong", {}, " ✓ chosen") : null),
    el("td", {}, candidate.description || null, candidate.status === "ok" ? null
      : el("em", {class: "soft"}, `${candidate.description ? " " : ""}(${CANDIDATE_STATUS[candidate.status] ?? candidate.status})`)),
    (SIMULATED ? ["selection_score", "score", "published_score"] : []).map((key) => el("td", {class: "number"}, number(candidate[key]))),
    el("td", {class: "small"}, candidate.explainer), el("td", {class: "small soft"}, ranks(candidate)))));
}

// The parts of a description made of concepts, which predict by themselves. A pressed one shows its tokens alone.
function partsList(sign, chosen) {
  const {parts, sentence, base} = sign.concepts ?? {parts: []};
  if (!parts.length) return null;
  const press = (event) => {
    const button = event.currentTarget, on = button.getAttribute("aria-pressed") !== "true";
    for (const other of button.closest("ol").querySelectorAll("button")) other.setAttribute("aria-pressed", String(on && other === button));
    showPart(button.closest("section"));
  };
  return [el("h3", {}, "Parts that predict"), el("p", {class: "small soft"},
    chosen?.description === sentence ? "This description predicts activations by itself, without a simulator. " : `The description made of concepts predicts by itself: “${sentence}”. `,
    `Of the parts that hold at a token the first decides; elsewhere it predicts ${significant(base)}. Tokens where a part holds are `, el("span", {class: "fires"}, "underlined"),
    " in the texts below; press a part to see its tokens alone."),
  el("ol", {class: "parts"}, parts.map(({words, weight}, i) => el("li", {}, el("button", {type: "button", "aria-pressed": "false", "data-part": String(i), click: press}, words),
    el("span", {class: "soft small"}, ` predicts ${significant(weight)}`))))];
}

function showPart(section) {
  const only = section.querySelector(".parts [aria-pressed=true]")?.dataset.part;
  for (const token of section.querySelectorAll(".text .fires")) token.classList.toggle("other", only !== undefined && token.dataset.part !== only);
}

const nullWords = (record) => isNumber(record.null_percentile) ? `The contrast score is above ${percentile(record.null_percentile)} of the nulls, and above `
  + `${percentile(record.best_null_percentile)} of the best of as many as there are candidates` : "";
const madeOn = (record) => isNumber(record.n_top) ? ["top", "middle", "random"].map((kind) => `${record[`n_${kind}`]} ${kind}`).join(" + ") : "–";

function verdict(record) {
  const chance = record.chance === "beats chance" ? "Beats chance: clear of descriptions that are not its own, chosen in the same way. " : "";
  const {score, low, tokens} = naturalOf(record);
  const against = !isNumber(tokens) || !isNumber(score) ? "" : score <= tokens ? "Not above the token baseline: it is not shown to say more than “these tokens”. "
    : `Above the token baseline${low <= tokens ? ", though the interval reaches down to it" : ""}. `;
  const told = isNumber(record.discrimination) ? `Its predictions match this ${NOUN} better than ${percentile(record.discrimination)} of others in its layer. ` : "";
  return chance + against + told;
}

// Both scores as bars on one axis, and in numbers.
function measures(sign) {
  const natural = naturalOf(sign), contrast = contrastOf(sign), axis = axisOf([natural, contrast]);
  const bars = (SIMULATED ? [natural, contrast] : []).filter(isMeasured).map((measure) => el("div", {class: "measure"}, el("span", {class: "small soft"}, measure.name), scoreBar(measure, axis, true)));
  const spread = (value, low, high) => `${number(value)} ${interval({low, high})}`;
  // What a context neuron is about shows in passages rather than in tokens.
  const passages = [["Sequence AUC", number(sign.sequence_auc)]], isContext = sign.type === "context";
  return [...bars, sign.status === "no_activation" ? null : el("dl", {class: "numbers"}, terms([
    ...!SIMULATED ? [] : [...isContext ? passages : [], [[keyMark("score"), "Score"], spread(natural.score, natural.low, natural.high)], [[keyMark("null"), "Chance on the panel"], number(natural.chance)],
    ...kindsOfNulls("Null there", sign.panel_null_score, sign.panel_null_tokens_score, sign.panel_null_empty_score),
    [[keyMark("tokens"), "Token, bigram baseline"], `${number(natural.tokens)}, ${number(sign.bigram_baseline_score)}`],
    ["Gain beyond both", spread(sign.gain, sign.gain_low, sign.gain_high)], ...isContext ? [] : passages,
    ["Discrimination", percentile(sign.discrimination)], ["Sequences of the panel", count(sign.n_sequences)],
    ["Contrast score", spread(contrast.score, contrast.low, contrast.high)], ["Chance there", number(contrast.chance)],
    ...kindsOfNulls("Null of the contrast", sign.null_score, sign.null_tokens_score, sign.null_empty_score),
    [`Against ${count(sign.n_nulls)} nulls`, `above ${percentile(sign.null_percentile)} of single ones, ${percentile(sign.best_null_percentile)} of chosen ones`],
    ["Token baseline there", number(contrast.tokens)], ["Sequences there", madeOn(sign)],
    ["Published (in-sample)", `${number(sign.published_score)}, on test ${number(sign.published_score_test)}`],
    ["Spearman", number(sign.spearman)], ["Average precision", number(sign.average_precision)],
    ["R², absolute deviation explained", `${number(sign.r2)}, ${number(sign.abs_dev_explained)}`],
    ["Selection score", number(sign.selection_score)]],
    ...SIMULATED ? [] : [["Token baseline", number(sign.token_baseline_contrast)]],
    ...isNumber(sign.direct_score) || isNumber(sign.direct_score_contrast) ? [["Direct score, contrast", `${number(sign.direct_score)}, ${number(sign.direct_score_contrast)}`]] : [],
    ...isNumber(sign.gate_positive) ? [["Gate above 0", `${percentile(sign.gate_positive)} of the strongest training sequences`]] : [],
    ...sign.type ? [["Type", sign.type]] : [],
    ...(sign.further ?? []).map(([heading, value]) => [heading, isNumber(value) && !Number.isInteger(value) ? number(value) : value ?? "–"])]))];
}

// What each kind of nulls gets, where there are any: descriptions of others, lists of others' tokens, none at all.
const kindsOfNulls = (name, other, tokens, empty) => ![other, tokens, empty].some(isNumber) ? []
  : [[`${name}: others, tokens, empty`, [other, tokens, empty].map((value) => number(value)).join(", ")]];

const keyMark = (name) => el("span", {class: "bar key"}, el("span", {class: name, style: "left:50%"}));

function signSection(neuron, signName) {
  const sign = neuron.signs[signName];
  const chosen = sign.candidates?.find((candidate) => candidate.candidate === sign.best);
  const exemplars = sign.exemplars ?? [], simulated = sign.simulated ?? [];
  const all = Object.values(neuron.signs).flatMap((one) => one.exemplars ?? []).flatMap((one) => one.activations);
  const scale = {positive: largestOf(all, (v) => v > 0), negative: largestOf(all, (v) => v < 0)};
  const reason = reasonOf(sign), train = neuron.statistics?.train;
  const swatch = (name, words) => scale[name] > 0 ? [el("span", {class: `swatch ${name}`}), ` 0 to ${words}`] : [];
  const section = el("section", {"data-sign": signName},
    chosen?.description ? el("blockquote", {class: "description"}, chosen.description) : null,
    isAtlas ? el("p", {id: "collisions", class: "small soft", hidden: true}) : null,
    UNSCORED ? el("p", {class: "message"}, "Scores are being made. When the run ends, ", el("a", {href: "atlas/index.html"}, "the atlas"), ` has them, and all ${NOUN}s.`) : null,
    reason ? el("p", {class: "message"}, isNumber(sign.score_contrast) ? el("strong", {class: "verdict"}, `${STATUS[statusOf(sign)][0]}: `) : null, reason) : null,
    UNSCORED ? null : measures(sign),
    el("p", {}, verdict(sign)),
    legend,
    partsList(sign, chosen),
    sign.candidates?.length ? [el("h3", {}, "Candidate descriptions"), candidatesTable(sign)] : null,
    exemplars.length ? [el("h3", {}, "Exemplars"), el("p", {class: "small soft"}, "Shading: ",
      swatch("positive", `${significant(scale.positive)}  `), swatch("negative", `−${significant(scale.negative)}`),
      ". Point at a token, touch it, or use the arrow keys in a text, for its activation.",
    isNumber(exemplars[0].gate) ? " The gate, whose sign tells two behaviours of one neuron apart, is that at the peak; the activation is act(gate) · up." : null),
    groups(exemplars, (record) => exemplarLine({...record, rarity: rarity(train, record.peak), parts: sign.concepts?.parts}, scale))] : null,
    simulated.length ? [el("h3", {}, "True against simulated"), el("p", {class: "small soft"},
      `Above, the ${NOUN}'s real activations; below, what the simulator predicts from the description alone (0 to 10). The real ones are shaded relative to the line's largest, the simulated ones on their scale of 0 to 10.`),
    groups(simulated, (record) => simulatedLine({...record, parts: sign.concepts?.parts}, signName))] : null);
  section.addEventListener("toggle", () => showPart(section), true);  // texts that are built when they are opened
  return section;
}

function drawNeuron(neuron, signName) {
  const signs = Object.keys(SIGNS).filter((name) => neuron.signs[name]);
  if (!signs.includes(signName)) signName = signs.find((name) => neuron.signs[name].status === "ok") ?? signs[0];
  const place = `${neuron.layer}/${neuron.neuron}`;
  byId("neuron-view").replaceChildren(
    ...isAtlas ? [el("nav", {"aria-label": "Table"}, el("a", {href: hashOf({neuron: ""})}, `← All ${NOUN}s`), el("span", {id: "neighbours"}))] : [],
    el("h2", {tabindex: "-1"}, `Layer ${neuron.layer}, ${NOUN} ${neuron.neuron}`), copyButtons(neuron, signName),
    el("nav", {class: "tabs", "aria-label": "Sign"}, signs.map((name) => el("a", {href: hashOf({neuron: `${place}/${name}`}),
      "aria-current": name === signName ? "true" : null}, SIGN_WORDS[name]))),
    signSection(neuron, signName),
    ...[...(neuron.writes && !(NOUN === "latent" && signName === "negative") ? writesSection(neuron.writes, signName).flat() : []), ...neighboursSection(neuron, signName),
      ...(neuron.statistics ? [el("h3", {}, "Activation statistics"), statisticsWords(neuron.statistics.train), ...histogramSection(neuron), statisticsTable(neuron.statistics)] : [])].filter(Boolean));
}

// Links to the rows before and after, in the table's order; the rows of all layers must be there.
function drawNeighbours() {
  const [layer, index] = state.neuron.split("/").map(Number), sign = byId("neuron-view").querySelector("section").dataset.sign;
  const {order} = chosen(), here = order.indexOf(indexOf(layer, index, sign));
  const link = (at, words) => here >= 0 && at >= 0 && at < order.length ? [el("a", {href: hashOf({neuron: nameOf(rowOf(order[at]))})}, words)] : [];
  byId("neighbours")?.replaceChildren(...link(here - 1, "previous row"), " ", ...link(here + 1, "next row"));
}
