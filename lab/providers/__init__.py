"""Stand-ins for the Pulumi provider plugins, where those cannot be downloaded.

They serve the resource types that this package uses, over the plugins' own protocol, to the real
Pulumi engine.
"""
