# A finished run in formats of others, each asked for by name: `snakemake export_csv`; and a dataset uploaded to the hub.


include: "common/exports.smk"


rule export:
    input:
        descriptions=all_chunks(TABLES["descriptions"]),
        scores=all_chunks(TABLES["scores"]),
        exemplars=all_chunks(EVIDENCE["exemplars"], KEPT),
        statistics=all_chunks(EVIDENCE["statistics"], KEPT),
        train=RUN_CORPUS["train"],
        output_side=list(OUTPUT_SIDES.values()),
        output_scores=OUTPUT_SCORES,
        output_tokens=OUTPUT_TOKENS,
        atlas="<results>/atlas/atlas.parquet",
        subject=model_folder(CFG.subject.model),
    output:
        folder=directory("<results>/exports/{kind}"),
    log:
        "<logs>/export/{kind}.log",
    benchmark:
        "<benchmarks>/export/{kind}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("export"),
        runtime=minutes("export"),
    params:
        code=lambda wildcards: digest("export.py", without=other_exports(wildcards)),
        about=EXPORTED,
        settings=export_settings,
        weights=weights(CFG.subject.model),
    message:
        "Exporting the run: {wildcards.kind}"
    script:
        "../scripts/export.py"


for KIND in EXPORTS:

    rule:
        name:
            f"export_{KIND}"
        input:
            f"<results>/exports/{KIND}",


rule push_dataset:
    input:
        folder="<results>/exports/huggingface",
    output:
        pushed="<results>/exports/pushed.json",
    log:
        "<logs>/push_dataset.log",
    benchmark:
        "<benchmarks>/push_dataset.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("push_dataset"),
        runtime=minutes("push_dataset"),
    params:
        code=digest("push_dataset.py"),
        repository=dataset_repository,
        private=CFG.exports.private,
    message:
        "Uploading the dataset to the hub"
    script:
        "../scripts/push_dataset.py"
