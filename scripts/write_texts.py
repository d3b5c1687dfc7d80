from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scorers import Scorer
from neuron_descriptions.descriptions.asking import Part
from neuron_descriptions.scores.writing import write_texts

wanted, wildcards = snakemake.params, snakemake.wildcards
with job_log(snakemake.log[0], snakemake.rule):
    writer = {**wanted.section["writer"], **wanted.access}
    write_texts(
        Part(
            layer=int(wildcards.layer),
            name=wildcards.part,
            neurons=wanted.neurons,
            seed=wanted.seed,
            threads=snakemake.threads,
        ),
        name=wildcards.scorer,
        inputs=dict(snakemake.input.items()),
        section=restored(Scorer, {**wanted.section, "writer": writer}),
        requests=wanted.requests,
        code=wanted.code,
        outputs={name: snakemake.output[name] for name in ("texts", "accounting")},
    )
