# A simulator trained on the run's exemplars: only where asked for.


rule train_simulator:
    input:
        train=CORPUS["train"],
        valid=CORPUS["valid"],
        exemplars=all_chunks(TABLES["exemplars"]),
        rules=project_file(CFG.training.rules, "training.rules"),
        base=model_folder(CFG.training.base),
    output:
        simulator=directory("<results>/simulator"),
    log:
        "<logs>/train_simulator.log",
    benchmark:
        "<benchmarks>/train_simulator.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=asked("mem_mb", 16_000, 0),
        runtime=asked("runtime", 1440, 0),
        gpu=1,
    params:
        code=digest("train_simulator.py"),
        settings=CFG.training.model_dump(exclude={"base", "rules"}),
        about={
            "subject": CFG.subject.model,
            "base": CFG.training.base,
            "texts": list(CFG.corpus.sources),
            "layers": list(SELECTED),
        },
        seed=CFG.seed,
        checkpoints=lambda wildcards: workflow.pathvars.apply("<results>/checkpoints"),
    message:
        "Training a simulator"
    script:
        "../scripts/train_simulator.py"
