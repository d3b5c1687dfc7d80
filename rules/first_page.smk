# A page to look at while scores are made: of the first neuron, as soon as it is described.
include: "common/first_page.smk"


rule write_first_page:
    input:
        **{name: of_first_part(files) for name, files in CORPUS.items()},
        **{
            name: of_first_part(evidence_tables(path))
            for name, path in EVIDENCE.items()
        },
        descriptions=TABLES["descriptions"].format(
            layer=FIRST_PART.layer, part=FIRST_PART.part
        ),
        subject=model_folder(CFG.subject.model),
        pages=PAGES,
    output:
        page="<results>/first.html",
    log:
        "<logs>/write_first_page.log",
    benchmark:
        "<benchmarks>/write_first_page.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("write_neuron_page"),
        runtime=minutes("write_neuron_page"),
    params:
        code=digest("write_first_page.py"),
        about={
            **{name: ABOUT[name] for name in ("run", "subject", "explainer")},
            **({"noun": ABOUT["noun"]} if "noun" in ABOUT else {}),
            "chosen": "not yet",
        },
        layer=FIRST_LAYER,
        neuron=SELECTED[FIRST_LAYER][0],
        n_exemplars=CFG.atlas.exemplars,
        weights=weights(CFG.subject.model),
    message:
        "Writing a first page: layer {params.layer}, neuron {params.neuron}"
    script:
        "../scripts/write_first_page.py"
