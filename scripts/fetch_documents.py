from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.corpus import TextSource
from neuron_descriptions.corpus.fetching import fetch_documents

with job_log(snakemake.log[0], snakemake.rule):
    fetch_documents(
        spec=restored(TextSource, snakemake.params.spec, ratio=1.0),  # its share decides nothing here
        seed=snakemake.params.seed,
        path=snakemake.output.documents,
    )
