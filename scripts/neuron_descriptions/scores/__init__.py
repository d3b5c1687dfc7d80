"""How well predictions agree with activations, and how well chance does."""
