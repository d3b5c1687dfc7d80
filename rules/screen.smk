# A smaller simulator sorts candidates out before the large one scores them, per layer and chunk.


rule screen:
    input:
        **simulator_prompt(CFG.scores.screen.simulator, "scores.screen.simulator"),
        valid=CORPUS["valid"],
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        descriptions=part_table(TABLES["descriptions"]),
        subject=model_folder(CFG.subject.model),
        simulator=simulator_folder(CFG.scores.screen.simulator),
    output:
        screened="<results>/scores/layer-{layer}/screened-{part}.parquet",
    log:
        "<logs>/screen/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/screen/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("screen"),
        runtime=minutes("screen"),
        gpu=gpus("screen"),
        gpu_job=1,
    params:
        code=digest("screen.py", without=simulating_without()),
        neurons=neurons_of_part(DESCRIBED),
        settings=tracked(CFG.scores, include=["screen", "top", "middle", "random"]),
        read=held(
            simulator_prompt(CFG.scores.screen.simulator, "scores.screen.simulator")
        ),
        weights=simulator_weights(CFG.scores.screen.simulator),
        kept=kept_predictions(
            "screen/layer-{layer}/{part}", CFG.scores.screen.simulator
        ),
    message:
        "Screening: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/screen.py"
