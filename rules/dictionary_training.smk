# Dictionaries of a layer's latents, trained on the run's train text: only where asked for.


rule train_dictionary:
    input:
        train=CORPUS["train"],
        test=CORPUS["test"],
        model=model_folder(CFG.subject.model),
    output:
        autoencoder=directory("<results>/trained/autoencoder"),
        transcoder=directory("<results>/trained/transcoder"),
    log:
        "<logs>/train_dictionary.log",
    benchmark:
        "<benchmarks>/train_dictionary.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("train_dictionary"),
        runtime=minutes("train_dictionary"),
    params:
        code=digest("train_dictionary.py"),
        settings=tracked(CFG.dictionary_training),
        subject=HARVEST["subject"],
        name=CFG.subject.model,
        seed=CFG.seed,
        weights=HARVEST["weights"],
    message:
        "Training dictionaries of a layer"
    script:
        "../scripts/train_dictionary.py"
