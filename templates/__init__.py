"""The CI/CD components, a folder for each, and the tool that builds them."""
