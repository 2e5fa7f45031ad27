"""What a release changes."""

# version 0
