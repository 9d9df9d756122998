"""The primitives: pure functions of arrays, in nats, that need nothing but jax."""

from infojax.info import bounds, categorical

__all__ = ["bounds", "categorical"]
