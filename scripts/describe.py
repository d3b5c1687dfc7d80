from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.explainers import ACCESS_KEYS
from neuron_descriptions.descriptions.asking import Part, describe

with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Descriptions, snakemake.params.settings, explainer=snakemake.params.explainer)
    describe(
        Part(
            layer=int(snakemake.wildcards.layer),
            name=snakemake.wildcards.part,
            neurons=snakemake.params.neurons,
            seed=snakemake.params.seed,
            threads=snakemake.threads,
        ),
        inputs=dict(snakemake.input.items()),
        explainer=settings.explainer.model_dump(exclude=set(ACCESS_KEYS)) if settings.explainer else None,
        settings=settings.model_dump(exclude={"explainer"}) | {"min_firings": snakemake.params.get("min_firings", 0)},
        access=snakemake.params.access,
        code=snakemake.params.code,
        outputs={name: snakemake.output[name] for name in ("descriptions", "accounting")},
    )
