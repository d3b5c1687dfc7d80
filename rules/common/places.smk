# Where exemplars are fetched from, where a run is published, and tables that not every run has, or has so. No rules.

# A table of each split's text: each says of its own split how much there is.
FACTS = {
    split: files if isinstance(files, str) else files[0]
    for split, files in RUN_CORPUS.items()
}
# Direct scores of concepts, where these are candidates.
CONCEPT_TABLE = "<results>/concepts/layer-{layer}/{part}.parquet"
CONCEPT_SCORES = (
    all_chunks(CONCEPT_TABLE) if CFG.descriptions.concept_candidates else []
)

# Tables of the kept neurons' types, where there is a panel.
TYPES_TABLE = "<evidence>/types/layer-{layer}.parquet"
TYPES = [
    TYPES_TABLE.format(layer=layer) for layer in (KEPT.neurons if CFG.panel else ())
]
# Tables of what described neurons write, where that is asked: layer -> file.
OUTPUT_SIDES = {
    layer: f"<results>/output_side/layer-{layer}.parquet"
    for layer in (SELECTED if CFG.output_side else ())
}


# How that is borne out on text, where there is a panel.
OUTPUT_SCORES = (
    ["<results>/output_side/scores.parquet"] if CFG.output_side and CFG.panel else []
)


# What changes when some of them are scaled, where that is asked.
OUTPUT_SCALED = (
    ["<results>/output_side/scaled.parquet"]
    if OUTPUT_SCORES and CFG.output_side.scaled
    else []
)


# What the explainer says of that, and how it is judged, where that is asked.
EXPLAINED_TABLE = "<results>/output_side/explained/layer-{layer}/{part}.parquet"
OUTPUT_TOKENS_TABLE = "<results>/output_side/judged/layer-{layer}/{part}.parquet"
OUTPUT_TOKENS, OUTPUT_ACCOUNTS = [], []
if CFG.output_side and CFG.output_side.explained:
    OUTPUT_TOKENS = all_chunks(OUTPUT_TOKENS_TABLE)
    OUTPUT_ACCOUNTS = ["<results>/output_side/accounting.parquet"]


def output_tokens_table(wildcards):
    """What the explainer says of a part's output side, judged, where that is asked; of a neuron alone, where its chunk
    has that already."""
    if not OUTPUT_TOKENS or int(wildcards.layer) not in OUTPUT_SIDES:
        return []
    table = part_table(OUTPUT_TOKENS_TABLE)(wildcards)
    return [] if Path(table).name.startswith("neuron-") else table


def output_side_table(wildcards):
    """What a layer's described neurons write, where that is asked and there are some."""
    return OUTPUT_SIDES.get(int(wildcards.layer), [])


# Features like those of each described layer, where that is asked.
NEIGHBOURS_TABLE = "<results>/neighbours/layer-{layer}.parquet"
NEIGHBOURS = [
    NEIGHBOURS_TABLE.format(layer=layer)
    for layer in (SELECTED if CFG.panel and CFG.panel.neighbours else ())
]


# What the page loads to search by meaning, where that is asked for.
SEMANTIC = CFG.atlas.semantic_search
SEMANTIC_ROWS = "<results>/atlas/meaning/layer-{layer}.js"
SEMANTIC_FILES = [
    *(["<results>/atlas/meaning/vocabulary.js"] if SEMANTIC else []),
    *(SEMANTIC_ROWS.format(layer=layer) for layer in (SELECTED if SEMANTIC else ())),
]


def output_scores_table(wildcards):
    """How that is borne out, of all described neurons, where a layer has some."""
    return OUTPUT_SCORES if int(wildcards.layer) in OUTPUT_SIDES else []


def output_scaled_table(wildcards):
    """What changes when some neurons are scaled, where that is asked and a layer has some."""
    return OUTPUT_SCALED if int(wildcards.layer) in OUTPUT_SIDES else []


def neighbours_table(wildcards):
    """Features like those of a part, where that is asked and the panel has them."""
    return NEIGHBOURS_TABLE if NEIGHBOURS and in_panel(wildcards) else []


def concept_rules():
    """The words that concepts know."""
    return project_file(CFG.descriptions.concept_rules, "descriptions.concept_rules")


def executable_of_part():
    """What a part's pages execute and tell: its lists of concepts with the words that these know, and its layer's
    types, where the run has these."""
    found = {}
    if CFG.descriptions.concept_candidates:
        found["concepts"] = part_table(CONCEPT_TABLE)
        found["rules"] = concept_rules()
    if CFG.panel:
        found["types"] = lambda wildcards: TYPES_TABLE if in_panel(wildcards) else []
    return found


def exemplars_place():
    """Where published exemplars are."""
    place = CFG.exemplars.place()
    if "path" in place:
        place["path"] = find(place["path"], HOME) or place["path"]
    return place


def publishing_place(wildcards):
    """Where the run is published."""
    if CFG.publish is None:
        raise ValueError(
            "the configuration has no section `publish`; see config/README.md"
        )
    return CFG.publish.place()
