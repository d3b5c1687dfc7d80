"""What people read: the table, its pages, plots, comparisons of runs."""
