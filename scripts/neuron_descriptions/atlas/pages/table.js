// ---- the table

function drawSummary({total, found, described, medians, chance: [beating, unclear, at], above: [above, both]}) {
  const known = beating + unclear + at;
  const median = (key, words) => [number(medians[key][0]), el("small", {}, `${words}, over ${count(medians[key][1])}`)];
  const share = (n, of, words) => of ? [`${Math.round(100 * n / of)} %`, el("small", {}, `${count(n)} of ${count(of)}${words}`)] : ["–"];
  const whole = ATLAS.total > total ? `those with the best scores of ${count(ATLAS.total)}; the run's atlas/index.html has all` : "all rows";
  byId("summary").replaceChildren(...terms([
    ["rows", count(found), el("small", {}, found === total ? whole : `match the filters, of ${count(total)}`)],
    [SIMULATED ? "described and scored" : "described", count(described)],
    ...!SIMULATED ? [["median direct score", ...median("direct_score", "on text as it comes")],
      ["median direct score, contrast", ...median("direct_score_contrast", "on the strongest sequences and a few others")]]
    : [["median score", ...median("score", "on text as it comes")],
      ["median contrast score", ...median("score_contrast", "on the strongest sequences and a few others")],
      ["beats chance", ...share(beating, known, `; ${count(unclear)} not shown, ${count(at)} at chance`)],
      ["score above token baseline", ...share(above, both, " that have both")]],
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

const percentageOf = (share) => `${Number((100 * share).toPrecision(2))} %`;
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
    el("td", {class: "description"}, el("a", {href, class: row.description ? null : "soft", title: row.description}, row.description ? marked(row.description, searched) : statusWords),
      isNumber(row.near) ? el("small", {class: "soft near", title: "how near the description is to what was searched for, in meaning: a cosine"}, `nearness ${number(row.near)}`) : null,
      isNumber(row.alike) ? el("small", {class: "soft near", title: "correlation of its activations on the panel with those of the feature that was asked for"}, `r ${number(row.alike)}`) : null),
    ...!SIMULATED ? [] : [el("td", {class: "graph number"}, el("div", {}, isMeasured(natural) ? scoreBar(natural, axis) : null,
      el("span", {}, number(natural.score), el("small", {}, " ", interval(natural))))),
    cell("tokens_score", "tokens", number(natural.tokens)),
    el("td", {class: "contrast number", "data-label": "contrast", title: interval(contrast) || null}, number(contrast.score)),
    el("td", {class: "chance number", "data-label": "chance", title: nullWords(row) || null}, number(contrast.chance))],
    el("td", {class: statusOf(row) === "beats_chance" ? "status good" : "status soft", title: reasonOf(row) || null}, statusWords),
    cell("direct", "direct", number(row.direct_score)),
    el("td", {class: "type", "data-label": "type"}, row.type ?? "–"),
    cell("density", "density", isNumber(row.log_density) ? percentageOf(10 ** row.log_density) : "–"),
    el("td", {class: "source", "data-label": "source"}, row.explainer ?? "–"));
}

// The menu of what wrote descriptions, where there is more than one.
function offerSources(sources) {
  const menu = byId("filters").elements.source, offered = [...menu.options].slice(1).map(({value}) => value);
  byId("of-source").hidden = sources.length < 2;
  if (offered.join("\n") !== sources.join("\n")) menu.replaceChildren(menu.options[0], ...sources.map((name) => el("option", {value: name}, name)));
}

function drawTable(view) {
  const searched = byMeaning() ? [] : searchTerms(state.q), {found, from, rows, axis} = view;
  const pages = Math.max(1, Math.ceil(found / PAGE_ROWS)), page = from / PAGE_ROWS + 1;
  offerSources(view.sources);
  for (const field of FILTERS) {
    const control = byId("filters").elements[field];
    if (control.type === "checkbox") control.checked = state[field] === control.value; else
    if (control.value !== state[field]) control.value = state[field];  // leaves a half-typed number alone
  }
  byId("of-type").hidden = !view.typed;
  byId("of-density").hidden = !view.dense;
  byId("rows").classList.toggle("untyped", !view.typed);
  byId("rows").classList.toggle("undirected", !view.directed);
  byId("rows").classList.toggle("undense", !view.dense);
  byId("rows").classList.toggle("of-one-source", view.sources.length < 2);
  byId("rows-view").before(legend);
  drawSummary(view);
  markSort(axis);
  byId("rows").tBodies[0].replaceChildren(...rows.map((row) => drawRow(row, axis, searched)));
  byId("empty").hidden = found > 0;
  const turnTo = async (target) => {
    await change({page: String(target)});
    byId("filters").scrollIntoView();
    byId("rows").querySelector("tbody a").focus({preventScroll: true});
  };
  const go = (label, target) => el("button", {type: "button", disabled: target < 1 || target > pages || target === page,
    click: () => turnTo(target)}, label);
  byId("pager").replaceChildren(...(pages > 1 ? [go("First", 1), go("Previous", page - 1),
    `rows ${count(from + 1)}–${count(Math.min(found, from + PAGE_ROWS))} of ${count(found)}`,
    go("Next", page + 1), go("Last", pages)] : []));
}
