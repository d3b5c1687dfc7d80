from neuron_descriptions.atlas.details import Details
from neuron_descriptions.atlas.site import write_neuron_page
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.vocabulary import SPLITS

with job_log(snakemake.log[0], snakemake.rule):
    details = Details(
        neurons=[int(snakemake.wildcards.neuron)],
        corpus={split: snakemake.input[split] for split in SPLITS},
        tables=snakemake.input,
        subject_folder=snakemake.input.subject,
        n_exemplars=snakemake.params.n_exemplars,
    )
    layer = int(snakemake.wildcards.layer)
    write_neuron_page(snakemake.params.about, layer, details, snakemake.output.page)
