from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.atlas import SemanticSearch
from neuron_descriptions.config.base import restored
from neuron_descriptions.models.fetching_embeddings import fetch_embeddings

with job_log(snakemake.log[0], snakemake.rule):
    fetch_embeddings(restored(SemanticSearch, snakemake.params.spec), snakemake.output.embeddings)
