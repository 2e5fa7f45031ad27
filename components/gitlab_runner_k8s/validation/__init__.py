"""Validation: `messages.validate` makes settings of arguments, or one error with all problems."""
