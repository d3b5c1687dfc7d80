from neuron_descriptions.common.logs import job_log
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.panel.types import type_neurons

with job_log(snakemake.log[0], snakemake.rule):
    type_neurons(
        corpora={panel: snakemake.input[panel] for panel in PANELS},
        files={panel: snakemake.input[f"{panel}_acts"] for panel in PANELS},
        layer=int(snakemake.wildcards.layer),
        output=snakemake.output.types,
    )
