"""Keras models, Keras 3 and tf_keras alike, that round as TFLite's integers do.

Nothing is added to the model: while it is called for training, its layers' own ``call`` is wrapped
and rounded kernels stand in for theirs, and afterwards all is as it was. (TensorFlow's Model
Optimization Toolkit rebuilds the model of wrapper layers instead, which only tf_keras allows.)

Kernels are rounded as they are, before a batch norm is folded into them. With a scale for each
output channel that is the same as afterwards: folding multiplies a channel by one number, its scale
is multiplied by that too, and the integers stay.

Where activations are rounded is found by calling the model once and following its tensors: see
`plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.keras_net import KERNELS, KerasLearner, KerasNet, _children, _kind
from edgekit.compress.net import Batch, Loss, matching
from edgekit.core.compression import Training
from edgekit.export.ranges import AVERAGING

if TYPE_CHECKING:
    from edgekit.compress.qat import QuantizeAware

# Layers that only move numbers about, and what they are called as operations. What they give is
# rounded if what they took is.
MOVES = frozenset(
    {"flatten", "reshape", "permute", "transpose", "maxpooling1d", "maxpooling2d", "maxpooling3d",
     "globalmaxpooling1d", "globalmaxpooling2d", "zeropadding1d", "zeropadding2d", "zeropadding3d",
     "cropping1d", "cropping2d", "repeatvector", "getitem", "squeeze", "expanddims", "expand_dims",
     "inputlayer", "masking", "pad", "strided_slice", "slice", "stop_gradient", "cast"}
)  # fmt: skip
# Layers that do nothing outside of training.
IDENTITIES = frozenset(
    {"dropout", "spatialdropout1d", "spatialdropout2d", "spatialdropout3d", "gaussiandropout",
     "alphadropout", "gaussiannoise", "activityregularization", "identity"}
)  # fmt: skip
# What gives numbers on the scale of those it takes, rounded to it.
SAME_SCALE = frozenset({"averagepooling1d", "averagepooling2d", "upsampling1d", "upsampling2d"})
# The scale is always the same: 256 steps over [0, 1), or [-1, 1).
FIXED = {"softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
FUSED = ("relu", "relu6")  # are a part of the operator before them
SUMS = frozenset({"add", "subtract", "multiply"})  # operators that a ReLU can be a part of
LEAST_RANGE = 1e-6  # narrower ones are widened


def symmetric(values: Any, levels: int, axes: Sequence[int] | None) -> Any:
    """`values` rounded to whole steps of the largest magnitude / `levels`; gradients go through.

    Args:
        levels: steps in each direction: 127 for 8 bits, 7 for 4.
        axes: over which a scale is shared; None is all.
    """
    import tensorflow as tf

    largest = tf.reduce_max(tf.abs(values), axis=axes, keepdims=True)
    step = tf.where(largest > 0, largest, tf.ones_like(largest)) / levels
    return values + tf.stop_gradient(tf.round(values / step) * step - values)


def blocks(values: Any, levels: int, size: int) -> Any:
    """`symmetric` of a dense kernel (inputs, outputs) with a scale for `size` inputs in a row."""
    import tensorflow as tf

    parts = tf.reshape(values, (-1, size, values.shape[-1]))
    return tf.reshape(symmetric(parts, levels, [1]), values.shape)


class Range:
    """What an activation is rounded over, and its rounding.

    Args:
        fixed: least and greatest, where they never change.
    """

    def __init__(self, bits: int, fixed: tuple[float, float] | None = None) -> None:
        import tensorflow as tf

        self.bits, self.fixed = bits, fixed
        self.ends = tf.Variable([0.0, 0.0], trainable=False)
        self.seen = tf.Variable(0.0, trainable=False)  # batches

    def rounded(self, values: Any, looking: Literal["", "all", "average"]) -> Any:
        """`values` on this range's scale.

        Args:
            looking: whether the range is widened to hold them ("all"), moves towards theirs
                ("average"), or stays.
        """
        import tensorflow as tf

        kind = values.dtype
        numbers = tf.cast(values, tf.float32)
        if looking and self.fixed is None:
            # Integers here always have an exact zero.
            low = tf.minimum(tf.reduce_min(numbers), 0.0)
            high = tf.maximum(tf.reduce_max(numbers), 0.0)
            self._look(tf.stop_gradient(tf.stack([low, high])), looking)
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
            return str(symbol).rpartition(".")[2].lower()
        if kind == "activation":
            return function_name(self.layer.activation)
        if kind == "relu":
            return "relu" if _is_plain(self.layer) else "clipped"
        return kind


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


def channel_axes(layer: Any, attribute: str, rank: int) -> list[int]:
    """The axes of a kernel that a scale is shared over: all but those of outputs."""
    equation = getattr(layer, "equation", None)
    if attribute == "kernel" and isinstance(equation, str):  # EinsumDense: "abc,cd->abd"
        inputs, _, outputs = equation.replace(" ", "").replace("...", "").partition("->")
        letters = inputs.partition(",")[2]
        return [axis for axis, letter in enumerate(letters) if letter not in outputs]
    kind, axis = _kind(layer, attribute, rank)
    if kind == "depthwise":  # (…, inputs, multiplier): each pair is an output
        return list(range(rank - 2))
    return [each for each in range(rank) if each != axis % rank]


def roundings(part: Part, how: QuantizeAware) -> None:
    """Find the part's kernels, and how each is rounded."""
    for owner in [part.layer, *(_below(part.layer) if part.whole else ())]:
        for attribute in KERNELS:
            variable = getattr(owner, attribute, None)
            if attribute == "embeddings" or not hasattr(variable, "assign"):
                continue  # a lookup multiplies nothing: its numbers are rounded as activations
            rounding = _rounding(owner, attribute, len(variable.shape), how)
            # Keras 3 keeps some under another name, behind a property.
            part.kernels += [
                (owner, name, variable, rounding)
                for name, value in vars(owner).items()
                if value is variable
            ]


