from neuron_descriptions.common.logs import job_log
from neuron_descriptions.output_side.judging import judge_output_side
from neuron_descriptions.output_side.writing import WholeModel
from neuron_descriptions.panel.reading import Panel

with job_log(snakemake.log[0], snakemake.rule):
    judge_output_side(
        subject=WholeModel.of_job(
            snakemake.input.subject, snakemake.params, snakemake.params.layers, snakemake.input.dictionaries
        ),
        panel=Panel(snakemake.input.panel, snakemake.input.acts, snakemake.input.subject),
        tables=dict(zip(snakemake.params.layers, snakemake.input.tables)),
        rules=snakemake.input.rules,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        output=snakemake.output.scores,
    )
