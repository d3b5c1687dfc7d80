// ---- choosing and ordering rows

const SIGN_NAMES = {"+": "positive", "-": "negative", "−": "negative"};
const FIELD = /^(layer|neuron|sign|status|type):(.+)$/;
const NUMBERS = /^(\d+)(?:[-–](\d+))?$/;

// Words of a search: "quoted phrases" and other words are looked for in descriptions; 5/699, 5/699/positive, layer:5,
// layer:5-15, neuron:699, sign:+, status:at_chance and type:context choose rows.
function searchTerms(text) {
  return [...text.toLowerCase().matchAll(/(\w+:)?"([^"]*)"?|\S+/g)].map(([whole, field, quoted]) => {
    const word = quoted === undefined ? whole : (field ?? "") + quoted;
    const place = quoted === undefined && /^(\d+)\/(\d+)(?:\/?(\+|-|−|positive|negative))?$/.exec(word);
    if (place) return {layer: [Number(place[1]), Number(place[1])], test: (row) => String(row.layer) === place[1]
      && String(row.neuron) === place[2] && (!place[3] || row.sign === (SIGN_NAMES[place[3]] ?? place[3]))};
    const [, name, value] = (field || quoted === undefined) && FIELD.exec(word) || [];
    const range = (name === "layer" || name === "neuron") && NUMBERS.exec(value);
    if (range) {
      const [from, to] = [Number(range[1]), Number(range[2] ?? range[1])];
      return {layer: name === "layer" ? [from, to] : null, test: (row) => row[name] >= from && row[name] <= to};
    }
    if (name === "sign") return {test: (row) => row.sign === (SIGN_NAMES[value] ?? value)};
    if (name === "status") return {test: (row) => [statusOf(row), row.status].includes(value.replaceAll(/[ -]/g, "_"))};
    if (name === "type") return {test: (row) => row.type === value};
    return word ? {word, test: (row) => row.text.includes(word)} : null;
  }).filter(Boolean);
}

function wantedLayers() {
  if (loadAll) return layers;
  const asked = state.neuron ? null : searchTerms(state.q).find((term) => term.layer)?.layer;
  const alone = Number((state.neuron || state.layer).split("/")[0]);
  const [from, to] = asked ?? [alone, alone];
  let room = MOST_ROWS;
  return layers.filter(({layer}) => layer >= from && layer <= to).filter(({n_rows}, i) => (room -= n_rows) >= 0 || i === 0);
}

function rowFilter() {
  const tests = searchTerms(state.q).map((term) => term.test);
  if (loadAll && state.layer) tests.push((row) => String(row.layer) === state.layer);
  if (state.sign) tests.push((row) => row.sign === state.sign);
  if (state.status) tests.push((row) => statusOf(row) === state.status);
  if (state.type) tests.push((row) => row.type === state.type);
  if (state.min !== "" && isNumber(Number(state.min))) tests.push((row) => isNumber(row.score) && row.score >= Number(state.min));
  return (row) => tests.every((test) => test(row));
}

const sorting = () => state.sort || (SIMULATED ? "-score" : "-direct_score");

function rowOrder() {
  const key = sorting().replace(/^-/, "");
  const direction = sorting().startsWith("-") ? -1 : 1;
  const valueOf = (row) => key === "description" ? row.text : key === "status" ? Object.keys(STATUS).indexOf(statusOf(row)) : key === "chance" ? contrastOf(row).chance : row[key];
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

// A description with the words of the search marked.
function marked(text, terms) {
  const words = terms.map((term) => term.word).filter(Boolean).sort((a, b) => b.length - a.length);
  if (!words.length || text.toLowerCase().length !== text.length) return [text];
  const found = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "gi");
  return text.split(found).map((piece, i) => i % 2 ? el("mark", {}, piece) : piece).filter(Boolean);
}
