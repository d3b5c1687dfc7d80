# The atlas: a table, a page to search, pages of single neurons, a plot, and what the run was made with.

ABOUT = {
    "run": CFG.run,
    "subject": CFG.subject.model,
    "explainer": ", ".join(
        [
            EXPLAINER.model if EXPLAINER else "none: tokens and concepts",
            *(f"run {run}" for run in RIVALS),
        ]
    ),
    **(
        {"simulator": f"{CFG.scores.simulator.kind} {CFG.scores.simulator.model}"}
        if SIMULATED
        else {"chosen": CFG.choice}
    ),
    # What a feature is called; pages say neuron where nothing is said.
    **({} if CFG.features.noun == "neuron" else {"noun": CFG.features.noun}),
}
# Of neurons, or of what else is described, by its name: features/layer-5/latent-123.html.
FEATURE_PAGE = (
    "<results>/neurons/layer-{layer}/neuron-{neuron}.html"
    if CFG.features.noun == "neuron"
    else f"<results>/features/layer-{{layer}}/{CFG.features.noun}-{{neuron}}.html"
)
PAGES = [
    project_file(f"scripts/neuron_descriptions/atlas/pages/{name}", "the atlas page")
    for name in "atlas.html atlas.css helpers.js packed.js words.js charts.js graphs.js feature.js neuron.js search.js semantic.js table.js atlas.js".split()
]


rule build_atlas:
    input:
        descriptions=all_chunks(TABLES["descriptions"]),
        scores=all_chunks(TABLES["scores"]),
        statistics=all_chunks(EVIDENCE["statistics"], KEPT),
        natural=[NATURAL.format(layer=layer) for layer in SELECTED if HAS_NATURAL],
        concepts=CONCEPT_SCORES,
        types=TYPES,
        scorers=scorer_tables() + OUTPUT_TOKENS,
    output:
        atlas="<results>/atlas/atlas.parquet",
    log:
        "<logs>/build_atlas.log",
    benchmark:
        "<benchmarks>/build_atlas.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("build_atlas"),
        runtime=minutes("build_atlas"),
    params:
        **({} if SIMULATED else {"simulated": False}),
        code=digest("build_atlas.py"),
        pool_nulls=CFG.scores.pool_nulls,
    message:
        "Building the atlas"
    script:
        "../scripts/build_atlas.py"


if CFG.output_side:

    include: "output_side.smk"


if NEIGHBOURS:

    include: "neighbours.smk"


if SEMANTIC:

    include: "semantic.smk"


rule write_details:
    input:
        **CORPUS,
        **{name: evidence_tables(path) for name, path in EVIDENCE.items()},
        **{name: part_table(path) for name, path in TABLES.items()},
        **natural_of_layer(),
        **executable_of_part(),
        **panel_of_layer("panel_test"),
        pooled=POOLED,
        scorers=scorer_parts,
        output_side=output_side_table,
        output_scores=output_scores_table,
        output_scaled=output_scaled_table,
        output_tokens=output_tokens_table,
        neighbours=neighbours_table,
        subject=model_folder(CFG.subject.model),
    output:
        details=directory("<results>/atlas/details/layer-{layer}/{part}"),
    log:
        "<logs>/write_details/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/write_details/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("write_details"),
        runtime=minutes("write_details"),
    params:
        code=digest("write_details.py"),
        neurons=neurons_of_part(DESCRIBED),
        n_exemplars=CFG.atlas.exemplars,
        read=held(executable_of_part()),
        weights=weights(CFG.subject.model),
    message:
        "Writing details: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/write_details.py"


rule write_atlas_page:
    input:
        **FACTS,
        **probe_file(),
        atlas="<results>/atlas/atlas.parquet",
        accounts="<results>/atlas/accounting.parquet",
        details=all_chunks("<results>/atlas/details/layer-{layer}/{part}"),
        pages=PAGES,
    output:
        page="<results>/atlas/index.html",
        report=report(
            "<results>/atlas/report.html",
            caption="report/atlas.rst",
            category="Atlas",
        ),
        words="<results>/atlas/rows/words.js",
        rows=[f"<results>/atlas/rows/layer-{layer}.js" for layer in SELECTED],
    log:
        "<logs>/write_atlas_page.log",
    benchmark:
        "<benchmarks>/write_atlas_page.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("write_atlas_page"),
        runtime=minutes("write_atlas_page"),
    params:
        code=digest("write_atlas_page.py"),
        about={
            **ABOUT,
            **({"semantic": SEMANTIC.dimensions} if SEMANTIC else {}),
            **({"neighbours": True} if NEIGHBOURS else {}),
        },
        parts={layer: DESCRIBED.names(layer) for layer in SELECTED},
        chunk_size=CFG.neurons.chunk_size,
    message:
        "Writing the atlas page"
    script:
        "../scripts/write_atlas_page.py"


if GIVEN:

    include: "given_pages.smk"


rule plot_scores:
    input:
        atlas="<results>/atlas/atlas.parquet",
        accounts="<results>/atlas/accounting.parquet",
    output:
        plot=report(
            "<results>/atlas/scores.svg",
            caption="report/scores.rst",
            category="Scores",
        ),
    log:
        "<logs>/plot_scores.log",
    benchmark:
        "<benchmarks>/plot_scores.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot_scores"),
        runtime=minutes("plot_scores"),
    params:
        code=digest("plot_scores.py"),
    message:
        "Plotting scores"
    script:
        "../scripts/plot_scores.py"


rule write_neuron_page:
    input:
        **CORPUS,
        **{name: evidence_tables(path) for name, path in EVIDENCE.items()},
        **{name: part_table(path) for name, path in TABLES.items()},
        **executable_of_part(),
        **panel_of_layer("panel_test"),
        natural=natural_of_neuron,
        scorers=scorer_parts,
        output_side=output_side_table,
        output_scores=output_scores_table,
        output_scaled=output_scaled_table,
        output_tokens=output_tokens_table,
        neighbours=neighbours_table,
        subject=model_folder(CFG.subject.model),
        pages=PAGES,
    output:
        page=FEATURE_PAGE,
    log:
        "<logs>/write_neuron_page/layer-{layer}/neuron-{neuron}.log",
    benchmark:
        "<benchmarks>/write_neuron_page/layer-{layer}/neuron-{neuron}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("write_neuron_page"),
        runtime=minutes("write_neuron_page"),
    params:
        code=digest("write_neuron_page.py"),
        about=ABOUT,
        n_exemplars=CFG.atlas.exemplars,
        read=held(executable_of_part()),
        weights=weights(CFG.subject.model),
    message:
        "Writing the page of layer {wildcards.layer}, neuron {wildcards.neuron}"
    script:
        "../scripts/write_neuron_page.py"


if CFG.atlas.first_page:

    include: "first_page.smk"


rule write_provenance:
    input:
        atlas="<results>/atlas/atlas.parquet",
    output:
        provenance=report(
            "<results>/atlas/provenance.json",
            caption="report/provenance.rst",
            category="Provenance",
        ),
    log:
        "<logs>/write_provenance.log",
    benchmark:
        "<benchmarks>/write_provenance.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("write_provenance"),
        runtime=minutes("write_provenance"),
    params:
        code=digest("write_provenance.py"),
        config=tracked(CFG, exclude=["plan", "recheck", "exports", "diff"]),
        packages=["numpy", "pyarrow", "safetensors", "torch", "transformers"],
    message:
        "Writing what the run was made with"
    script:
        "../scripts/write_provenance.py"


include: "recheck.smk"
include: "diff.smk"
