"""The platform, which combines all components."""
