"""What a run consists of: selected neurons, chunks, memory, costs. Nothing heavy."""
