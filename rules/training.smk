# A simulator trained on the run's exemplars: only where asked for.


rule train_simulator:
    input:
        train=CORPUS["train"],
        valid=CORPUS["valid"],
        exemplars=all_chunks(EVIDENCE["exemplars"], KEPT),
        descriptions=(
            all_chunks(TABLES["descriptions"]) if CFG.training.candidates_share else []
        ),
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
        mem_mb=memory("train_simulator"),
        runtime=minutes("train_simulator"),
        gpu=gpus("train_simulator"),
        gpu_job=1,
    params:
        code=digest("train_simulator.py"),
        settings=tracked(CFG.training, exclude=["base", "rules", "devices"]),
        about={
            "subject": CFG.subject.model,
            "base": CFG.training.base,
            "texts": origins(CFG.corpus),
            "layers": list(KEPT.neurons),
            "command": f"`make train-simulator`, configuration of the run {CFG.run}",
        },
        seed=CFG.seed,
        read=held(project_file(CFG.training.rules, "training.rules")),
        weights=weights(CFG.training.base),
        checkpoints=lambda wildcards: PATHVARS.apply("<results>/checkpoints"),
    message:
        "Training a simulator"
    script:
        "../scripts/train_simulator.py"


rule plot_training:
    input:
        simulator="<results>/simulator",
    output:
        plot=report(
            "<results>/training.svg",
            caption="report/training.rst",
            category="Simulator",
        ),
    log:
        "<logs>/plot_training.log",
    benchmark:
        "<benchmarks>/plot_training.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot_training"),
        runtime=minutes("plot_training"),
    params:
        code=digest("plot_training.py"),
    message:
        "Plotting the training"
    script:
        "../scripts/plot_training.py"
