"""Tent, ETA, EATA and DeYO as plain loops in torch, for their time: the same passes and steps as the papers' code.

A worker: reads a method's name per line, adapts to some batches, and answers the CPU milliseconds of each.
"""

import json
import math
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from torch import nn
from torch.nn import functional

torch.set_num_threads(1)


class Block(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1 x)))) + skip)."""

    def __init__(self, inputs, outputs, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norm(outputs)
        self.down = None
        if stride != 1 or inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x):
        skip = x if self.down is None else self.down(x)
        return functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))) + skip)


class Network(nn.Module):
    """The small residual network of the reference runs."""

    def __init__(self, classes, norm):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, 2, 1, bias=False), norm(16)
        shapes = ((16, 16, 1), (16, 32, 2), (32, 64, 2), (64, 64, 1))
        for index, shape in enumerate(shapes, 1):
            setattr(self, f"layer{index}", nn.Sequential(Block(*shape, norm)))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
        return self.fc(x.mean((2, 3)))


def network(weights, norm):
    """The network with the given weights, its normalisation layers adapting with the statistics of the batch."""
    model = Network(10, norm)
    state = {name: torch.from_numpy(np.array(values)) for name, values in weights.items()}
    model.load_state_dict(state, strict=norm is nn.BatchNorm2d and False)
    model.train()
    model.requires_grad_(False)
    adapting = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.requires_grad_(True)
            adapting += [module.weight, module.bias]
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return model, adapting


def entropy(logits):
    """Of each row, in nats."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def weighted(rows, weights, optimizer, extra=0.0):
    """A step on the mean of weighted rows; none where there are no rows."""
    if len(rows):
        loss = (rows * weights).mean() + extra
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()


class Adapting:
    """One of the methods with its state."""

    def __init__(self, method, weights, norm):
        self.method, self.average, self.log = method, None, math.log(10)
        self.model, adapting = network(weights, norm)
        if method == "deyo":
            adapting = [p for name, p in self.model.named_parameters() if p.requires_grad and "layer4" not in name]
        self.anchors = [(p, p.detach().clone(), torch.ones_like(p)) for p in adapting]
        self.optimizer = torch.optim.SGD(adapting, lr=0.005, momentum=0.9)

    def __call__(self, x):
        if self.method in ("source", "norm"):
            with torch.no_grad():
                return self.model(x)
        logits = self.model(x)
        rows = entropy(logits)
        if self.method == "tent":
            rows.mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        elif self.method == "half":
            rows = rows[:100]
            weighted(rows, torch.exp(0.4 * self.log - rows.detach()), self.optimizer)
        elif self.method in ("eta", "eata"):
            keep = torch.where(rows < 0.4 * self.log)[0]
            predicted = logits[keep].softmax(1)
            if self.average is not None:
                new = functional.cosine_similarity(self.average[None], predicted, dim=1).abs() < 0.4
                keep, predicted = keep[new], predicted[new]
            if len(keep):
                mean = predicted.detach().mean(0)
                self.average = mean if self.average is None else 0.9 * self.average + 0.1 * mean
            extra = 0.0
            if self.method == "eata":
                extra = sum((fisher * (p - anchor) ** 2).sum() for p, anchor, fisher in self.anchors)
            rows = rows[keep]
            weighted(rows, torch.exp(0.4 * self.log - rows.detach()), self.optimizer, extra)
        else:
            keep = torch.where(rows < 0.5 * self.log)[0]
            if len(keep):
                count, channels, height, width = x[keep].shape
                high, wide = height // 4, width // 4
                cut = x[keep].reshape(count, channels, 4, high, 4, wide).permute(0, 2, 4, 1, 3, 5)
                cut = cut.reshape(count, 16, channels, high, wide)
                order = torch.argsort(torch.rand(count, 16), dim=1)
                cut = cut[torch.arange(count)[:, None], order].reshape(count, 4, 4, channels, high, wide)
                destroyed = cut.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, height, width)
                with torch.no_grad():
                    after = self.model(destroyed).softmax(1)
                before = logits[keep].detach().softmax(1)
                label = before.argmax(1, keepdim=True)
                plpd = (before.gather(1, label) - after.gather(1, label))[:, 0]
                chosen = plpd > 0.2
                rows = rows[keep][chosen]
                weights = torch.exp(0.4 * self.log - rows.detach()) + torch.exp(plpd[chosen])
                weighted(rows, weights, self.optimizer)
        return logits


def main():
    """Answer the requests of `speed.py`."""
    data = np.load(sys.argv[1])
    weights = {name.removeprefix("w/"): data[name] for name in data.files if name.startswith("w/")}
    images = torch.from_numpy((np.load(sys.argv[2]).astype(np.float32) / 255 - 0.2860) / 0.3530)[:, :, None]
    print(json.dumps({"versions": f"torch {torch.__version__}"}), flush=True)
    for line in sys.stdin:
        method, kind = line.split()
        norm = nn.BatchNorm2d if kind == "batch" else lambda channels: nn.GroupNorm(8, channels)
        own = weights if kind == "batch" else {k: v for k, v in weights.items() if "running" not in k}
        adapting, taken = Adapting(method, own, norm), []
        for batch in images:
            began = time.process_time()
            adapting(batch)
            taken.append(1e3 * (time.process_time() - began))
        print(json.dumps({"ms": taken}), flush=True)


if __name__ == "__main__":
    main()
