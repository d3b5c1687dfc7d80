from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.descriptions.asking import Part
from neuron_descriptions.descriptions.output_tokens import explain_output_side

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    explain_output_side(
        Part(
            layer=int(snakemake.wildcards.layer),
            name=snakemake.wildcards.part,
            neurons=wanted.neurons,
            seed=wanted.seed,
            threads=snakemake.threads,
        ),
        inputs=dict(snakemake.input.items()),
        settings=restored(Descriptions, wanted.settings, explainer={**wanted.explainer, **wanted.access}),
        one_sided=wanted.one_sided,
        requests=wanted.requests,
        code=wanted.code,
        outputs={name: snakemake.output[name] for name in ("explained", "accounting")},
    )
