"""How heavy work runs: steps, a cache by content, worker processes, toolchain environments."""
