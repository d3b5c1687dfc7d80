# A recheck of the finished run, as a reviewer of an atlas would make it: `snakemake recheck`. Never part of `all`.


include: "common/recheck.smk"


localrules:
    recheck,


rule recheck_rows:
    input:
        **recheck_files(),
        **simulator_prompt(),
        **{f"explainer_{name}": file for name, file in explainer_prompts().items()},
        **recheck_simulator(),
        **rules_of_choice(),
        atlas="<results>/atlas/atlas.parquet",
        subject=model_folder(CFG.subject.model),
        nulls=NULL_DESCRIPTIONS,
        dictionaries=converted_features(lambda wildcards: RECHECKED),
    output:
        json="<results>/recheck.json",
        text="<results>/recheck.txt",
    log:
        "<logs>/recheck_rows.log",
    benchmark:
        "<benchmarks>/recheck_rows.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("score"),
        runtime=minutes("recheck_rows"),
        gpu=max(gpus("harvest"), gpus("score") if SIMULATED else 0),
        gpu_job=1,
    params:
        **feature_params(lambda wildcards: RECHECKED),
        code=digest("recheck_rows.py", without=OTHER_SOURCES + NOT_SIMULATED_WITH),
        neurons=RECHECKED,
        names=[*RECHECK_FILES, *LAYER_FILES, *SPLITS],
        subject=ARCHITECTURE,
        device_map=CFG.subject.device_map,
        describing={
            "settings": DESCRIBING,
            "explainer": ASKED,
            "seed": CFG.seed,
            "begins": EXPLAINER is None or EXPLAINER_MODEL is not None,
        },
        scoring={
            "settings": SCORING,
            "simulator": (of_simulator() if SIMULATED else None),
            "seed": CFG.seed,
            **({} if SIMULATED else {"choice": CFG.choice}),
        },
        about={"run": CFG.run, "seed": CFG.recheck.seed},
        read=held(
            NULL_DESCRIPTIONS,
            simulator_prompt(),
            explainer_prompts(),
            rules_of_choice(),
        ),
        weights=simulator_weights(),
    message:
        "Computing rows again"
    script:
        "../scripts/recheck_rows.py"


# Apart, so that what was found is kept where this one fails.
rule recheck:
    input:
        recheck="<results>/recheck.json",
    output:
        passed="<results>/recheck-passed.txt",
    log:
        "<logs>/recheck.log",
    benchmark:
        "<benchmarks>/recheck.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("recheck"),
        runtime=minutes("recheck"),
    params:
        code=digest("recheck.py"),
    message:
        "Rechecking the run"
    script:
        "../scripts/recheck.py"
