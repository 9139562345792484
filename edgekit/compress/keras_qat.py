"""Keras models, Keras 3 and tf_keras alike, that round as TFLite's integers do.

Nothing is added to the model: while it is called for training, its layers' own ``call`` is wrapped
and rounded kernels stand in for theirs, and afterwards all is as it was. (TensorFlow's Model
Optimization Toolkit rebuilds the model of wrapper layers instead, which only tf_keras allows.)

Kernels are rounded as they are, before a batch norm is folded into them. With a scale for each
output channel that is the same as afterwards: folding multiplies a channel by one number, its scale
is multiplied by that too, and the integers stay.

Where activations are rounded is found by calling the model once and following its tensors.
Functions called between layers in a subclassed model are not seen; there the layers' inputs are
rounded, and a ReLU among these functions is taken for an operator of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.keras_net import KERNELS, KerasLearner, KerasNet, _children
from edgekit.compress.net import Batch, Loss, matching
from edgekit.compress.rounding import (
    AVERAGING,
    GIVEN,
    LEAST_RANGE,
    NORM,
    PASSING,
    Ends,
    Key,
    Op,
    Place,
    block,
    levels,
    means,
    places,
    plan,
)
from edgekit.core.compression import Training

if TYPE_CHECKING:
    from edgekit.compress.qat import QuantizeAware

# Words of `rounding` for what Keras calls otherwise; numbers of dimensions are left out of names.
WORDS = {
    "zeropadding": "padding", "pad": "padding", "inputlayer": "input", "strided_slice": "slice",
    "cast": "identity", "stop_gradient": "identity", "activityregularization": "identity",
    "spatialdropout": "dropout", "gaussiandropout": "dropout", "alphadropout": "dropout",
    "gaussiannoise": "noise", "expanddims": "unsqueeze", "expand_dims": "unsqueeze",
    "avgpool": "averagepooling", "maxpool": "maxpooling", "sub": "subtract",
}  # fmt: skip


def symmetric(values: Any, steps: int, axes: Sequence[int] | None) -> Any:
    """`values` rounded to whole steps of the largest magnitude / `steps`; gradients go through.

    Args:
        steps: in each direction: 127 for 8 bits, 7 for 4.
        axes: over which a scale is shared; None is all.
    """
    import tensorflow as tf

    largest = tf.reduce_max(tf.abs(values), axis=axes, keepdims=True)
    step = tf.where(largest > 0, largest, tf.ones_like(largest)) / steps
    return values + tf.stop_gradient(tf.round(values / step) * step - values)


def blocks(values: Any, steps: int, size: int) -> Any:
    """`symmetric` of a dense kernel (inputs, outputs) with a scale for `size` inputs in a row."""
    import tensorflow as tf

    parts = tf.reshape(values, (-1, size, values.shape[-1]))
    return tf.reshape(symmetric(parts, steps, [1]), values.shape)


class Range:
    """What an activation is rounded over, and its rounding.

    Args:
        fixed: least and greatest, where they never change.
    """

    def __init__(self, bits: int, fixed: Ends | None = None) -> None:
        import tensorflow as tf

        self.bits, self.fixed = bits, fixed
        self.ends = tf.Variable([0.0, 0.0], trainable=False)
        self.seen = tf.Variable(0.0, trainable=False)  # batches

    def rounded(self, values: Any, looking: Literal["", "all", "average"]) -> Any:
        """`values` on this range's scale.

        Args:
            looking: whether the range moves towards theirs ("average"), is widened to hold them
                while nothing is rounded ("all"), or stays.
        """
        import tensorflow as tf

        kind = values.dtype
        numbers = tf.cast(values, tf.float32)
        if looking and self.fixed is None:
            # Integers here always have an exact zero.
            low = tf.minimum(tf.reduce_min(numbers), 0.0)
            high = tf.maximum(tf.reduce_max(numbers), 0.0)
            self._look(tf.stop_gradient(tf.stack([low, high])), looking)
        if looking == "all":
            return values
        low, high = self._ends()
        return tf.cast(
            tf.quantization.fake_quant_with_min_max_vars(numbers, low, high, self.bits), kind
        )

    def _look(self, ends: Any, looking: str) -> None:
        import tensorflow as tf

        wider = tf.stack([tf.minimum(self.ends[0], ends[0]), tf.maximum(self.ends[1], ends[1])])
        moved = self.ends + AVERAGING * (ends - self.ends)
        after = wider if looking == "all" else moved
        self.ends.assign(tf.where(self.seen > 0, after, ends))
        self.seen.assign_add(1.0)

    def _ends(self) -> tuple[Any, Any]:
        import tensorflow as tf

        if self.fixed is not None:
            low, high = self.fixed
            step = (high - low) / 2**self.bits
            return tf.constant(low), tf.constant(high - step)
        low, high = self.ends[0], self.ends[1]
        if self.bits == 16:  # 16-bit integers have no zero point
            high = tf.maximum(-low, high)
            low = -high
        return low, tf.maximum(high, low + LEAST_RANGE)


# ------------------------------------------------------------------------- what is in a model


@dataclass
class Part:
    """A layer or operation of the model that is wrapped.

    Attributes:
        whole: whether it is one for the export, nothing inside it is wrapped.
        kernels: what stands in for them: (owner, its attribute, variable, rounding).
    """

    path: str
    layer: Any
    whole: bool
    spared: bool = False
    kernels: list[tuple[Any, str, Any, Callable[[Any], Any]]] = field(default_factory=list)

    @property
    def word(self) -> str:
        """What it is, in lower case: "conv2d", "add"; "relu" for an Activation of that name."""
        kind = type(self.layer).__name__.lower()
        symbol = getattr(self.layer, "symbol", "")  # tf_keras: a function called on its tensors
        if symbol:
            kind = str(symbol).rpartition(".")[2].lower()
        if kind == "activation":
            return function_name(self.layer.activation)
        if kind == "relu":
            return "relu" if _is_plain(self.layer) else "clipped"
        bare = re.sub(r"([1-3]d|v\d)$", "", kind)
        return WORDS.get(bare, bare)

    @property
    def last(self) -> str:
        """See `Op`."""
        if not self.kernels or _repeats(self.layer):
            return ""
        return function_name(getattr(self.layer, "activation", None))


def function_name(function: Any) -> str:
    """The name of an activation function; "linear" for none."""
    if function is None:
        return "linear"
    return str(getattr(function, "__name__", type(function).__name__)).lower()


def _is_plain(layer: Any) -> bool:
    """Whether a ReLU is one that an operator can end with."""
    slope = getattr(layer, "negative_slope", 0)
    threshold = getattr(layer, "threshold", 0)
    ends = getattr(layer, "max_value", None)
    return not slope and not threshold and ends in (None, 6)


def parts(model: Any) -> list[Part]:
    """All layers and operations, each once, by the user's paths."""
    found: list[Part] = []
    seen: set[int] = set()

    def walk(owner: Any, before: str) -> None:
        for layer in getattr(owner, "operations", None) or _children(owner):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path = f"{before}{layer.name}"
            inner = _children(layer) if hasattr(layer, "weights") else ()
            # A layer may have another one as its activation function.
            own = getattr(layer, "activation", None)
            whole = _repeats(layer) or all(each is own for each in inner)
            found.append(Part(path, layer, whole))
            if whole:
                seen.update(id(each) for each in _below(layer))
            else:
                walk(layer, f"{path}/")

    walk(model, "")
    return found


