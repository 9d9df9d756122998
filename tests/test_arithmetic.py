"""Agents, objectives and test-time methods do no information arithmetic of their own: it lives in infojax.info.

The detector reads source. It refuses calls that are such arithmetic under another library's name, and expressions
that are it written out: p · log p, e^l · l, a one-hot times a log-probability, log Σ exp, log softmax and a Gaussian's
log 2π.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("infojax/agents", "infojax/objectives", "infojax/tta", "docs/templates")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).glob("**/*.py"))
# Names of calls, whatever module they are taken from: only infojax.info may give functions of these names.
CALLS = re.compile(
    r"(log_|stan|spar)?softmax|log_sigmoid|logsumexp|logaddexp2?|logmeanexp|entr|rel_entr|kl_div|xlogy|xlog1py"
    r"|logpdf|logpmf|log_prob|log_probability|(.*_)?(cross_)?entropy(_with_.*)?|.*kl_divergence.*|.*js_divergence.*"
    r"|.*mutual_information.*|.*information_gain.*|barber_agakov|infonce|digamma|gammaln"
)
# Whole libraries of distributions.
LIBRARIES = {"distrax", "tensorflow_probability", "numpyro", "rlax", "scipy", "jax.scipy.stats"}
LOGS, SUMS = {"log", "log1p", "log2", "log10"}, {"sum", "mean", "nansum", "nanmean"}
PRODUCTS = {"multiply", "dot", "vdot", "inner", "matmul", "einsum", "tensordot", "outer"}
LOG_PROBABILITY = re.compile(r"log_?(p|q|pi|prob|probs|probability|probabilities|softmax)(_.*)?")
PROBABILITY = re.compile(
    r"p|q|prob|probs|probability|probabilities|one_hot|.*one_hot|context|skill|.*_probabilit(y|ies)"
)


def last(node):
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def dotted(node):
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else last(node)


def calls(node, names):
    return [part for part in ast.walk(node) if isinstance(part, ast.Call) and last(part.func) in names]


def title(node):
    return last(node.func if isinstance(node, ast.Call) else node)


def names(node):
    """What an expression is made of: its dotted names but for those of functions and modules."""
    functions = {id(part) for call in ast.walk(node) if isinstance(call, ast.Call) for part in ast.walk(call.func)}
    parts = (
        part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute) and id(part) not in functions
    )
    return {dotted(part) for part in parts}


def violations(source):
    """Sentences on what of the source is information arithmetic."""
    tree = ast.parse(source)
    ours, bound, found = set(), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("infojax.info"):
            ours |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            modules += [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                if any(module == library or module.startswith(library + ".") for library in LIBRARIES):
                    found.append(f"line {node.lineno}: imports {module}")
            if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("infojax"):
                for alias in node.names:
                    if CALLS.fullmatch(alias.name):
                        found.append(f"line {node.lineno}: imports {alias.name}")
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            bound.setdefault(node.targets[0].id, []).append(node.value)
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    def stripped(node):
        """Without signs, subscripts, and functions that only tidy up."""
        while True:
            if isinstance(node, ast.UnaryOp):
                node = node.operand
            elif isinstance(node, ast.Subscript):
                node = node.value
            elif isinstance(node, ast.Call) and last(node.func) in {"clip", "maximum", "stop_gradient", "asarray"}:
                node = node.args[0]
            else:
                return node

    def meanings(node):
        """An expression, and what a name in its place was assigned."""
        node = stripped(node)
        return [node, *map(stripped, bound.get(node.id, []))] if isinstance(node, ast.Name) else [node]

    def factors(node):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.MatMult):
            return factors(node.left) + factors(node.right)
        if isinstance(node, ast.UnaryOp):
            return factors(node.operand)
        return [node]

    def multiplied(parts):
        for i, left in enumerate(parts):
            for j, right in enumerate(parts):
                if i == j:
                    continue
                for meaning in meanings(left):
                    called = last(meaning.func) if isinstance(meaning, ast.Call) else ""
                    shared = called in LOGS | {"exp"} and names(meaning.args[0]) & names(right)
                    if shared:
                        yield "p log p" if called in LOGS else "e^l l"
                if LOG_PROBABILITY.fullmatch(title(stripped(left))) and any(
                    PROBABILITY.fullmatch(title(meaning)) for meaning in meanings(right)
                ):
                    yield "a probability times a log-probability"

    for node in ast.walk(tree):
        words = []
        if isinstance(node, ast.Call):
            name, root = last(node.func), dotted(node.func).split(".")[0]
            if CALLS.fullmatch(name) and root not in ours and not (isinstance(node.func, ast.Name) and name in defined):
                words.append(f"calls {dotted(node.func)}")
            if name in LOGS and node.args:
                inner = [node.args[0], *meanings(node.args[0])]
                if any(calls(total, {"exp"}) for part in inner for total in calls(part, SUMS)):
                    words.append("log Σ exp")
                if any(calls(part, {"softmax", "sigmoid"}) for part in inner):
                    words.append("log softmax")
                if any(last(part) in {"pi", "e"} for value in inner for part in ast.walk(value)):
                    words.append("a Gaussian's log 2π")
            if name in PRODUCTS:
                words += multiplied(list(node.args))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.MatMult):
            words += multiplied(factors(node))
        found += [f"line {node.lineno}: {word}" for word in dict.fromkeys(words)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_information_arithmetic_is_called_and_not_written(path):
    found = violations(path.read_text())
    assert not found, f"{path} should call infojax.info instead: {found}"


@pytest.mark.parametrize(
    "word, source",
    [
        ("calls jax.nn.log_softmax", "l = jax.nn.log_softmax(z)"),
        ("calls jax.nn.softmax", "p = jax.nn.softmax(z)"),
        ("calls nn.log_sigmoid", "l = nn.log_sigmoid(z)"),
        ("calls jax.nn.logsumexp", "l = jax.nn.logsumexp(z, axis=-1)"),
        ("calls jnp.logaddexp", "l = jnp.logaddexp(a, b)"),
        ("calls jax.scipy.special.entr", "h = jnp.sum(jax.scipy.special.entr(p))"),
        ("calls special.rel_entr", "d = special.rel_entr(p, q)"),
        ("calls special.kl_div", "d = special.kl_div(p, q)"),
        ("calls special.xlogy", "h = -special.xlogy(p, p)"),
        ("calls jax.scipy.stats.norm.logpdf", "l = jax.scipy.stats.norm.logpdf(x, m, s)"),
        ("calls jax.scipy.stats.poisson.logpmf", "l = jax.scipy.stats.poisson.logpmf(x, m)"),
        ("calls policy.log_prob", "l = policy.log_prob(action)"),
        ("calls policy.entropy", "h = policy.entropy()"),
        ("calls optax.softmax_cross_entropy", "c = optax.softmax_cross_entropy(z, labels)"),
        (
            "calls optax.softmax_cross_entropy_with_integer_labels",
            "optax.softmax_cross_entropy_with_integer_labels(z, y)",
        ),
        ("calls optax.sigmoid_binary_cross_entropy", "optax.sigmoid_binary_cross_entropy(z, y)"),
        ("calls optax.losses.kl_divergence", "optax.losses.kl_divergence(a, b)"),
        ("imports distrax", "import distrax"),
        ("imports tensorflow_probability.substrates", "from tensorflow_probability.substrates import jax as tfp"),
        ("imports jax.scipy.stats", "from jax.scipy import stats"),
        ("imports logsumexp", "from jax.scipy.special import logsumexp as total"),
        ("imports log_softmax", "from jax.nn import log_softmax"),
        ("p log p", "h = -jnp.sum(p * jnp.log(p))"),
        ("p log p", "h = -jnp.sum(p * jnp.log(p + 1e-8), axis=-1)"),
        ("p log p", "d = jnp.sum(state.p * (weight * jnp.log(state.p / q)))"),
        ("p log p", "logs = jnp.log(jnp.maximum(p, 1e-8))\nh = -jnp.sum(logs * p)"),
        ("p log p", "h = -jnp.vdot(p, jnp.log(p))"),
        ("p log p", "h = -p @ jnp.log2(p)"),
        ("e^l l", "h = -jnp.sum(jnp.exp(l) * l, axis=-1)"),
        ("e^l l", "p = jnp.exp(l)\nh = -jnp.sum(p * l)"),
        ("a probability times a log-probability", "c = -jnp.sum(log_q * batch.context, -1)"),
        ("a probability times a log-probability", "c = jnp.sum(log_q(state, batch.observation) * batch.context, -1)"),
        ("a probability times a log-probability", "c = jnp.sum(jax.nn.one_hot(y, 3) * log_probability)"),
        ("a probability times a log-probability", "c = jnp.einsum('nk,nk->n', probabilities, log_p)"),
        ("log Σ exp", "l = jnp.log(jnp.sum(jnp.exp(z), axis=-1)) + top"),
        ("log Σ exp", "total = jnp.mean(jnp.exp(z))\nl = jnp.log(total)"),
        ("log softmax", "l = jnp.log(jax.nn.sigmoid(z))"),
        ("log softmax", "p = jax.nn.softmax(z)\nl = jnp.log(p)"),
        ("a Gaussian's log 2π", "l = -0.5 * (x * x + jnp.log(2 * jnp.pi)) - log_scale"),
        ("a Gaussian's log 2π", "h = 0.5 * math.log(2 * math.pi * math.e) + log_scale"),
    ],
)
def test_the_detector_sees_it(word, source):
    assert any(found.endswith(word) for found in violations(source)), violations(source)


def test_the_detector_leaves_other_arithmetic_alone():
    source = """
from infojax.info import categorical, gaussian
from infojax.info.bounds import barber_agakov

def log_q(parameters, x):
    return network.apply(parameters, x)

ratio = jnp.exp(log_probability - old_log_probability)
loss = -jnp.mean(ratio * advantage) - 0.01 * jnp.mean(categorical.entropy(logits))
loss = alpha * log_density - jnp.mean(log_probability * advantage) + barber_agakov(log_q(parameters, x), 1.0)
raw = mean + jnp.exp(log_scale) * noise
slope = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
reward = jnp.log(1 + distance) + gaussian.diagonal_kl_divergence(mean, scale, prior, 1.0)
skill = jax.nn.one_hot(jax.random.categorical(key, logits), 4) * mask
"""
    assert violations(source) == []
