"""Every way to build images on the runner, measured side by side in the lab: `make bench`."""
