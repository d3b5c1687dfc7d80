# The simulator predicts activations from each description, per layer and chunk.


if CFG.scores.probe == "off":

    localrules:
        probe,


rule probe:
    input:
        **simulator_prompt(),
        corpus=FACTS["valid"],
        rules=PROBE_RULES,
        subject=model_folder(CFG.subject.model),
        simulator=model_folder(CFG.scores.simulator.model),
    output:
        probe="<results>/scores/probe.json",
    log:
        "<logs>/probe.log",
    benchmark:
        "<benchmarks>/probe.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("probe"),
        runtime=minutes("probe"),
        gpu=gpus("probe"),
        gpu_job=1,
    params:
        code=digest("probe.py"),
        simulator=tracked(CFG.scores.simulator, exclude=["prompt"]),
        setting=untracked(CFG.scores.probe),
        seed=CFG.seed,
        read=held(PROBE_RULES, simulator_prompt()),
        weights=weights(CFG.subject.model, CFG.scores.simulator.model),
    message:
        "Probing the simulator: does it listen to descriptions?"
    script:
        "../scripts/probe.py"


rule score:
    input:
        **CORPUS,
        **simulator_prompt(),
        **screened_table(),
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        descriptions=part_table(TABLES["descriptions"]),
        pool=null_pool,
        probe=probed,
        nulls=NULL_DESCRIPTIONS,
        subject=model_folder(CFG.subject.model),
        simulator=model_folder(CFG.scores.simulator.model),
    output:
        scores="<results>/scores/layer-{layer}/{part}.parquet",
        simulations="<results>/scores/layer-{layer}/simulations-{part}.parquet",
    log:
        "<logs>/score/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/score/layer-{layer}/{part}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("score"),
        runtime=minutes("score"),
        gpu=gpus("score"),
        gpu_job=1,
    params:
        code=digest("score.py"),
        neurons=neurons_of_part(DESCRIBED),
        simulator=tracked(CFG.scores.simulator, exclude=["prompt"]),
        settings=SCORING,
        every=False,
        seed=CFG.seed,
        read=held(NULL_DESCRIPTIONS, simulator_prompt()),
        weights=weights(CFG.subject.model, CFG.scores.simulator.model),
        kept=kept_predictions("layer-{layer}/{part}"),
    message:
        "Scoring: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/score.py"
