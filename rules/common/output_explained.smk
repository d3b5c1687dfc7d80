# Who is asked about what features write, and who judges it. No rules.
from neuron_descriptions.descriptions.output_prompts import read_output_template
from neuron_descriptions.scores.token_templates import read_token_judge_template

OUTPUT_EXPLAINER = CFG.descriptions.explainer
OUTPUT_JUDGE = CFG.output_side.judge or OUTPUT_EXPLAINER


def clients_apart(asked):
    """Modules of clients that a job does not load."""
    return [f"clients/{client}" for client in clients() if client != asked.client]


def output_explainer_folder():
    """The folder of the explainer's weights or tokenizer, where it has one."""
    model = OUTPUT_EXPLAINER.local_model()
    return {"explainer": model_folder(model)} if model else {}


def output_judge_folder():
    """The folder of the judge's weights or tokenizer, where it has one."""
    model = OUTPUT_JUDGE.local_model()
    return {"judge": model_folder(model)} if model else {}


def output_prompt():
    """The explainer's prompt file, tried out before any job starts."""
    path = project_file(CFG.output_side.prompt, "output_side.prompt")
    try:
        read_output_template(path, bool(output_explainer_folder()))
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return path


def output_judge_prompt():
    """The judge's prompt file, tried out likewise."""
    path = project_file(CFG.output_side.judge_prompt, "output_side.judge_prompt")
    try:
        read_token_judge_template(path)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return path
