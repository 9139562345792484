"""ExecuTorch's portable kernels: plain C++ for every operator, no delegate; the last resort.

    # a variant
    pte-portable-float32

Far slower than any delegate; never chosen by edgekit itself.
https://docs.pytorch.org/executorch/stable/kernel-library-overview.html
"""

from __future__ import annotations

from edgekit.export.delegates.executorch_base import ExecuTorchDelegate


class PortableDelegate(ExecuTorchDelegate):
    """No delegate at all."""

    name = "portable"
    title = "ExecuTorch's portable kernels"
    runs_here = True
    open_sizes = True
