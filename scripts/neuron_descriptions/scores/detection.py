"""Detection: given a description, in which passages is the neuron active? (As the scorer of that name in Paulo et al.
2024, "Automatically Interpreting Millions of Features in Large Language Models".)
"""

from neuron_descriptions.scores.judged import JudgedScorer


class DetectionScorer(JudgedScorer):
    """Asks which passages the description fits."""
