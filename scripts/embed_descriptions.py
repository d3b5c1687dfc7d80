from neuron_descriptions.atlas.semantic import write_semantic
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    write_semantic(
        atlas=snakemake.input.atlas,
        folder=snakemake.input.embeddings,
        dimensions=snakemake.params.dimensions,
        outputs={
            "vocabulary": snakemake.output.vocabulary,
            "rows": dict(zip(snakemake.params.layers, snakemake.output.rows)),
        },
    )
