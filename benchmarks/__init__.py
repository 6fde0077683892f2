"""Measurements, as medians and ratios within one run. The machine is shared: compare within a run only."""
