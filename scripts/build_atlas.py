from neuron_descriptions.atlas.building import build_atlas
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    build_atlas(
        descriptions=snakemake.input.descriptions,
        scores=snakemake.input.scores,
        statistics=snakemake.input.statistics,
        natural=snakemake.input.get("natural", []),
        pool_nulls=snakemake.params.pool_nulls,
        concepts=snakemake.input.get("concepts"),
        types=snakemake.input.get("types"),
        scorers=snakemake.input.get("scorers", []),
        simulated=snakemake.params.get("simulated", True),
        output=snakemake.output.atlas,
    )
