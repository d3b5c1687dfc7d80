"""The panel: text that all features share, with their activations on every token of it, and what follows from these."""
