"""The search over recipes: which there are (`space`), which is tried next (`sampler`)."""
