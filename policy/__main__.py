"""Entry point for the engine: `pulumi preview --policy-pack policy`."""

import pack

pack.serve()
