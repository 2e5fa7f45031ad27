"""Settings of the stacks: one file an environment, and the loader that reads them."""
