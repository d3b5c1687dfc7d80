"""One panel read by two subjects: which features changed what they respond to."""
