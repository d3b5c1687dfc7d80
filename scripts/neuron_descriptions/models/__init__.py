"""Models: loaded from their folders, adapted, or drawn at random."""
