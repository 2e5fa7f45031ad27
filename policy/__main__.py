"""Started by the engine: `pulumi preview --policy-pack policy`."""

import pack

pack.serve()
