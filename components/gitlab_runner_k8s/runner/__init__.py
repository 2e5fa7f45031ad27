"""The runner: config.toml, Helm values, network policies and the release."""
