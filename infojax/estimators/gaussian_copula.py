"""Mutual information of the normal copula: each coordinate by rank to a normal one, then as in `gaussian`.

Ince et al. (2017), "A statistical framework for neuroimaging data analysis based on mutual information estimated via a
Gaussian copula". Any margins will do, as heavy as they are; the dependence must be that of a normal distribution, else
the value is too low.
"""

from infojax.estimators import parts
from infojax.estimators.gaussian import estimate
from infojax.info import gaussian
from infojax.types import Array, Estimate, Estimator, Key


def make() -> Estimator:
    """Gaussian-copula mutual information; the entropy of the scores is not that of the data, so there is none."""

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        x, y = parts.check_samples(x, y)
        x, y = gaussian.copula_transform(x), gaussian.copula_transform(y)
        return estimate(x, y, parts.normality(x, y))

    return Estimator(fit, parts.why)
