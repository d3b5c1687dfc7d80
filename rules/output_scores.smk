# Whether the model predicts what its neurons write where they fire, on text as it comes; only where there is a panel.


rule judge_output_side:
    input:
        subject=model_folder(CFG.subject.model),
        panel="<evidence>/corpus/panel_test.parquet",
        acts=[
            f"<evidence>/panel/panel_test/layer-{layer}.safetensors"
            for layer in OUTPUT_SIDES
        ],
        tables=list(OUTPUT_SIDES.values()),
        dictionaries=decoder_files(),
        rules=concept_rules(),
    output:
        scores="<results>/output_side/scores.parquet",
    log:
        "<logs>/judge_output_side.log",
    benchmark:
        "<benchmarks>/judge_output_side.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("judge_output_side"),
        runtime=minutes("judge_output_side"),
        gpu=gpus("judge_output_side"),
        gpu_job=1,
    params:
        **decoder_params(),
        code=digest("judge_output_side.py", without=OTHER_SOURCES),
        architecture=ARCHITECTURE,
        layers=list(OUTPUT_SIDES),
        seed=CFG.seed,
        read=held(concept_rules()),
        weights=weights(CFG.subject.model),
    message:
        "Judging what neurons write by what the model predicts"
    script:
        "../scripts/judge_output_side.py"
