# Candidate descriptions: the explainer reads train exemplars, per layer and chunk.


include: "common/descriptions.smk"


if REMOTE:
    # One machine asks: a cluster's nodes often have no network, and its keys stay here.

    localrules:
        describe,


rule describe:
    input:
        **explainer_folder(),
        **explainer_prompts(),
        **found_concepts(),
        **told_types(),
        corpus=CORPUS["train"],
        exemplars=evidence_tables(EVIDENCE["exemplars"]),
        statistics=evidence_tables(EVIDENCE["statistics"]),
        subject=model_folder(CFG.subject.model),
    output:
        descriptions=WRITTEN,
        accounting="<results>/descriptions/layer-{layer}/accounting-{part}.parquet",
    log:
        "<logs>/describe/layer-{layer}/{part}.log",
    benchmark:
        "<benchmarks>/describe/layer-{layer}/{part}.tsv"
    conda:
        f"../envs/{EXPLAINER.environment() if EXPLAINER else 'models'}.yaml"
    threads: 4 if EXPLAINER and not REMOTE else 1
    resources:
        mem_mb=memory("describe"),
        runtime=minutes("describe"),
        gpu=gpus("describe"),
        gpu_job=int(EXPLAINER is not None and not REMOTE),
        endpoint=int(REMOTE),
    params:
        **firings_needed(),
        code=digest("describe.py", without=NOT_DESCRIBED_WITH),
        neurons=neurons_of_part(DESCRIBED),
        explainer=ASKED,
        settings=DESCRIBING,
        access=untracked(ACCESS),
        requests=untracked(REQUESTS),
        seed=CFG.seed,
        read=held(explainer_prompts()),
        weights=weights(CFG.subject.model, EXPLAINER_MODEL),
    message:
        "Describing: layer {wildcards.layer}, {wildcards.part}"
    script:
        "../scripts/describe.py"


rule account:
    input:
        parts=all_chunks(
            "<results>/descriptions/layer-{layer}/accounting-{part}.parquet"
        ),
    output:
        accounts="<results>/atlas/accounting.parquet",
    log:
        "<logs>/account.log",
    benchmark:
        "<benchmarks>/account.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("account"),
        runtime=minutes("account"),
    params:
        code=digest("account.py"),
        prices=ACCESS.get("prices"),
    message:
        "Adding up what the descriptions took"
    script:
        "../scripts/account.py"


if CFG.descriptions.concept_candidates:

    include: "concepts.smk"


if RIVALS:

    include: "rivals.smk"


if CFG.explainer_training is not None:

    include: "explainer_training.smk"
