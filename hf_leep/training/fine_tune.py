"""Fine-tune one network, and say which examples it then gets right.

All weights are trained with AdamW (Loshchilov & Hutter, ICLR 2019), a linear warm-up and a cosine decay to zero
(Loshchilov & Hutter, ICLR 2017). A new linear head, which starts at zero, takes the place of the source head; its
learning rate is ten times that of the rest. Batch normalisation and dropout work as in training; models of sounds mask
no parts of them (SpecAugment).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from hf_leep.arrays import Integers
from hf_leep.errors import CandidateError, option
from hf_leep.training.layers import match_statistics, measure_statistics, plausible_dropout, without_masks
from hf_leep.training.records import Recipe, Trained

HEAD_FACTOR = 10.0  # the new head's learning rate, as a multiple of the others'
WARM_UP = 0.1  # share of the steps
WEIGHT_DECAY = 0.01
_CLIP = 1.0  # norm that gradients are clipped to
_EVALUATION_BATCH = 64
_STATISTICS_ROWS = 512  # training rows that batch normalisation is measured on


class Network(Protocol):
    """A loaded checkpoint, as `hf_leep.models` gives it."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    @property
    def head(self) -> nn.Module | None:
        """Its source head, whose input is caught."""

    @property
    def missing(self) -> Mapping[str, str]:
        """Why there are no features."""


@dataclass(frozen=True, eq=False)
class Examples:
    """The rows of a target, as a network takes them.

    Attributes:
        inputs: positions of rows → the keyword arguments of the model's forward pass.
        places: positions of rows → positions of their examples, in the order in which a batch gives them.
        labels: class of each example, 0 … t−1, ``[n]``.
        num_classes: number of classes t.
    """

    inputs: Callable[[Integers], dict[str, torch.Tensor]]
    places: Callable[[Integers], Integers]
    labels: Integers
    num_classes: int


