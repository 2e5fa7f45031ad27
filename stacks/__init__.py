"""Settings of the stacks: one file per environment, and the loader that reads them."""
