# A run to S3 and back: `snakemake publish`, `snakemake fetch_run`.

KEPT_GIGABYTES = sum(stage.kept for stage in PLAN.stages) / 1e9
TRANSFER_MINUTES = (
    KEPT_GIGABYTES / CFG.plan.download_gigabytes_per_second / 60 * CFG.plan.margin
)


rule publish:
    input:
        **RUN_CORPUS,
        **{name: all_chunks(path, KEPT) for name, path in EVIDENCE.items()},
        **{name: all_chunks(path) for name, path in TABLES.items()},
        accounting=all_chunks(
            "<results>/descriptions/layer-{layer}/accounting-{part}.parquet"
        ),
        pool=NULL_POOL if CFG.scores.nulls and (SIMULATED or SCORERS) else [],
        probe=list(probe_file().values()),
        concepts=CONCEPT_SCORES,
        scorers=scorer_tables(),
        types=TYPES,
        natural=[NATURAL.format(layer=layer) for layer in SELECTED if HAS_NATURAL],
        output_side=list(OUTPUT_SIDES.values())
        + OUTPUT_SCORES
        + OUTPUT_SCALED
        + OUTPUT_TOKENS
        + OUTPUT_ACCOUNTS,
        neighbours=NEIGHBOURS,
        accounts="<results>/atlas/accounting.parquet",
        atlas="<results>/atlas/atlas.parquet",
        page="<results>/atlas/index.html",
        report="<results>/atlas/report.html",
        words="<results>/atlas/rows/words.js",
        rows=[f"<results>/atlas/rows/layer-{layer}.js" for layer in SELECTED],
        details=all_chunks("<results>/atlas/details/layer-{layer}/{part}"),
        semantic=SEMANTIC_FILES,
        plot="<results>/atlas/scores.svg",
        provenance="<results>/atlas/provenance.json",
    output:
        index="<results>/published.json",
    log:
        "<logs>/publish.log",
    benchmark:
        "<benchmarks>/publish.tsv"
    conda:
        "../envs/s3.yaml"
    threads: 1
    resources:
        mem_mb=memory("publish"),
        runtime=asked("runtime", 20, TRANSFER_MINUTES),
    params:
        code=digest("publish.py"),
        run=CFG.run,
        place=publishing_place,
    message:
        "Publishing the run"
    script:
        "../scripts/publish.py"


rule fetch_run:
    output:
        folder=directory(f"results/{CFG.run}-fetched"),
    log:
        "<logs>/fetch_run.log",
    benchmark:
        "<benchmarks>/fetch_run.tsv"
    conda:
        "../envs/s3.yaml"
    threads: 1
    resources:
        mem_mb=memory("fetch_run"),
        runtime=asked("runtime", 20, TRANSFER_MINUTES),
    params:
        code=digest("fetch_run.py"),
        run=CFG.run,
        place=publishing_place,
    message:
        "Fetching the published run"
    script:
        "../scripts/fetch_run.py"
