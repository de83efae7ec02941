"""The benchmarks: one file per promise in docs/reference/promises.md; `scripts/bench` runs them."""
