from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features
from neuron_descriptions.features.converting import convert_dictionary

with job_log(snakemake.log[0], snakemake.rule):
    convert_dictionary(
        source=f"{snakemake.input.source}/{snakemake.params.inside}".rstrip("/"),
        layer=int(snakemake.wildcards.layer),
        features=restored(Features, snakemake.params.features),
        subject=snakemake.params.subject,
        output=snakemake.output.dictionary,
    )
