from neuron_descriptions.atlas.building import build_atlas
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    build_atlas(
        descriptions=snakemake.input.descriptions,
        scores=snakemake.input.scores,
        statistics=snakemake.input.statistics,
        scorers=snakemake.input.scorers,
        output=snakemake.output.atlas,
    )
