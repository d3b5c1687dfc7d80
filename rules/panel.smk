# The panel: text that all kept neurons share, their activations at every token of it, and the neurons' types.
from neuron_descriptions.panel.tables import PANELS


wildcard_constraints:
    panel="|".join(PANELS),


rule build_panel:
    input:
        **CORPUS,
        documents=[documents(source) for source in TEXTS],
        model=model_folder(CFG.subject.model),
    output:
        panel="<evidence>/corpus/panel.parquet",
        panel_test="<evidence>/corpus/panel_test.parquet",
    log:
        "<logs>/build_panel.log",
    benchmark:
        "<benchmarks>/build_panel.tsv"
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=memory("build_panel"),
        runtime=minutes("build_panel"),
    params:
        code=digest("build_panel.py"),
        ratios={name: spec.ratio for name, spec in CFG.corpus.sources.items()},
        tokens=CFG.panel.tokens,
        cut={
            "seq_len": CFG.panel.seq_len or CFG.corpus.seq_len,
            "chat_prefix": CFG.corpus.chat_prefix,
            "windows_per_document": CFG.corpus.windows_per_document,
        },
        seed=CFG.seed,
        fetching=digest("fetch_documents.py"),
        texts=lambda wildcards: texts(*TEXTS),
        weights=weights(CFG.subject.model),
    message:
        "Cutting and tokenizing the panel"
    script:
        "../scripts/build_panel.py"


rule harvest_panel:
    input:
        model=model_folder(CFG.subject.model),
        corpus="<evidence>/corpus/{panel}.parquet",
        dictionaries=converted_features(lambda wildcards: KEPT.neurons),
    output:
        acts=[
            f"<evidence>/panel/{{panel}}/layer-{layer}.safetensors"
            for layer in KEPT.neurons
        ],
    log:
        "<logs>/harvest_panel/{panel}.log",
    benchmark:
        "<benchmarks>/harvest_panel/{panel}.tsv"
    priority: 1  # long: scores on text as it comes wait for it
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("harvest_panel"),
        runtime=minutes("harvest_panel"),
        gpu=gpus("harvest_panel"),
        gpu_job=1,
    params:
        **feature_params(lambda wildcards: KEPT.neurons),
        code=digest("harvest_panel.py", without=OTHER_SOURCES),
        subject=HARVEST["subject"],
        batch_size=CFG.exemplars.batch_size,
        seed=CFG.seed,
        device_map=CFG.subject.device_map,
        neurons=KEPT.neurons,
        weights=HARVEST["weights"],
        layers_per_pass=untracked(CFG.exemplars.layers_per_job),
    message:
        "Harvesting activations at every token: {wildcards.panel}"
    script:
        "../scripts/harvest_panel.py"


rule type_neurons:
    input:
        panel="<evidence>/corpus/panel.parquet",
        panel_test="<evidence>/corpus/panel_test.parquet",
        panel_acts="<evidence>/panel/panel/layer-{layer}.safetensors",
        panel_test_acts="<evidence>/panel/panel_test/layer-{layer}.safetensors",
    output:
        types="<evidence>/types/layer-{layer}.parquet",
    log:
        "<logs>/type_neurons/layer-{layer}.log",
    benchmark:
        "<benchmarks>/type_neurons/layer-{layer}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory("type_neurons"),
        runtime=minutes("type_neurons"),
    params:
        code=digest("type_neurons.py"),
    message:
        "Telling types of neurons: layer {wildcards.layer}"
    script:
        "../scripts/type_neurons.py"
