from neuron_descriptions.fetching import fetch_documents
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    fetch_documents(
        spec=snakemake.params.spec,
        seed=snakemake.params.seed,
        path=snakemake.output.documents,
    )
