from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.descriptions.asking import Part, describe

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    explainer = {**wanted.explainer, **wanted.access} if wanted.explainer else None
    describe(
        Part(
            layer=int(snakemake.wildcards.layer),
            name=snakemake.wildcards.part,
            neurons=wanted.neurons,
            seed=wanted.seed,
            threads=snakemake.threads,
            min_firings=wanted.get("min_firings", 0),
        ),
        inputs=dict(snakemake.input.items()),
        settings=restored(Descriptions, wanted.settings, explainer=explainer),
        requests=wanted.requests,
        code=wanted.code,
        outputs={name: snakemake.output[name] for name in ("descriptions", "accounting")},
    )