def _repeats(layer: Any) -> bool:
    """Whether it calls what is in it in a loop, where nothing can be looked at."""
    return any(
        each.__name__ in ("RNN", "Bidirectional", "TimeDistributed", "ConvRNN")
        for each in type(layer).__mro__
    )


def _below(layer: Any) -> Iterator[Any]:
    """Layers inside it, at any depth."""
    for each in _children(layer) if hasattr(layer, "weights") else ():
        yield each
        yield from _below(each)


def kernel_kind(layer: Any, attribute: str) -> str:
    """ "dense", "conv", "depthwise", "transposed" or "recurrent"."""
    names = " ".join(each.__name__ for each in type(layer).__mro__)  # a user's may be made of one
    if attribute == "recurrent_kernel" or hasattr(layer, "recurrent_kernel"):
        return "recurrent"
    if attribute == "depthwise_kernel" or "DepthwiseConv" in names:
        return "depthwise"
    if "Conv" in names:
        return "transposed" if "Transpose" in names else "conv"
    return "dense"


def shared_axes(layer: Any, attribute: str, rank: int) -> list[int]:
    """The axes of a kernel that a scale is shared over: all but those of outputs."""
    equation, kind = getattr(layer, "equation", None), kernel_kind(layer, attribute)
    if attribute == "kernel" and isinstance(equation, str):  # EinsumDense: "abc,cd->abd"
        inputs, _, outputs = equation.replace(" ", "").replace("...", "").partition("->")
        letters = inputs.partition(",")[2]
        return [axis for axis, letter in enumerate(letters) if letter not in outputs]
    if kind == "depthwise":  # (…, inputs, multiplier): each pair is an output
        return list(range(rank - 2))
    if kind == "transposed":  # (…, outputs, inputs)
        return [*range(rank - 2), rank - 1]
    return list(range(rank - 1))


