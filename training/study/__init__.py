"""Studies: several runs that are trained, measured and reported alike."""
