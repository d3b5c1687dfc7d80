# What jobs ask for: memory, time, GPUs. No rules.
import shutil


def cores():
    """Cores of a machine without a GPU that the run is for; None: it is for GPUs."""
    plan = CFG.plan
    here = not (
        shutil.which("nvidia-smi")
        or workflow.resource_scopes.is_local("gpu")
        or plan.ceilings.gpu_hours
    )
    if plan.device == "cpu" or (plan.device == "auto" and here):
        return os.cpu_count() or 1
    return None


PLAN = make_plan(CFG, DESCRIBED, KEPT, cores())
STAGES = {stage.rule: stage for stage in PLAN.stages}


def asked(resource, least, reckoned):
    """More with every attempt; never more than `--resources` has, on a cluster the most that one job may ask for."""
    bound = workflow.global_resources.get(resource).value

    def amount(wildcards, attempt):
        wanted = attempt * max(least, round(reckoned))
        return wanted if bound is None else min(wanted, bound)

    return amount


def memory(rule):
    """A rule's mem_mb."""
    stage = STAGES.get(rule)
    return asked("mem_mb", CFG.plan.memory_mb, stage.memory_mb if stage else 0)


def minutes(rule):
    """A rule's runtime."""
    stage = STAGES.get(rule)
    return asked("runtime", 20, stage.seconds / 60 * CFG.plan.margin if stage else 0)


# Where the number of GPUs of a rule's jobs stands in the config.
DEVICES = {
    "harvest": "subject.devices",
    "harvest_panel": "subject.devices",
    "harvest_other": "subject.devices",
    "write_output_side": "subject.devices",
    "judge_output_side": "subject.devices",
    "scale_output_side": "subject.devices",
    "explain_output_side": "descriptions.explainer.devices",
    "judge_output_tokens": "output_side.judge.devices",
    "describe": "descriptions.explainer.devices",
    "probe": "scores.simulator",
    "screen": "scores.screen.simulator",
    "run_texts": "subject.devices",
    "write_texts": "scores.scorers.<name>.writer.devices",
    "score": "scores.simulator",
    "score_natural": "scores.simulator",
    "simulate_nulls": "scores.simulator",
    "train_simulator": "training.devices",
    "train_explainer": "explainer_training.devices",
}


def gpus(rule):
    """GPUs of a job. Raises WorkflowError where a cluster gives fewer to a job: Snakemake would lower them silently."""
    wanted = STAGES[rule].gpus if rule in STAGES else 1
    if not workflow.resource_scopes.is_local("gpu"):
        return wanted  # one machine: its number says how many jobs run at once
    bound = workflow.global_resources.get("gpu").value
    if bound is not None and wanted > bound:
        raise WorkflowError(
            f"{DEVICES[rule]}: {wanted} GPUs for a job, and no partition of the site gives more than {bound}"
            " (max_gpu in site.yaml); lower the one or raise the other"
        )
    overwritten = workflow.resource_settings.overwrite_resources.get(rule, {})
    if "gres" in overwritten:
        # As it is written: an expression, whose value depends on the job.
        gres = str(getattr(overwritten["gres"], "raw", overwritten["gres"])).strip(
            "'\""
        )
        if int(gres.rpartition(":")[2]) < wanted:
            raise WorkflowError(
                f"{DEVICES[rule]}: {wanted} GPUs for a job, and site.yaml says gres: {gres}; lower the one or raise the other"
            )
    return wanted
