"""The daemons that build for all jobs: Docker and rootless BuildKit."""
