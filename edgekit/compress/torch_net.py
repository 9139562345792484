"""PyTorch modules as a `Net`. Runs in a worker of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from edgekit.compress.net import Batch, Features, Kind, Loss, Weight, frozen, own_loss
from edgekit.compress.torch_edits import watched
from edgekit.core.compression import Training
from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.registry import resolve_own
from edgekit.work.pool import CORES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

BATCH = 64  # samples at a time in `predict`
ALIKE = 0.01  # of the largest output: what two orders of the same sums, rounded, may be apart
ORDER_REFUSED = "view size is not compatible"
TINY = 1e-7  # of a probability whose logarithm is taken


class TorchNet:
    """See `Net`."""

    framework = "torch"
    may_mix = True  # whether it trains in mixed precision where that is asked for

    def __init__(self, live: Any) -> None:
        self.live = live
        self.samples: Sequence[Array] = ()
        self.cores = CORES
        self._channels_last = False

    @property
    def module(self) -> Any:
        """The ``nn.Module`` itself."""
        return self.live.module

    def weights(self) -> dict[str, Weight]:
        """See `Net.weights`."""
        return {
            name: Weight(name, layer, kind, tuple(parameter.shape), axis, _inner(kind, parameter))
            for name, layer, kind, axis, parameter in self._kernels()
        }

    def _kernels(self) -> Iterator[tuple[str, str, Kind, int, Any]]:
        seen: set[int] = set()
        for layer, module in self.module.named_modules():
            for own, parameter in module.named_parameters(recurse=False):
                found = _kind(module, own, parameter)
                if found and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{layer}.{own}" if layer else own, layer, *found, parameter

    @property
    def device(self) -> Any:
        """Where its numbers are, a ``torch.device``."""
        import torch

        first = next(chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    def tensor(self, array: Any) -> Any:
        """The array where the net is, images in the order that it has."""
        import torch

        return self._here(torch.from_numpy(array))

    def _here(self, tensor: Any) -> Any:
        import torch

        made = tensor.to(self.device)
        return _ordered(made, torch.channels_last) if self._channels_last else made

    @contextmanager
    def placed(self, training: Training) -> Iterator[str]:
        """See `Net.placed`."""
        mixed = training.precision == "mixed" and self.may_mix
        device, where = device_for(training, mixed=mixed)
        if device == self.device:
            with self._fast_order():
                yield where
            return
        self.move(device)
        try:
            yield where
        finally:
            self.move("cpu")

    @contextmanager
    def _fast_order(self) -> Iterator[None]:
        """While it lasts, images and kernels of convolutions lie channels last in memory, which the
        CPU trains in 0.6 to 0.85 of the time (tools/bench_layout.py); unless the module counts on
        the usual order, as with ``view()`` or ``as_strided()``: that is tried first.
        """
        if not any(parameter.ndim == 4 for parameter in self.module.parameters()):
            yield
            return
        usual = self._answers()
        self._order(channels_last=True)
        try:
            if not _alike(usual, self._answers()):
                self._order(channels_last=False)
            yield
        finally:
            self._order(channels_last=False)

    def _order(self, *, channels_last: bool) -> None:
        import torch

        order = torch.channels_last if channels_last else torch.contiguous_format
        self._channels_last = channels_last
        for parameter in self.module.parameters():
            parameter.data = _ordered(parameter.data, order)

    def _answers(self) -> list[Any]:
        """To the example; nothing where the order in memory is refused."""
        import torch

        args, kwargs = self.live.example
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
        try:
            with torch.no_grad():
                return list(self.live.call([*map(self._here, given)], training=False))
        except RuntimeError as exc:
            if not (self._channels_last and ORDER_REFUSED in str(exc)):
                raise
            return []

    def call(self, inputs: Sequence[Any], *, training: bool) -> list[Any]:
        """What the module returns for what `tensor` gave."""
        import torch

        try:
            return list(self.live.call(inputs, training=training))
        except RuntimeError as exc:
            if not (self._channels_last and ORDER_REFUSED in str(exc)):
                raise
        self._order(channels_last=False)  # a way through it that the trial did not take
        usual = [_ordered(each, torch.contiguous_format) for each in inputs]
        return list(self.live.call(usual, training=training))

    def move(self, device: Any) -> None:
        """Put parameters and buffers there."""
        self.module.to(device)

    def parameter(self, name: str) -> Any:
        """The parameter of a weight."""
        return self.module.get_parameter(name)

    def get(self, name: str) -> Any:
        """See `Net.get`."""
        import torch

        return self.parameter(name).detach().to("cpu", torch.float32).numpy().copy()

    def put(self, name: str, values: Any) -> None:
        """See `Net.put`."""
        import torch

        with torch.no_grad():
            self.parameter(name).copy_(torch.from_numpy(values))

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """See `Net.predict`."""
        import numpy as np
        import torch

        parts = []
        with torch.no_grad():
            for at in range(0, len(inputs[0]), BATCH):
                tensors = [self.tensor(array[at : at + BATCH]) for array in inputs]
                outputs = self.call(tensors, training=False)
                parts.append([output.cpu().numpy() for output in outputs])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def predictor(self) -> Callable[[Sequence[Any]], list[Any]]:
        """See `Net.predictor`."""
        return self.predict

    def outputs_of(self, names: Sequence[str], inputs: Sequence[Any]) -> dict[str, Any]:
        """See `Net.outputs_of`."""
        import torch

        with torch.no_grad(), watched(self.module, names) as calls:
            self.call([self.tensor(array) for array in inputs], training=False)
        return {name: calls[name].output.cpu().numpy() for name in names}

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `Net.shapes`."""
        import torch

        args, kwargs = self.live.example
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
        names = [name for name, _ in self.module.named_modules() if name]
        with torch.no_grad(), watched(self.module, names) as calls:
            self.live.call([each.to(self.device) for each in given], training=False)
        return {
            name: tuple(call.output.shape)
            for name, call in calls.items()
            if isinstance(call.output, torch.Tensor) and call.output.is_floating_point()
        }

    def state(self) -> dict[str, Any]:
        """See `Net.state`."""
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self.module.state_dict().items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Net.restore`."""
        import torch

        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        self.module.load_state_dict(tensors, strict=True)

    def learner(
        self, training: Training, loss: Loss, features: Features | None = None
    ) -> TorchLearner:
        """See `Net.learner`."""
        import torch

        torch.set_num_threads(self.cores)
        return TorchLearner(self, training, loss, features)

    def seed(self, seed: int) -> None:
        """See `Net.seed`."""
        import torch

        torch.manual_seed(seed)


def _ordered(tensor: Any, order: Any) -> Any:
    """Images and kernels of convolutions so in memory. A copy: where they have one channel, the
    strides that operators go by may say the other order in a tensor that is in both."""
    return tensor.clone(memory_format=order) if tensor.ndim == 4 else tensor


def _alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether outputs are the same but for rounding."""
    if len(one) != len(other):
        return False
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape:
            return False
        most = float(a.double().abs().max()) if a.numel() else 0.0
        if not bool(((a.double() - b.double()).abs() <= ALIKE * most).all()):
            return False
    return True


def device_for(training: Training, *, mixed: bool) -> tuple[Any, str]:
    """Where PyTorch trains, and `History.where`.

    Raises:
        UsageError: a GPU is asked for, and PyTorch has none, or one that knows no bfloat16.
    """
    import torch

    words = " in bfloat16 and float32" if mixed else ""
    if training.device == "cpu" or (training.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu"), f"the CPU{words}" if mixed else ""
    if not torch.cuda.is_available():
        raise UsageError(
            f'device = "gpu", and PyTorch {torch.__version__} finds none',
            hint="pip's torch from the usual index has CUDA; nvidia-smi shows whether the driver "
            'runs; or write device = "cpu" in [training]',
        )
    name = torch.cuda.get_device_name()
    if mixed and not torch.cuda.is_bf16_supported():
        raise UsageError(
            f'precision = "mixed" takes bfloat16, which {name} does not have',
            hint='write precision = "float32" in [training]',
        )
    return torch.device("cuda"), f"{name}{words}"


def _kind(module: Any, name: str, parameter: Any) -> tuple[Kind, int] | None:
    """What a parameter is, and the axis of its output channels; None for what is no kernel.

    https://docs.pytorch.org/docs/stable/nn.html gives the shapes.
    """
    from torch import nn
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

    if parameter.ndim < 2:
        return None
    if isinstance(module, _ConvNd) and name != "weight":
        return None  # a norm of its weights
    if isinstance(module, _ConvTransposeNd):
        return "transposed", 1
    if isinstance(module, _ConvNd):
        alone = module.groups == module.in_channels and module.groups > 1
        return ("depthwise" if alone else "conv"), 0
    if isinstance(module, nn.Embedding):
        return "embedding", 0
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return "recurrent", 0
    if name == "weight" or isinstance(module, nn.MultiheadAttention):
        return "dense", 0
    return None


def _inner(kind: Kind, parameter: Any) -> int | None:
    """The axis of the input's channels where a kernel has places after it."""
    if parameter.ndim < 3:
        return None
    return {"conv": 1, "transposed": 0}.get(kind)


class TorchLearner:
    """See `Learner`: Adam on what is trainable."""

    def __init__(
        self, net: TorchNet, training: Training, loss: Loss, features: Features | None = None
    ) -> None:
        import torch

        self._net, self._training, self._loss, self._features = net, training, loss, features
        self._own = resolve_own(training.loss) if training.loss else None
        self._mixed = training.precision == "mixed" and net.may_mix
        self._trained = [p for p in net.module.parameters() if p.requires_grad]
        if not self._trained:
            raise frozen("call requires_grad_(True) on the module in your function")
        self._optimizer = torch.optim.Adam(self._trained, lr=training.learning_rate)

    def step(self, batch: Batch, rate: float) -> float:
        """See `Learner.step`."""
        import torch

        for group in self._optimizer.param_groups:
            group["lr"] = rate
        inputs, targets, teacher = self._tensors(batch)
        self._optimizer.zero_grad(set_to_none=True)
        try:
            value = self._value(inputs, targets, teacher, training=True)
            value.backward()
            self._optimizer.step()
        except torch.OutOfMemoryError as exc:
            raise ConversionError(
                f"{len(batch.targets)} samples a step do not fit the memory of the GPU",
                hint=f"lower batch, which is {self._training.batch}, in [training], or write "
                'device = "cpu" there',
            ) from exc
        except RuntimeError as exc:
            if self._net.device.type == "cpu" or "tensors" not in str(exc):
                raise
            raise ConversionError(
                f"{type(self._net.module).__name__} has tensors that do not go to the GPU: {exc}",
                hint='keep them with register_buffer, or write device = "cpu" in [training]',
            ) from exc
        return float(value.detach())

    def loss(self, batch: Batch) -> float:
        """See `Learner.loss`."""
        import torch

        inputs, targets, teacher = self._tensors(batch)
        with torch.no_grad():
            return float(self._value(inputs, targets, teacher, training=False))

    def gradients(self, batch: Batch) -> dict[int, Any]:
        """See `Learner.gradients`."""
        import torch

        inputs, targets, teacher = self._tensors(batch)
        value = self._total(self._net.call(inputs, training=False), targets, teacher)
        found = torch.autograd.grad(value, self._trained, allow_unused=True)
        return {
            id(parameter): gradient.cpu().numpy()
            for parameter, gradient in zip(self._trained, found, strict=True)
            if gradient is not None
        }

    def state(self) -> dict[str, Any]:
        """See `Learner.state`."""
        import torch

        return {
            f"{index}/{name}": torch.as_tensor(value).cpu().numpy().copy()
            for index, numbers in self._optimizer.state_dict()["state"].items()
            for name, value in numbers.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Learner.restore`."""
        import torch

        numbers: dict[int, dict[str, Any]] = {}
        for key, array in state.items():
            index, _, name = key.partition("/")
            numbers.setdefault(int(index), {})[name] = torch.from_numpy(array.copy())
        whole = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**whole, "state": numbers})

    def _value(
        self, inputs: Sequence[Any], targets: Any, teacher: Sequence[Any], *, training: bool
    ) -> Any:
        """The whole loss: see `Distillation`."""
        import torch
        from torch.nn import functional

        features, distill = self._features, self._training.distill
        if features is None or distill is None:
            return self._total(self._call(inputs, training=training), targets, teacher)
        with watched(self._net.module, features.layers) as mine:
            outputs = self._call(inputs, training=training)
        other = features.teacher
        assert isinstance(other, TorchNet)
        with torch.no_grad(), watched(other.module, features.layers) as theirs:
            other.call(inputs, training=False)
        apart = [
            functional.mse_loss(mine[name].output.float(), theirs[name].output.float())
            for name in features.layers
        ]
        return self._total(outputs, targets, teacher) + (
            distill.feature_weight * torch.stack(apart).mean()
        )

    def _call(self, inputs: Sequence[Any], *, training: bool) -> list[Any]:
        """Outputs; products in bfloat16 where the training is mixed, the loss never."""
        import torch

        if not self._mixed:
            return self._net.call(inputs, training=training)
        with torch.autocast(self._net.device.type, dtype=torch.bfloat16):
            outputs = self._net.call(inputs, training=training)
        return [each.float() if each.is_floating_point() else each for each in outputs]

    def _tensors(self, batch: Batch) -> tuple[list[Any], Any, list[Any]]:
        put = self._net.tensor
        return [*map(put, batch.inputs)], put(batch.targets), [*map(put, batch.teacher)]

    def _total(self, outputs: Sequence[Any], targets: Any, teacher: Sequence[Any]) -> Any:
        """The loss itself, and the teacher's part: the formula stands at `Distillation`."""
        from torch.nn import functional

        distill = self._training.distill
        share = distill.weight if distill and teacher else 0.0
        value = (1 - share) * self._task(outputs, targets) if share < 1 else 0.0
        if not share or distill is None:
            return value
        for index, (one, two) in enumerate(zip(outputs, teacher, strict=True)):
            by_squares = index != self._loss.output or self._loss.kind != "classes"
            if by_squares and one.is_floating_point():
                value = value + share * functional.mse_loss(one, two.to(one.dtype))
        if self._loss.kind != "classes":
            return value
        mine, other = outputs[self._loss.output], teacher[self._loss.output]
        heat = distill.temperature
        student = functional.log_softmax(self._scores(mine) / heat, dim=-1)
        target = functional.log_softmax(self._scores(other.to(mine.dtype)) / heat, dim=-1)
        apart = (target.exp() * (target - student)).sum(dim=-1).mean()
        return value + share * heat**2 * apart

    def _task(self, outputs: Sequence[Any], targets: Any) -> Any:
        from torch.nn import functional

        if self._own is not None:
            names = [spec.name for spec in self._net.live.signature.outputs]
            given = dict(zip(names, outputs, strict=True)) if len(outputs) > 1 else outputs[0]
            with own_loss(self._training.loss, outputs, targets):
                return self._own(given, targets).mean()
        output = outputs[self._loss.output]
        if self._loss.kind == "classes":
            scores = self._scores(output)
            classes = scores.shape[-1]
            ids = targets.reshape(-1).long()
            counted = (ids >= 0) & (ids < classes)  # the others are no class
            found = functional.cross_entropy(
                scores.reshape(-1, classes), ids.where(counted, ids.new_zeros(())), reduction="none"
            )
            return (found * counted).sum() / counted.sum().clamp_min(1)
        wanted = targets.reshape(output.shape).to(output.dtype)
        if self._loss.kind == "numbers":
            return functional.mse_loss(output, wanted)
        if self._loss.probabilities:
            return functional.binary_cross_entropy(output.clamp(TINY, 1 - TINY), wanted)
        return functional.binary_cross_entropy_with_logits(output, wanted)

    def _scores(self, output: Any) -> Any:
        """Logits with the classes last; the logarithm of probabilities is one."""
        moved = output.movedim(self._loss.axis, -1)
        return moved.clamp_min(TINY).log() if self._loss.probabilities else moved