def _rounding(layer: Any, attribute: str, rank: int, how: QuantizeAware) -> Callable[[Any], Any]:
    kind, _ = _kind(layer, attribute, rank)
    four = how.bits == 4 and kind in ("conv", "dense")  # LiteRT has no other kernels for them
    levels = 7 if four else 127
    size = int(how.weights.removeprefix("block-")) if how.weights.startswith("block-") else 0
    axes = None if how.weights == "per-tensor" else channel_axes(layer, attribute, rank)

    def rounding(values: Any) -> Any:
        if size and kind == "dense" and rank == 2 and values.shape[0] % size == 0:
            return blocks(values, levels, size)
        return symmetric(values, levels, axes)

    return rounding


# ------------------------------------------------------------------------------------- the plan

Key = tuple[str, int]  # a part's path, and the number of its call
Place = tuple[Key, str]  # which of its tensors: "in 0", "before" its activation, "out 0"
GIVEN: Key = ("", 0)  # what the model is given


@dataclass
class Call:
    """One call of a part, as it was seen; tensors are told apart by their ids."""

    key: Key
    part: Part
    inputs: list[int]
    outputs: list[int]


def plan(calls: Sequence[Call], given: Sequence[int], left: Sequence[int]) -> dict[Key, str]:
    """What is done to the outputs of each call: "own" range, "same" range as its input, a function
    of `FIXED`, or nothing, if it is not in here.

    As in TFLite: the output of each operator is rounded, where an operator includes the batch norm
    and the ReLU after it. So nothing is rounded between these. Functions called between layers in
    a subclassed model are not seen; there the layers' inputs are rounded, and a ReLU among them is
    taken for an operator of its own.

    Args:
        given, left: the model's inputs and outputs.
    """
    readers: dict[int, list[Call]] = {}
    for call in calls:
        for tensor in call.inputs:
            readers.setdefault(tensor, []).append(call)
    found: dict[Key, str] = {}
    for call in calls:
        word = call.part.word
        if word in MOVES or word in IDENTITIES or word == "linear" or call.part.spared:
            continue
        if _goes_on(call, readers, left):
            continue
        name = _last(call.part) or word
        if name in FIXED:
            # The loss takes the logarithm of the model's last softmax: that must not be zero.
            if not _leaves(call, readers, left):
                found[call.key] = name
        else:
            found[call.key] = "same" if word in SAME_SCALE else "own"
    return found


def places(
    calls: Sequence[Call], given: Sequence[int], decided: dict[Key, str]
) -> dict[Place, tuple[float, float] | None]:
    """Every tensor that has a range of its own; the range, where it is fixed."""
    found: dict[Place, tuple[float, float] | None] = {
        (GIVEN, f"in {index}"): None for index in range(len(given))
    }
    known = set(given)
    for call in calls:
        if call.part.spared:
            continue
        # From a layer in float, or from a function that was not seen.
        found |= {
            (call.key, f"in {index}"): None
            for index, tensor in enumerate(call.inputs)
            if tensor not in known
        }
        if _last(call.part) not in ("", "linear", *FUSED):
            found[call.key, "before"] = None
        how = decided.get(call.key, "same")
        if how != "same":
            found |= {(call.key, f"out {i}"): FIXED.get(how) for i in range(len(call.outputs))}
        known.update(call.outputs)
    return found


def _last(part: Part) -> str:
    """The activation function that a layer with kernels ends with, "linear" for none; empty for
    another layer.
    """
    if not part.kernels or _repeats(part.layer):
        return ""
    return function_name(getattr(part.layer, "activation", None))


