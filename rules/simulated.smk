# The simulator predicts activations from each description, per layer and chunk.


if CFG.scores.probe == "off":

    localrules:
        probe,


if ASKS_SIMULATOR:
    # One machine asks, as for descriptions.

    localrules:
        probe,
        score,


rule probe:
    input:
        **simulator_prompt(),
        corpus=FACTS["valid"],
        rules=PROBE_RULES,
        subject=model_folder(CFG.subject.model),
        simulator=simulator_folder(),
    output:
        probe="<results>/scores/probe.json",
    log:
        "<logs>/probe.log",
    benchmark:
        "<benchmarks>/probe.tsv"
    priority: 1  # scores wait for it
    conda:
        simulator_environment()
    threads: 4
    resources:
        mem_mb=memory("probe"),
        runtime=minutes("probe"),
        gpu=gpus("probe"),
        gpu_job=int(not ASKS_SIMULATOR),
        endpoint=int(ASKS_SIMULATOR),
    params:
        code=digest("probe.py", without=NOT_SIMULATED_WITH),
        simulator=of_simulator(),
        setting=untracked(CFG.scores.probe),
        access=untracked(simulator_access("probe")),
        seed=CFG.seed,
        read=held(PROBE_RULES, simulator_prompt()),
        weights=simulator_weights(),
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
        simulator=simulator_folder(),
    output:
        scores="<results>/scores/layer-{layer}/{part}.parquet",
        simulations="<results>/scores/layer-{layer}/simulations-{part}.parquet",
    log:
        "<logs>/score/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/score/layer-{layer}/{part}.tsv"
    priority: 1  # long: what is short fills the gaps behind it
    conda:
        simulator_environment()
    threads: 4
    resources:
        mem_mb=memory("score"),
        runtime=minutes("score"),
        gpu=gpus("score"),
        gpu_job=int(not ASKS_SIMULATOR),
        endpoint=int(ASKS_SIMULATOR),
    params:
        code=digest("score.py", without=NOT_SIMULATED_WITH),
        neurons=neurons_of_part(DESCRIBED),
        simulator=of_simulator(),
        settings=SCORING,
        every=False,
        seed=CFG.seed,
        read=held(NULL_DESCRIPTIONS, simulator_prompt()),
        weights=simulator_weights(),
        kept=kept_predictions("layer-{layer}/{part}"),
    message:
        "Scoring: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/score.py"