class _FeatureCatcher:
    """Keep what goes into the source head, with its gradient."""

    def __init__(self) -> None:
        self.caught: torch.Tensor | None = None

    def take(self) -> torch.Tensor | None:
        """What was caught since the last call."""
        caught, self.caught = self.caught, None
        return caught

    def __call__(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.caught = inputs[0]


class _WithNewHead:
    """A network whose features go into a new head; the network's own weights are given back in the end."""

    def __init__(self, network: Network, num_classes: int, device: torch.device, alive: Callable[[], object]) -> None:
        if network.head is None or "features" in network.missing:
            raise CandidateError(network.missing.get("features", "no features can be caught to put a new head on"))
        self.model = network.model.to(device)
        self._num_classes, self.device, self.alive = num_classes, device, alive
        self._catcher = _FeatureCatcher()
        self._handle = network.head.register_forward_pre_hook(self._catcher)
        self._source_head = network.head
        self.head: nn.Linear | None = None
        self._scale = 1.0
        # On CPUs, training image networks then takes 0.64 to 1 of its time (tests/benchmarks/training.py).
        weights = {weight.ndim for weight in self.model.parameters()}
        self._channels_last = False
        self._set_channels_last(device.type == "cpu" and 4 in weights and 5 not in weights)

    def features(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Penultimate features of a batch, ``[b, d]``."""
        try:
            self.model(**self._placed(batch))
        except RuntimeError as error:
            if not self._channels_last or _out_of_memory(error):
                raise
            self._set_channels_last(False)  # models that call Tensor.view on maps of features
            self.model(**self._placed(batch))
        if (caught := self._catcher.take()) is None:
            raise CandidateError("its head was not called, so no features could be caught")
        return caught.flatten(1).float()

    def logits(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits of the target's classes, ``[b, t]``."""
        features = self.features(batch)
        if self.head is None:
            # Adam moves each weight by about its learning rate, so features are brought to unit size first.
            self._scale = float(features.detach().square().mean().sqrt().clamp_min(1e-12))
            self.head = nn.Linear(features.shape[1], self._num_classes, device=self.device)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        return self.head(features / self._scale)  # type: ignore[no-any-return]

    def parameters(self, learning_rate: float) -> list[dict[str, object]]:
        """Groups of parameters for the optimiser; norms and biases are not decayed, the source head is left out."""
        assert self.head is not None  # noqa: S101 - logits() has been called
        unused = {id(p) for p in self._source_head.parameters()}
        own = [p for p in self.model.parameters() if p.requires_grad and id(p) not in unused]
        new = list(self.head.parameters())
        return [
            {"params": kept, "lr": rate, "weight_decay": decay}
            for parameters, rate in ((own, learning_rate), (new, HEAD_FACTOR * learning_rate))
            for decay, kept in (
                (WEIGHT_DECAY, [p for p in parameters if p.ndim > 1]),
                (0.0, [p for p in parameters if p.ndim <= 1]),
            )
            if kept
        ]

    def release(self) -> None:
        """Stop listening to the source head, and lay the weights in memory as they were."""
        self._handle.remove()
        self._set_channels_last(False)

    def _set_channels_last(self, channels_last: bool) -> None:
        if channels_last != self._channels_last:
            self._channels_last = channels_last
            memory_format = torch.channels_last if channels_last else torch.contiguous_format
            self.model.to(memory_format=memory_format)  # type: ignore[call-overload]

    def _placed(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        placed = {}
        for name, x in batch.items():
            if name in ("num_truncated", "num_padded"):
                continue
            x = x.to(self.device) if x.device != self.device else x.clone() if x.is_inference() else x
            last = self._channels_last and x.ndim == 4 and x.is_floating_point()
            placed[name] = x.contiguous(memory_format=torch.channels_last) if last else x
        return placed


def fine_tune(
    network: Network,
    examples: Examples,
    train: Integers,
    evaluate: Integers,
    recipe: Recipe,
    *,
    on: Accelerator,
    advance: Callable[[int], object] = lambda _steps: None,
) -> Trained:
    """Train all of a network, and evaluate it; the network has its own weights again afterwards.

    Args:
        network: the loaded checkpoint.
        examples: the rows.
        train: positions of the rows to train on.
        evaluate: positions of the rows to evaluate on, ascending.
        recipe: how to train.
        on: where to train.
        advance: called with 1 after each step, and with 0, as a sign of life, after each batch of an evaluation.

    Raises:
        CandidateError: it has no features, or runs out of memory even for one row.
    """
    started = time.perf_counter()
    device = torch.device("cpu") if on.device.type == "cpu" else on.device
    kept = {name: value.detach().clone() for name, value in network.model.state_dict().items()}
    was_training = network.model.training
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        torch.backends.cudnn.flags(benchmark=False, deterministic=True),  # the same numbers each time
    ):
        torch.manual_seed(recipe.seed)
        net = _WithNewHead(network, examples.num_classes, device, alive=lambda: advance(0))
        try:
            with plausible_dropout(net.model) as turned_round, without_masks(net.model):
                micro_batch, times, diverged = _train(net, examples, train, recipe, on, advance)
            if diverged:
                correct, loss = np.zeros(len(examples.places(evaluate)), dtype=bool), math.inf
            else:
                correct, loss = _evaluate(net, examples, evaluate)
        finally:
            net.release()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            network.model.load_state_dict(kept)
            network.model.train(was_training)
            network.model.zero_grad(set_to_none=True)
    per_step = float(np.mean(times[1:] or times))
    return Trained(correct, loss, per_step, time.perf_counter() - started, micro_batch, turned_round)


def _train(
    net: _WithNewHead,
    examples: Examples,
    train: Integers,
    recipe: Recipe,
    on: Accelerator,
    advance: Callable[[int], object],
) -> tuple[int, list[float], bool]:
    """Take the steps; the rows run at once, the seconds of each step, and whether the loss became infinite or NaN."""
    rng = np.random.default_rng(recipe.seed)
    batches = _batches(train, min(recipe.batch_size, len(train)), rng)
    first = next(batches)
    seen = train if len(train) <= _STATISTICS_ROWS else np.sort(rng.permutation(train)[:_STATISTICS_ROWS])
    with _eval_mode(net.model), torch.no_grad():
        next(_parts(net, examples, first, net.logits))  # makes the head
        match_statistics(net.model, lambda: _run(net, examples, seen))
    net.model.train()
    # Not prepared by the accelerator, which would keep it, and the network with it, until the comparison ends.
    optimizer = torch.optim.AdamW(net.parameters(recipe.learning_rate))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, recipe.steps))
    micro = len(first)
    times: list[float] = []
    for step in range(recipe.steps):
        before = time.perf_counter()
        rows = first if step == 0 else next(batches)
        while True:
            try:
                loss = _step(net, examples, rows, micro, recipe, rng, on)
                break
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                optimizer.zero_grad(set_to_none=True)
                if micro == 1:
                    raise CandidateError(f"out of memory on {net.device} for one row") from None
                micro = -(-micro // 2)  # the same step again, in smaller parts whose gradients add up
        if not math.isfinite(loss):
            return micro, [*times, time.perf_counter() - before], True
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        on.clip_grad_norm_(parameters, _CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - before)
        advance(1)
    measure_statistics(net.model, lambda: _run(net, examples, seen))
    return micro, times, False


def _step(
    net: _WithNewHead,
    examples: Examples,
    rows: Integers,
    micro: int,
    recipe: Recipe,
    rng: np.random.Generator,
    on: Accelerator,
) -> float:
    """Add up the gradients of one batch, run in parts of ``micro`` rows; the batch's loss."""
    total, num_examples = 0.0, len(examples.places(rows))
    for start in range(0, len(rows), micro):
        part = rows[start : start + micro]
        batch = examples.inputs(part)
        if recipe.flip:
            if "pixel_values" not in batch or batch["pixel_values"].ndim != 4:
                flip = option("fine_tune.flip")
                raise CandidateError(f"its inputs are not whole images, so they cannot be flipped: leave out {flip}")
            flipped = torch.as_tensor(rng.random(len(part)) < 0.5)
            pixels = batch["pixel_values"].clone()
            pixels[flipped] = pixels[flipped].flip(-1)
            batch = {**batch, "pixel_values": pixels}
        logits = net.logits(batch)
        truth = torch.as_tensor(examples.labels[examples.places(part)], device=logits.device)
        loss = functional.cross_entropy(logits, truth, reduction="sum") / num_examples
        if not bool(loss.isfinite()):
            return math.nan
        on.backward(loss)
        total += float(loss.detach())
    return total


def _parts(
    net: _WithNewHead,
    examples: Examples,
    rows: Integers,
    call: Callable[[dict[str, torch.Tensor]], torch.Tensor],
) -> Iterator[tuple[Integers, torch.Tensor]]:
    """Call a function with the inputs of some rows after the others, fewer at once where memory runs out."""
    size, start = _EVALUATION_BATCH, 0
    while start < len(rows):
        part = rows[start : start + size]
        try:
            result = call(examples.inputs(part))
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if len(part) == 1:
                raise CandidateError(f"out of memory on {net.device} for one row") from None
            size = -(-len(part) // 2)
            continue
        net.alive()
        yield part, result
        start += len(part)


def _run(net: _WithNewHead, examples: Examples, rows: Integers) -> None:
    for _ in _parts(net, examples, rows, net.features):
        pass


def _evaluate(net: _WithNewHead, examples: Examples, rows: Integers) -> tuple[NDArray[np.bool_], float]:
    order = np.argsort(examples.places(rows), kind="stable")
    correct, losses = [], []
    with _eval_mode(net.model), torch.no_grad():
        for part, found in _parts(net, examples, rows, net.logits):
            logits = found.double().cpu()
            truth = torch.as_tensor(examples.labels[examples.places(part)])
            correct.append((logits.argmax(dim=1) == truth).numpy())
            losses.append(functional.cross_entropy(logits, truth, reduction="none").numpy())
    loss = float(np.concatenate(losses).mean())
    return np.concatenate(correct)[order], loss if math.isfinite(loss) else math.inf


def _batches(rows: Integers, size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Batches of one size without end, each pass over the rows in a new random order."""
    waiting = rng.permutation(rows)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(rows)])
        yield waiting[:size]
        waiting = waiting[size:]


def _share_of_rate(step: int, steps: int) -> float:
    """Share of the peak learning rate at a step: a linear warm-up, then half a cosine."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