def _goes_on(call: Call, readers: dict[int, list[Call]], left: Sequence[int]) -> bool:
    """Whether its operator has not ended: what reads it is a part of it."""
    reader = _only_reader(call, readers, left)
    if reader is None or reader.part.spared:
        return False
    word, after = call.part.word, reader.part.word
    multiplies = _last(call.part) == "linear"
    if after.startswith("batchnormalization"):
        return multiplies
    norm = word.startswith("batchnormalization")
    return after in FUSED and (multiplies or norm or word in SUMS)


def _only_reader(call: Call, readers: dict[int, list[Call]], left: Sequence[int]) -> Call | None:
    """The one call that reads what it gives, behind those that do nothing."""
    while True:
        if len(call.outputs) != 1 or call.outputs[0] in left:
            return None
        found = readers.get(call.outputs[0], [])
        if len(found) != 1:
            return None
        call = found[0]
        if call.part.word not in IDENTITIES and call.part.word != "linear":
            return call


def _leaves(call: Call, readers: dict[int, list[Call]], left: Sequence[int]) -> bool:
    """Whether the model gives it out, perhaps in another shape."""
    return any(
        tensor in left
        or any(
            reader.part.word in MOVES | IDENTITIES | {"linear"} and _leaves(reader, readers, left)
            for reader in readers.get(tensor, [])
        )
        for tensor in call.outputs
    )


# --------------------------------------------------------------------------------------- the net


class RoundingKerasNet(KerasNet):
    """See `edgekit.compress.qat.Rounding`. It shares the weights with the net it is made of."""

    def __init__(self, net: KerasNet, how: QuantizeAware) -> None:
        super().__init__(net.live)
        self._how = how
        self._parts = parts(self.model)
        spared = {w.layer for w in matching(self.weights().values(), how.exclude, "exclude")}
        for part in self._parts:
            part.spared = part.path in spared or _means(how.in_float, part.path)
            if not part.spared:
                roundings(part, how)
        self.live = _RoundingLive(net.live, self._parts, how.activations)
        self.live.find()

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
        try:
            self.predict(inputs)
        finally:
            self.live.looking = ""

    def freeze(self) -> None:
        """See `Rounding.freeze`."""
        self.live.frozen = True

    def finish(self) -> None:
        """See `Rounding.finish`: the weights are the same ones."""

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


def _means(patterns: Sequence[str], path: str) -> bool:
    import fnmatch

    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


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

    def find(self) -> None:
        """Find where activations are rounded: follow the tensors through one call."""
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

        specs = [tf.TensorSpec(each.shape, each.dtype) for each in self.module.inputs]
        tf.function(look).get_concrete_function(*specs)
        self._plan = plan(watcher.calls, watcher.given, watcher.left)
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
        self.calls: list[Call] = []
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
        self.calls.append(Call(key, part, inputs, self.ids(outputs)))
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

        if self._frozen and part.word.startswith("batchnormalization"):
            args, kwargs = args[:1], {**kwargs, "training": False}
        if not part.whole:
            with _standing_in(part, None):
                return original(*args, **kwargs)
        key = self.key(part)
        count = iter(range(len(tf.nest.flatten((args, kwargs)))))

        def taken(values: Any) -> Any:
            if not is_float(values):
                return values
            return self._rounded(values, self._ranges.get((key, f"in {next(count)}")))

        args, kwargs = tf.nest.map_structure(taken, (args, kwargs))
        before = self._ranges.get((key, "before"))
        with _standing_in(part, before and (lambda values: self._rounded(values, before))):
            outputs = original(*args, **kwargs)
        return self._given(part, key, floats((args, kwargs)), outputs)

    def _given(self, part: Part, key: Key, inputs: Sequence[Any], outputs: Any) -> Any:
        import tensorflow as tf

        first = self._known.get(id(inputs[0])) if inputs else None
        decided = self._plan.get(key)
        if decided is None:
            if first and part.word in MOVES | IDENTITIES | {"linear"}:
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
def _standing_in(part: Part, before: Callable[[Any], Any] | None) -> Iterator[None]:
    """Within it, the part's kernels are rounded, and what its activation takes goes through
    `before`.
    """
    import tensorflow as tf

    kept = [(owner, name, variable) for owner, name, variable, _ in part.kernels]
    if before:
        kept.append((part.layer, "activation", part.layer.activation))
    try:
        for owner, name, variable, rounding in part.kernels:
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

    return tf.is_tensor(values) and values.dtype.is_floating


def floats(nest: Any) -> list[Any]:
    """The floating-point tensors in it, in order."""
    import tensorflow as tf

    return [each for each in tf.nest.flatten(nest) if is_float(each)]
