from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.sources import S3
from neuron_descriptions.exports.publish import publish

with job_log(snakemake.log[0], snakemake.rule):
    publish(
        place=S3(**snakemake.params.place),
        run=snakemake.params.run,
        atlas=snakemake.input.atlas,
        exemplars=list(snakemake.input.exemplars),
        files=list(snakemake.input),
        output=snakemake.output.index,
    )
