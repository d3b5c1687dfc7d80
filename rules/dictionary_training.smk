# A dictionary of a layer's latents, trained on the run's train text: only where asked for.


rule train_dictionary:
    input:
        train=CORPUS["train"],
        test=CORPUS["test"],
        model=model_folder(CFG.subject.model),
    output:
        dictionary=directory("<results>/trained/{trained,autoencoder|transcoder}"),
    log:
        "<logs>/train_dictionary/{trained}.log",
    benchmark:
        "<benchmarks>/train_dictionary/{trained}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("train_dictionary"),
        runtime=minutes("train_dictionary"),
    params:
        code=digest("train_dictionary.py"),
        settings=tracked(CFG.dictionary_training),
        subject={**HARVEST["subject"], "name": CFG.subject.model},
        seed=CFG.seed,
        weights=HARVEST["weights"],
    message:
        "Training a dictionary: {wildcards.trained}"
    script:
        "../scripts/train_dictionary.py"
