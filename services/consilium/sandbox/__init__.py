"""A whole alliance on one machine: the demo, and integrators' tests."""