def roundings(part: Part, how: QuantizeAware) -> None:
    """Find the part's kernels, and how each is rounded."""
    for owner in [part.layer, *(_below(part.layer) if part.whole else ())]:
        for attribute in KERNELS:
            variable = getattr(owner, attribute, None)
            if attribute == "embeddings" or variable is None or not hasattr(variable, "assign"):
                continue  # a lookup multiplies nothing: its numbers are rounded as activations
            rounding = _rounding(owner, attribute, len(variable.shape), how)
            # Keras 3 keeps some under another name, behind a property.
            part.kernels += [
                (owner, name, variable, rounding)
                for name, value in vars(owner).items()
                if value is variable
            ]


def _rounding(layer: Any, attribute: str, rank: int, how: QuantizeAware) -> Callable[[Any], Any]:
    kind = kernel_kind(layer, attribute)
    steps = levels(kind, how.bits)
    axes = None if how.weights == "per-tensor" else shared_axes(layer, attribute, rank)

    def rounding(values: Any) -> Any:
        if size := block(how.weights, kind, values.shape, 0):
            return blocks(values, steps, size)
        return symmetric(values, steps, axes)

    return rounding


# --------------------------------------------------------------------------------------- the net


class RoundingKerasNet(KerasNet):
    """See `edgekit.compress.qat.Rounding`. It shares the weights with the net it is made of."""

    def __init__(self, net: KerasNet, how: QuantizeAware, example: Sequence[Any]) -> None:
        super().__init__(net.live)
        self._how = how
        self._parts = parts(self.model)
        spared = {w.layer for w in matching(self.weights().values(), how.exclude, "exclude")}
        for part in self._parts:
            part.spared = part.path in spared or means(how.in_float, [part.path])
            if not part.spared:
                roundings(part, how)
        self.live = _RoundingLive(net.live, self._parts, how.activations)
        self.live.find(example)

    @property
    def weights_rounded(self) -> int:
        """Kernels, shared ones once."""
        return len({id(each[2]) for part in self._parts for each in part.kernels})

    @property
    def activations_rounded(self) -> int:
        """Tensors, those with a fixed scale too."""
        return len(self.live.ranges)

    @property
    def frozen(self) -> bool:
        """Whether ranges and batch norms stay as they are."""
        return bool(self.live.frozen)

    def calibrate(self, inputs: Sequence[Any]) -> None:
        """See `Rounding.calibrate`."""
        self.live.looking = "all"
        for each in self.live.ranges.values():
            each.seen.assign(0.0)
        try:
            self.predict(inputs)
        finally:
            self.live.looking = ""

    def freeze(self) -> None:
        """See `Rounding.freeze`."""
        self.live.frozen = True

    def state(self) -> dict[str, Any]:
        """See `Net.state`: ranges too."""
        ends = {f"range/{i}": r.ends.numpy() for i, r in enumerate(self.live.ranges.values())}
        return {**super().state(), **ends}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Net.restore`."""
        super().restore(state)
        for index, each in enumerate(self.live.ranges.values()):
            each.ends.assign(state[f"range/{index}"])
            each.seen.assign(1.0)

    def learner(self, training: Training, loss: Loss) -> KerasLearner:
        """See `Net.learner`."""
        return _Learner(self, training, loss)


class _Learner(KerasLearner):
    """One that traces its step anew once the net is frozen."""

    _net: RoundingKerasNet
    _froze = False

    def step(self, batch: Batch, rate: float) -> float:
        import tensorflow as tf

        if self._net.frozen and not self._froze:
            self._step = tf.function(self._traced, reduce_retracing=True)
            self._froze = True
        return super().step(batch, rate)


class _RoundingLive:
    """A `LiveModel` whose calls round.

    Attributes:
        ranges: of activations.
        looking: how ranges change while nothing is trained: see `Range.rounded`.
    """

    def __init__(self, live: Any, found: Sequence[Part], bits: int) -> None:
        self.module, self.signature, self.keras = live.module, live.signature, live.keras
        self.edits, self.take, self.save = live.edits, live.take, live.save
        self.looking: Literal["", "all", "average"] = ""
        self.frozen = False
        self.ranges: dict[Place, Range] = {}
        self._live, self._parts, self._bits = live, found, bits
        self._plan: dict[Key, str] = {}

    def call(self, inputs: Sequence[Any], *, training: bool) -> list[Any]:
        """See `LiveModel.call`."""
        looking = self.looking or ("average" if training and not self.frozen else "")
        rounder = _Rounder(self._plan, self.ranges, looking, frozen=self.frozen)
        with wrapped(self._parts, rounder.call):
            given = [rounder.input(index, each) for index, each in enumerate(inputs)]
            return list(self._live.call(given, training=training))

    def find(self, example: Sequence[Any]) -> None:
        """Find where activations are rounded: follow the tensors through one call with these."""
        import tensorflow as tf

        if not self._bits:
            return
        watcher = _Watcher()

        def look(*inputs: Any) -> Any:
            watcher.given = watcher.ids(inputs)
            with wrapped(self._parts, watcher.call):
                outputs = self._live.call(inputs, training=False)
            watcher.left = watcher.ids(outputs)
            return outputs

        specs = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in example]
        tf.function(look).get_concrete_function(*specs)
        self._plan = plan(watcher.calls, watcher.left)
        for place, fixed in places(watcher.calls, watcher.given, self._plan).items():
            self.ranges[place] = Range(self._bits, fixed)


# ------------------------------------------------------------------------------ during a call


@contextmanager
def wrapped(found: Sequence[Part], hook: Callable[..., Any]) -> Iterator[None]:
    """Within it, calls of the parts go to ``hook(part, original, args, kwargs)``."""
    import tensorflow as tf

    # tf_keras turns Python's `if` in a user's layer into TensorFlow's; what is wrapped here too.
    convert = tf.__internal__.autograph.tf_convert
    context = tf.__internal__.autograph.control_status_ctx()
    kept = [(part.layer, vars(part.layer).get("call")) for part in found]
    try:
        for part in found:
            original = convert(part.layer.call, context)
            vars(part.layer)["call"] = _hooked(part, original, hook)
        yield
    finally:
        for layer, own in kept:
            if own is None:
                vars(layer).pop("call", None)
            else:
                vars(layer)["call"] = own


def _hooked(part: Part, original: Any, hook: Callable[..., Any]) -> Any:
    import tensorflow as tf

    def call(*args: Any, **kwargs: Any) -> Any:
        return hook(part, original, args, kwargs)

    return tf.autograph.experimental.do_not_convert(call)


class _Counter:
    """Numbers the calls of each part."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}

    def key(self, part: Part) -> Key:
        number = self._calls.get(part.path, 0)
        self._calls[part.path] = number + 1
        return part.path, number


class _Watcher(_Counter):
    """Writes down which call gives a tensor and which takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Op] = []
        self.given: list[int] = []
        self.left: list[int] = []
        self._alive: list[Any] = []  # so that no id is given twice

    def ids(self, nest: Any) -> list[int]:
        """Of the floating-point tensors in it."""
        tensors = floats(nest)
        self._alive += tensors
        return [id(each) for each in tensors]

    def call(self, part: Part, original: Any, args: Any, kwargs: Any) -> Any:
        """See `wrapped`."""
        if not part.whole:
            return original(*args, **kwargs)
        key, inputs = self.key(part), self.ids((args, kwargs))
        outputs = original(*args, **kwargs)
        made = self.ids(outputs)
        if made != inputs[:1]:  # a dropout gives back what it was given
            self.calls.append(Op(key, part.word, inputs, made, part.last, part.spared))
        return outputs


class _Rounder(_Counter):
    """Calls parts with what is rounded."""

    def __init__(
        self,
        decided: dict[Key, str],
        ranges: dict[Place, Range],
        looking: Literal["", "all", "average"],
        *,
        frozen: bool,
    ) -> None:
        super().__init__()
        self._plan, self._ranges, self._looking = decided, ranges, looking
        self._frozen = frozen
        self._known: dict[int, tuple[Any, Range]] = {}  # the tensor, too: so that its id is its own

    def input(self, index: int, values: Any) -> Any:
        """The model's own input, rounded."""
        return self._rounded(values, self._ranges.get((GIVEN, f"in {index}")))

    def call(self, part: Part, original: Any, args: Any, kwargs: Any) -> Any:
        """See `wrapped`."""
        import tensorflow as tf

        if self._frozen and part.word == NORM:
            args, kwargs = args[:1], {**kwargs, "training": False}
        if not part.whole:
            with self._standing_in(part, None):
                return original(*args, **kwargs)
        key = self.key(part)
        count = iter(range(len(tf.nest.flatten((args, kwargs)))))

        def taken(values: Any) -> Any:
            if not is_float(values):
                return values
            return self._rounded(values, self._ranges.get((key, f"in {next(count)}")))

        args, kwargs = tf.nest.map_structure(taken, (args, kwargs))
        before = self._ranges.get((key, "before"))
        change = None if before is None else (lambda values: self._rounded(values, before))
        with self._standing_in(part, change):
            outputs = original(*args, **kwargs)
        return self._given(part, key, floats((args, kwargs)), outputs)

    def _standing_in(self, part: Part, before: Callable[[Any], Any] | None) -> Any:
        return _standing_in(part, before, kernels=self._looking != "all")

    def _given(self, part: Part, key: Key, inputs: Sequence[Any], outputs: Any) -> Any:
        import tensorflow as tf

        first = self._known.get(id(inputs[0])) if inputs else None
        decided = self._plan.get(key)
        if decided is None:
            if first and part.word in PASSING:
                self._known |= {id(each): (each, first[1]) for each in floats(outputs)}
            return outputs
        count = iter(range(len(tf.nest.flatten(outputs))))

        def made(values: Any) -> Any:
            if not is_float(values):
                return values
            found = self._ranges.get((key, f"out {next(count)}"))
            if decided == "same":
                # It is on its input's scale, so that it does not change it.
                return self._rounded(values, first[1] if first else None, looking=False)
            return self._rounded(values, found)

        return tf.nest.map_structure(made, outputs)

    def _rounded(self, values: Any, place: Range | None, *, looking: bool = True) -> Any:
        if place is None:
            return values
        rounded = place.rounded(values, self._looking if looking else "")
        mask = getattr(values, "_keras_mask", None)
        if mask is not None:
            rounded._keras_mask = mask
        self._known[id(rounded)] = (rounded, place)
        return rounded


@contextmanager
def _standing_in(
    part: Part, before: Callable[[Any], Any] | None, *, kernels: bool
) -> Iterator[None]:
    """Within it, the part's kernels are rounded, and what its activation takes goes through
    `before`.
    """
    import tensorflow as tf

    rounded = part.kernels if kernels else []
    kept = [(owner, name, variable) for owner, name, variable, _ in rounded]
    if before:
        kept.append((part.layer, "activation", part.layer.activation))
    try:
        for owner, name, variable, rounding in rounded:
            vars(owner)[name] = rounding(tf.convert_to_tensor(variable))
        if before:
            function = part.layer.activation
            vars(part.layer)["activation"] = lambda values: function(before(values))
        yield
    finally:
        for owner, name, value in kept:
            vars(owner)[name] = value


def is_float(values: Any) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    import tensorflow as tf

    return bool(tf.is_tensor(values) and values.dtype.is_floating)


def floats(nest: Any) -> list[Any]:
    """The floating-point tensors in it, in order."""
    import tensorflow as tf

    return [each for each in tf.nest.flatten(nest) if is_float(each)]
