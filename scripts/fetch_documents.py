from neuron_descriptions.common.logs import job_log
from neuron_descriptions.corpus.fetching import fetch_documents

with job_log(snakemake.log[0], snakemake.rule):
    fetch_documents(
        spec=snakemake.params.spec,
        seed=snakemake.params.seed,
        path=snakemake.output.documents,
    )
