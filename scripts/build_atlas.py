from neuron_descriptions.atlas.building import build_atlas
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    build_atlas(
        tables=dict(snakemake.input.items()),
        output=snakemake.output.atlas,
        pool_nulls=snakemake.params.pool_nulls,
        simulated=snakemake.params.get("simulated", True),
    )
