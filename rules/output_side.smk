# What neurons write: a table of each layer, read off the weights; only where the section `output_side` is there.


rule write_output_side:
    input:
        subject=model_folder(CFG.subject.model),
        dictionaries=decoder_files(),
    output:
        tables=list(OUTPUT_SIDES.values()),
    log:
        "<logs>/write_output_side.log",
    benchmark:
        "<benchmarks>/write_output_side.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("write_output_side"),
        runtime=minutes("write_output_side"),
        gpu=gpus("write_output_side"),
        gpu_job=1,
    params:
        **decoder_params(),
        code=digest("write_output_side.py", without=OTHER_SOURCES),
        architecture=ARCHITECTURE,
        settings=tracked(CFG.output_side, include=["tokens"]),
        neurons=SELECTED,
        weights=weights(CFG.subject.model),
    message:
        "Reading what neurons write off the weights"
    script:
        "../scripts/write_output_side.py"


if CFG.panel:

    include: "output_scores.smk"


if OUTPUT_SCALED:

    include: "output_scaled.smk"


if CFG.output_side.explained:

    include: "output_explained.smk"
