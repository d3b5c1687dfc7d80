from neuron_descriptions.common.logs import job_log
from neuron_descriptions.descriptions.concepts import find_concepts

given = snakemake.input
with job_log(snakemake.log[0], snakemake.rule):
    find_concepts(
        neurons=snakemake.params.neurons,
        layer=int(snakemake.wildcards.layer),
        corpus={split: given[split] for split in ("train", "valid")},
        exemplars=given.exemplars,
        models={name: given[name] for name in ("subject", "rules")},
        panel={"corpus": given.panel, "acts": given.panel_acts} if given.get("panel") else {},
        output=snakemake.output.concepts,
        fit=snakemake.params.get("fit", "contrast"),
    )
