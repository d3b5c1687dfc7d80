from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.sources import S3
from neuron_descriptions.exports.publish import fetch_run

with job_log(snakemake.log[0], snakemake.rule):
    fetch_run(
        place=S3(**snakemake.params.place),
        run=snakemake.params.run,
        output=snakemake.output.folder,
    )
