from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.scores.generated_corpus import run_texts

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    run_texts(
        subject=Subject(
            snakemake.input.model,
            **wanted.subject,
            device_map=wanted.device_map,
            features=restored(Features, wanted.get("features", {})).model_dump(),
            dictionaries=dict(zip(wanted.neurons, snakemake.input.dictionaries)),
        ),
        inputs={name: snakemake.input[name] for name in ("corpus", "texts", "others")},
        neurons=wanted.neurons,
        batch_size=wanted.batch_size,
        threads=snakemake.threads,
        layers_per_pass=wanted.layers_per_pass,
        outputs=dict(zip(wanted.neurons, snakemake.output.peaks)),
    )
