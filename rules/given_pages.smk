# Pages of descriptions from elsewhere, only where asked for: results/<run>/given/index.html.


use rule build_atlas as build_given_atlas with:
    input:
        descriptions=[
            f"<results>/given/layer-{layer}/descriptions.parquet" for layer in GIVEN
        ],
        scores=[f"<results>/given/layer-{layer}/scores.parquet" for layer in GIVEN],
        statistics=[
            EVIDENCE["statistics"].format(layer=layer, part=part)
            for layer, rows in GIVEN.items()
            for part in KEPT.holding(layer, sorted({row["neuron"] for row in rows}))
        ],
    output:
        atlas="<results>/given/atlas.parquet",
    log:
        "<logs>/build_given_atlas.log",
    benchmark:
        "<benchmarks>/build_given_atlas.tsv"
    params:
        code=digest("build_atlas.py"),
        pool_nulls=False,
    message:
        "Building the table of descriptions from elsewhere"


use rule write_details as write_given_details with:
    input:
        **GIVEN_CORPUS,
        **{name: given_tables(path) for name, path in EVIDENCE.items()},
        **{name: f"<results>/given/layer-{{layer}}/{name}.parquet" for name in TABLES},
        subject=model_folder(CFG.subject.model),
    output:
        details=directory("<results>/given/details/layer-{layer}/chunk-0"),
    log:
        "<logs>/write_given_details/layer-{layer}.log",
    benchmark:
        "<benchmarks>/write_given_details/layer-{layer}.tsv"
    params:
        code=digest("write_details.py"),
        neurons=given_neurons,
        n_exemplars=CFG.atlas.exemplars,
        weights=weights(CFG.subject.model),
    message:
        "Writing details of descriptions from elsewhere: layer {wildcards.layer}"


use rule write_atlas_page as write_given_page with:
    input:
        **FACTS,
        atlas="<results>/given/atlas.parquet",
        table="<results>/given/scores.csv",
        probe=PROBE,
        details=[f"<results>/given/details/layer-{layer}/chunk-0" for layer in GIVEN],
        pages=PAGES,
    output:
        page="<results>/given/index.html",
        report="<results>/given/report.html",
        words="<results>/given/rows/words.js",
        rows=[f"<results>/given/rows/layer-{layer}.js" for layer in GIVEN],
    log:
        "<logs>/write_given_page.log",
    benchmark:
        "<benchmarks>/write_given_page.tsv"
    params:
        code=digest("write_atlas_page.py"),
        about={**ABOUT, "explainer": CFG.scores.descriptions},
        parts={layer: ["chunk-0"] for layer in GIVEN},
        chunk_size=CFG.features_per_layer,
    message:
        "Writing the page of descriptions from elsewhere"
