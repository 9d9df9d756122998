"""infojax: reinforcement learning and test-time adaptation driven by information."""

__version__ = "0.1.0"
