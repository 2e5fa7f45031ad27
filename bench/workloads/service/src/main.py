"""A service that answers once, to show that it starts."""

from package0 import module0

print(module0.answer(1))
