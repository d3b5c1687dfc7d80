from neuron_descriptions.atlas.site import write_atlas_page
from neuron_descriptions.common.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    write_atlas_page(
        about=snakemake.params.about,
        inputs=dict(snakemake.input.items()),
        parts=snakemake.params.parts,
        chunk_size=snakemake.params.chunk_size,
        outputs=dict(snakemake.output.items()),
    )
