from neuron_descriptions.common.logs import job_log
from neuron_descriptions.features.fetching import fetch_dictionary

with job_log(snakemake.log[0], snakemake.rule):
    fetch_dictionary(
        repo=snakemake.params.repo,
        revision=snakemake.params.revision,
        path=snakemake.params.path,
        folder=snakemake.output.published,
    )
