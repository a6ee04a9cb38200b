"""What a training run writes into its directory, and what is done with it."""
