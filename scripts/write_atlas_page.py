from neuron_descriptions.atlas.site import write_atlas_page
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.vocabulary import SPLITS

with job_log(snakemake.log[0], snakemake.rule):
    write_atlas_page(
        about=snakemake.params.about,
        corpus={split: snakemake.input[split] for split in SPLITS},
        atlas=snakemake.input.atlas,
        accounts=snakemake.input.get("accounts"),
        probe=snakemake.input.get("probe"),
        parts=snakemake.params.parts,
        chunk_size=snakemake.params.chunk_size,
        details=snakemake.input.details,
        rows=snakemake.output.rows,
        output=snakemake.output.page,
        report=snakemake.output.report,
    )
