# An explainer trained on the run's best candidates, or on written descriptions: only where asked for.


include: "common/readings.smk"


rule train_explainer:
    input:
        base=model_folder(CFG.explainer_training.base),
        subject=model_folder(CFG.subject.model),
        corpus=RUN_CORPUS["train"],
        prompt=explainer_prompt(),
        exemplars=all_chunks(EVIDENCE["exemplars"], KEPT),
        statistics=all_chunks(EVIDENCE["statistics"], KEPT),
        descriptions=[] if READINGS else all_chunks(TABLES["descriptions"]),
        scores=[] if READINGS else all_chunks(TABLES["scores"]),
    output:
        explainer=directory("<results>/explainer"),
    log:
        "<logs>/train_explainer.log",
    benchmark:
        "<benchmarks>/train_explainer.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("train_explainer"),
        runtime=minutes("train_explainer"),
        gpu=gpus("train_explainer"),
        gpu_job=1,
    params:
        **READINGS,
        code=digest("train_explainer.py"),
        explainer=CFG.descriptions.explainer.model,
        descriptions=DESCRIBING,
        settings=tracked(
            CFG.explainer_training,
            exclude=["base", "rounds", "devices", "readings_layers"],
        ),
        about={
            "subject": CFG.subject.model,
            "base": CFG.explainer_training.base,
            "simulator": getattr(CFG.scores.simulator, "model", None),
            "prompt": CFG.descriptions.prompt,
            "texts": origins(CFG.corpus),
            "layers": list(SELECTED),
            "command": f"`make train-explainer`, whose round this is: {CFG.run}",
        },
        seed=CFG.seed,
        read=held(explainer_prompt()),
        weights=weights(CFG.subject.model, CFG.explainer_training.base),
        checkpoints=lambda wildcards: PATHVARS.apply("<results>/checkpoints"),
    message:
        "Training an explainer"
    script:
        "../scripts/train_explainer.py"
