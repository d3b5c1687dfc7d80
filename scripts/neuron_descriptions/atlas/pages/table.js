// ---- the table

function drawSummary(rows, total) {
  const share = (other) => {
    const both = rows.filter((row) => isNumber(row.score) && isNumber(row[other]));
    const above = both.filter((row) => row.score > row[other]).length;
    return both.length ? [`${Math.round(100 * above / both.length)} %`, el("small", {}, `${count(above)} of ${count(both.length)} that have both`)] : ["–"];
  };
  const beating = (rows) => {
    const known = rows.filter((row) => row.chance), of = (name) => known.filter((row) => row.chance === name).length;
    return known.length ? [`${Math.round(100 * of("beats chance") / known.length)} %`,
      el("small", {}, `${count(of("beats chance"))} of ${count(known.length)}; ${count(of("not shown"))} not shown, ${count(of("at chance"))} at chance`)] : ["–"];
  };
  const median = (key, words) => {
    const values = rows.map((row) => row[key]).filter(isNumber).sort((a, b) => a - b), half = values.length >> 1;
    return [number(values.length % 2 ? values[half] : (values[half - 1] + values[half]) / 2), el("small", {}, `${words}, over ${count(values.length)}`)];
  };
  const whole = ATLAS.total > total ? `those with the best scores of ${count(ATLAS.total)}; the run's atlas/index.html has all`
    : loadAll ? "all rows" : wantedLayers().length > 1 ? `all rows of layers ${wantedLayers()[0].layer} to ${wantedLayers().at(-1).layer}` : `all rows of layer ${wantedLayers()[0]?.layer ?? "–"}`;
  byId("summary").replaceChildren(...terms([
    ["rows", count(rows.length), el("small", {}, rows.length === total ? whole : `match the filters, of ${count(total)}`)],
    [SIMULATED ? "described and scored" : "described", count(rows.filter((row) => row.status === "ok").length)],
    ...SIMULATED ? [] : [["median direct score", ...median("direct_score", "on text as it comes")],
      ["median direct score, contrast", ...median("direct_score_contrast", "on the strongest sequences and a few others")]],
    ...!SIMULATED ? [] : [["median score", ...median("score", "on text as it comes")],
    ["median contrast score", ...median("score_contrast", "on the strongest sequences and a few others")],
    ["beats chance", ...beating(rows)],
    ["score above token baseline", ...share("token_baseline_score")]],
  ]));
}

function markSort(axis) {
  for (const heading of headings) {
    const sorted = {[heading.dataset.key]: "ascending", ["-" + heading.dataset.key]: "descending"}[sorting()];
    if (sorted) heading.setAttribute("aria-sort", sorted); else heading.removeAttribute("aria-sort");
  }
  if (SIMULATED) byId("axis").textContent = `bar: ${number(axis, axis % 1 ? 1 : 0)} to 1`;
}

function sortBy({key, first}) {  // first: the direction of the first click, "-" for scores
  const up = sorting() === key, down = sorting() === "-" + key;
  change({sort: (up ? "-" : down ? "" : first ?? "") + key});
}

const nameOf = (row) => `${row.layer}/${row.neuron}/${row.sign}`;

function drawRow(row, axis, searched) {
  const href = hashOf({neuron: nameOf(row)}), natural = naturalOf(row), contrast = contrastOf(row);
  const cell = (key, label, ...content) => el("td", {class: `${key} number`, "data-label": label}, ...content);
  const open = (event) => { if (!event.target.closest("a") && !getSelection().toString()) location.hash = href; };
  const statusWords = STATUS[statusOf(row)]?.[0] ?? row.status ?? "";
  return el("tr", {click: open},
    cell("layer", "layer", String(row.layer)),
    el("td", {class: "neuron number", "data-label": NOUN, title: isNumber(row.peak) ? `largest activation: ${significant(row.peak)}` : null}, String(row.neuron)),
    el("td", {class: "sign", title: SIGN_WORDS[row.sign]}, SIGNS[row.sign] ?? String(row.sign)),
    el("td", {class: "description"}, el("a", {href, class: row.description ? null : "soft", title: row.description}, row.description ? marked(row.description, searched) : statusWords)),
    ...!SIMULATED ? [] : [el("td", {class: "graph number"}, el("div", {}, isMeasured(natural) ? scoreBar(natural, axis) : null,
      el("span", {}, number(natural.score), el("small", {}, " ", interval(natural))))),
    cell("tokens_score", "tokens", number(natural.tokens)),
    el("td", {class: "contrast number", "data-label": "contrast", title: interval(contrast) || null}, number(contrast.score)),
    el("td", {class: "chance number", "data-label": "chance", title: nullWords(row) || null}, number(contrast.chance))],
    el("td", {class: statusOf(row) === "beats_chance" ? "status good" : "status soft", title: reasonOf(row) || null}, statusWords),
    cell("direct", "direct", number(row.direct_score)),
    el("td", {class: "type", "data-label": "type"}, row.type ?? "–"));
}

function drawTable() {
  const total = loadedRows(), rows = chosenRows(), axis = axisOf(total.map(naturalOf)), searched = searchTerms(state.q);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
  const page = Math.min(pages, Math.max(1, parseInt(state.page, 10) || 1));
  const from = (page - 1) * PAGE_ROWS;
  for (const field of ["q", "layer", "sign", "status", "type", "min"]) {
    const control = byId("filters").elements[field];
    if (control.value !== state[field]) control.value = state[field];  // leaves a half-typed number alone
  }
  if (!loadAll) byId("filters").elements.layer.value = wantedLayers()[0]?.layer ?? "";
  const has = (name) => total.some((row) => row[name] !== null && row[name] !== undefined);
  byId("of-type").hidden = !has("type");
  byId("rows").classList.toggle("untyped", !has("type"));
  byId("rows").classList.toggle("undirected", !has("direct_score"));
  byId("rows-view").before(legend);
  drawSummary(rows, total.length);
  markSort(axis);
  byId("rows").tBodies[0].replaceChildren(...rows.slice(from, from + PAGE_ROWS).map((row) => drawRow(row, axis, searched)));
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

