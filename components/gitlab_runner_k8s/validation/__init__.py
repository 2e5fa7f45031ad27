"""Validation of settings: rules by subject, and one message with every problem."""
