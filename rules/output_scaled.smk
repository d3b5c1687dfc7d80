# Which tokens' probability changes when neurons are scaled on real text, for a sample; only where that is asked for.


rule scale_output_side:
    input:
        subject=model_folder(CFG.subject.model),
        panel="<evidence>/corpus/panel_test.parquet",
        acts=[
            f"<evidence>/panel/panel_test/layer-{layer}.safetensors"
            for layer in OUTPUT_SIDES
        ],
    output:
        scaled="<results>/output_side/scaled.parquet",
    log:
        "<logs>/scale_output_side.log",
    benchmark:
        "<benchmarks>/scale_output_side.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("scale_output_side"),
        runtime=minutes("scale_output_side"),
        gpu=gpus("scale_output_side"),
        gpu_job=1,
    params:
        code=digest("scale_output_side.py"),
        architecture=ARCHITECTURE,
        neurons=SELECTED,
        settings=tracked(CFG.output_side, include=["tokens", "scaled", "factor"]),
        seed=CFG.seed,
        weights=weights(CFG.subject.model),
    message:
        "Scaling neurons on real text"
    script:
        "../scripts/scale_output_side.py"
