"""The hot loops on the CPU: numba kernels with hand-written backward passes.

Every function here has the signature of its counterpart in `plain.py`, which documents it. Every loop releases
Python's lock and works on a block of rays, samples or numbers; `in_parallel` spreads the blocks over threads. The same
inputs give the same bits, whatever the number of threads: blocks do not depend on it, no two of them write to the same
memory, and there are no atomics. Nor is there fast-math, which rounds vectorised and scalar code differently; which of
these runs may depend on the alignment of arrays.
"""

from nerfcl.models.kernels.compiled.encoding import encode
from nerfcl.models.kernels.compiled.optimiser import adam
from nerfcl.models.kernels.compiled.sampling import sample

__all__ = ["adam", "encode", "sample"]
