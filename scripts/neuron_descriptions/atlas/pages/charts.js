// ---- charts: score bars, and texts shaded by activation

// One axis for all bars of a view: 0..1, or down to -0.5 or -1 where a value needs it.
function axisOf(measures) {
  let least = 0;
  for (const {score, low, chance, tokens} of measures) for (const v of [score, low, chance, tokens]) if (v < least) least = v;
  return axisFrom(least);
}

const axisFrom = (least) => least >= 0 ? 0 : least >= -0.5 ? -0.5 : -1;

function scoreBar(measure, axis, large = false) {
  const at = (value) => 100 * (Math.min(1, Math.max(axis, value)) - axis) / (1 - axis);
  const {name, score, low, high, chance, tokens} = measure;
  const words = `${name} ${number(score)} ${interval(measure)}, chance ${number(chance)}, token baseline ${number(tokens)}`;
  const bar = el("span", {class: large ? "bar large" : "bar", role: "img", "aria-label": words, title: words});
  const mark = (kind, value) => { if (isNumber(value)) bar.append(el("span", {class: kind, style: `left:${at(value)}%`})); };
  if (axis < 0) mark("zero", 0);
  if (interval(measure)) {
    const [left, right] = [at(low), at(high)];
    bar.append(el("span", {class: "interval", style: `left:${left}%;width:${right - left}%`}));
  }
  mark("tokens", tokens);
  mark("null", chance);
  mark("score", score);
  if (large) for (let tick = axis; tick <= 1; tick += 0.5) {
    bar.append(el("span", {class: "tick", style: `left:${at(tick)}%`, "aria-hidden": "true"}, number(tick, 1)));
  }
  return bar;
}

// Whitespace is drawn as faint signs; a space before a word stays a plain space.
function tokenText(token) {
  const pieces = token.split(/(\r?\n|\t| {2,}|^ $)/).filter(Boolean);
  if (!pieces.length) return [el("span", {class: "space"}, "∅")];
  return pieces.map((piece) => /^(\s*[\n\t]| {2,}|^ )$/.test(piece)
    ? el("span", {class: "space"}, piece.replace(/\r?\n/, "↵").replace("\t", "⇥").replaceAll(" ", "·")) : piece);
}

// `second`: of the simulated row, which repeats the text and is neither read out nor copied. `part`: number of the part of
// a description made of concepts that predicts here.
function shadedToken(token, value, largest, words, second = false, part = undefined) {
  const strength = isNumber(value) && largest > 0 ? Math.min(1, Math.abs(value) / largest) : 0;
  return el("span", {class: (value < 0 ? "negative" : "positive") + (second ? " second" : "") + (part === undefined ? "" : " fires"), "data-part": part, style: `--a:${strength.toFixed(3)}`,
    title: `${JSON.stringify(token)}  ${words}`, "data-token": second ? null : token, "aria-hidden": second ? "true" : null}, ...tokenText(token));
}

// A text whose tokens are read by touch, by pointer, or with the arrow keys (see `read`).
const shadedText = (attributes, ...content) => el("div", {class: "text", tabindex: "0", role: "group",
  "aria-label": "text; the arrow keys read the values of its tokens", ...attributes}, ...content);

const largestOf = (values, keep = () => true) => values.reduce((most, v) => isNumber(v) && keep(v) ? Math.max(most, Math.abs(v)) : most, 0);

function sequence(record, ...content) {
  const meta = [`#${record.rank}`, record.source, `sequence ${record.seq_id}`, isNumber(record.peak) ? `peak ${significant(record.peak)}${record.rarity ? ` (${record.rarity})` : ""}` : null,
    isNumber(record.gate) ? `gate ${significant(record.gate)}` : null];
  return el("div", {class: "sequence"}, el("div", {class: "meta"}, meta.filter(Boolean).join(" · ")), ...content);
}

// Where which part of a description made of concepts predicts, and how a token says so.
function predictions(record) {
  const fires = new Map(record.fires ?? []);
  const words = (i) => fires.has(i) ? `, predicted ${significant(record.parts?.[fires.get(i)]?.weight)} by “${record.parts?.[fires.get(i)]?.words}”` : "";
  return {part: (i) => fires.get(i), words};
}

function exemplarLine(record, scale) {
  const predicted = predictions(record);
  return sequence(record, shadedText({dir: "auto"}, record.tokens.map((token, i) => {
    const value = record.activations[i];
    return shadedToken(token, value, value < 0 ? scale.negative : scale.positive, `activation ${significant(value)}${predicted.words(i)}`, false, predicted.part(i));
  })));
}

// Each token is a column of two, true above simulated, so that the lines stay aligned where they wrap.
function simulatedLine(record, sign) {
  const largestTrue = largestOf(record.activations);
  const direction = sign === "negative" ? -1 : 1;
  const predicted = predictions(record);
  return sequence(record,
    el("div", {class: "meta"}, `largest: true ${significant(largestTrue)}, simulated ${significant(largestOf(record.simulated))} of 10`),
    shadedText({}, el("span", {class: "pair label", "aria-hidden": "true"}, el("span", {}, "true"), el("span", {}, "simulated")),
      record.tokens.map((token, i) => {
        const real = record.activations[i], guess = record.simulated[i];
        const words = `true ${significant(real)}, simulated ${significant(guess)} of 10${predicted.words(i)}`;
        return el("span", {class: "pair"}, shadedToken(token, real, largestTrue, words, false, predicted.part(i)),
          shadedToken(token, isNumber(guess) ? direction * guess : null, 10, words, true));
      })));
}

// ---- reading and copying tokens

let readToken = null;

function read(token) {
  readToken?.classList.remove("read");
  readToken = token;
  token?.classList.add("read");
  byId("reading").hidden = !token;
  byId("reading").textContent = token?.title ?? "";
}

function readByKey(event) {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (event.key === "Escape") read(null);
  if (!step || !event.target.matches?.(".text")) return;
  const tokens = [...event.target.querySelectorAll("[data-token]")];
  const here = tokens.indexOf(readToken);
  read(tokens[here < 0 ? (step > 0 ? 0 : tokens.length - 1) : Math.min(tokens.length - 1, Math.max(0, here + step))]);
  readToken?.scrollIntoView({block: "nearest"});
  event.preventDefault();
}

// A copied text is the tokens as they are: once, without the signs that stand for whitespace.
function copyTokens(event) {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return;
  const range = selection.getRangeAt(0);
  const within = (node) => (node.nodeType === Node.TEXT_NODE ? node.parentElement : node).closest(".text");
  if (!within(range.startContainer) || within(range.startContainer) !== within(range.endContainer)) return;
  const tokens = [...within(range.startContainer).querySelectorAll("[data-token]")].filter((token) => range.intersectsNode(token));
  event.clipboardData.setData("text/plain", tokens.map((token) => token.dataset.token).join(""));
  event.preventDefault();
}

document.addEventListener("keydown", readByKey);
document.addEventListener("copy", copyTokens);
byId("neuron-view").addEventListener("click", ({target}) => {
  const token = target.closest(".text span[title]");
  read(token?.matches(".second") ? token.previousElementSibling : token);
});
byId("neuron-view").addEventListener("focusout", ({target}) => { if (target.matches(".text")) read(null); });
