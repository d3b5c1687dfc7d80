# Scores on text as it comes: chosen descriptions on the panel, and what chance has there.


if ASKS_SIMULATOR:

    localrules:
        score_natural,
        simulate_nulls,


rule score_natural:
    input:
        **panel_of_layer("panel"),
        **panel_of_layer("panel_test"),
        **simulator_prompt(),
        scores=part_table(TABLES["scores"]),
        subject=model_folder(CFG.subject.model),
        simulator=simulator_folder(),
    output:
        scores="<results>/natural/layer-{layer}/scores-{part}.parquet",
        shared="<results>/natural/layer-{layer}/shared-{part}.parquet",
    log:
        "<logs>/score_natural/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/score_natural/layer-{layer}/{part}.tsv"
    priority: 1  # long: what is short fills the gaps behind it
    conda:
        simulator_environment()
    threads: 4
    resources:
        mem_mb=memory("score_natural"),
        runtime=minutes("score_natural"),
        gpu=gpus("score_natural"),
        gpu_job=int(not ASKS_SIMULATOR),
        endpoint=int(ASKS_SIMULATOR),
    params:
        code=digest("score_natural.py", without=NOT_SIMULATED_WITH),
        neurons=neurons_of_part(DESCRIBED),
        simulator=of_simulator(),
        settings=tracked(CFG.scores, include=["natural", "bootstrap", "confidence"]),
        seed=CFG.seed,
        read=held(simulator_prompt()),
        weights=simulator_weights(),
        kept=kept_predictions("natural/layer-{layer}/{part}"),
    message:
        "Scoring on text as it comes: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/score_natural.py"


rule simulate_nulls:
    input:
        **simulator_prompt(),
        panel_test="<evidence>/corpus/panel_test.parquet",
        pool=NULL_POOL if CFG.scores.nulls else [],
        subject=model_folder(CFG.subject.model),
        simulator=simulator_folder(),
    output:
        nulls=NATURAL_NULLS,
    log:
        "<logs>/simulate_nulls.log",
    benchmark:
        "<benchmarks>/simulate_nulls.tsv"
    priority: 1  # one job for all layers: last, it would run alone
    conda:
        simulator_environment()
    threads: 4
    resources:
        mem_mb=memory("simulate_nulls"),
        runtime=minutes("simulate_nulls"),
        gpu=gpus("simulate_nulls"),
        gpu_job=int(not ASKS_SIMULATOR),
        endpoint=int(ASKS_SIMULATOR),
    params:
        code=digest("simulate_nulls.py", without=NOT_SIMULATED_WITH),
        simulator=of_simulator(),
        sequences=CFG.scores.natural.sequences,
        lists=CFG.scores.panel_token_lists,
        seed=CFG.seed,
        read=held(simulator_prompt()),
        weights=simulator_weights(),
        kept=kept_predictions("natural/nulls"),
    message:
        "Simulating nulls on the panel"
    script:
        "../scripts/simulate_nulls.py"


rule compare_natural:
    input:
        scores=parts_of_layer(NATURAL_SCORES),
        shared=parts_of_layer(NATURAL_SHARED),
        nulls=null_tables(NATURAL_SHARED),
        apart=[NATURAL_NULLS],
        panel_test="<evidence>/corpus/panel_test.parquet",
        panel_test_acts="<evidence>/panel/panel_test/layer-{layer}.safetensors",
    output:
        compared="<results>/natural/layer-{layer}.parquet",
    log:
        "<logs>/compare_natural/layer-{layer}.log",
    benchmark:
        "<benchmarks>/compare_natural/layer-{layer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("compare_natural"),
        runtime=minutes("compare_natural"),
    params:
        code=digest("compare_natural.py"),
        null_neurons=lambda wildcards: null_neurons(),
        sequences=CFG.scores.natural.sequences,
        seed=CFG.seed,
    message:
        "Comparing scores on text as it comes with chance: layer {wildcards.layer}"
    script:
        "../scripts/compare_natural.py"
