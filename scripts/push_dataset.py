from neuron_descriptions.common.logs import job_log
from neuron_descriptions.exports.huggingface import push_dataset

with job_log(snakemake.log[0], snakemake.rule):
    push_dataset(
        folder=snakemake.input.folder,
        repository=snakemake.params.repository,
        private=snakemake.params.private,
        output=snakemake.output.pushed,
    )
