"""Keras models, Keras 3 and tf_keras alike, as a `Net`. Runs in a worker of TensorFlow.

Nothing here needs the model to be moved to another Keras: layers are asked for their kernels, and
the training loop is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgekit.compress.keras_graph import calls, exposed, packed
from edgekit.compress.net import Batch, Features, Kind, Loss, Weight, frozen, own_loss
from edgekit.core.compression import Training
from edgekit.core.errors import UsageError
from edgekit.core.registry import resolve_own
from edgekit.work.pool import CORES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

BATCH = 64  # samples at a time in `predict`
# Attributes that hold a kernel.
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "embeddings")
TINY = 1e-7  # of a probability whose logarithm is taken


class KerasNet:
    """See `Net`."""

    framework = "keras"

    def __init__(self, live: Any) -> None:
        self.live = live
        self.samples: Sequence[Array] = ()
        self.cores = CORES  # one model is trained at a time
        self._walked: tuple[Any, dict[str, Any]] = (None, {})  # a model and its layers by path

    @property
    def model(self) -> Any:
        """The Keras model itself."""
        return self.live.module

    def layers(self) -> Iterator[tuple[str, Any]]:
        """Every layer by the user's path (``outer/inner``), each object once.

        Of layers of one name inside another, as only own classes have them, the second is called
        ``name_1``, as Keras would.
        """
        seen: set[int] = set()
        taken: set[str] = set()

        def walk(owner: Any, before: str) -> Iterator[tuple[str, Any]]:
            for layer in _children(owner):
                if id(layer) not in seen:
                    seen.add(id(layer))
                    named = path = f"{before}{layer.name}"
                    number = 0
                    while path in taken:
                        number += 1
                        path = f"{named}_{number}"
                    taken.add(path)
                    yield path, layer
                    yield from walk(layer, f"{path}/")

        return walk(self.model, "")

    def weights(self) -> dict[str, Weight]:
        """See `Net.weights`."""
        return {
            f"{path}/{attribute}": Weight(f"{path}/{attribute}", path, *_kind(layer, attribute))
            for path, layer, attribute, _ in self._kernels()
        }

    def _kernels(self) -> Iterator[tuple[str, Any, str, Any]]:
        for path, layer in self.layers():
            for attribute in KERNELS:
                variable = getattr(layer, attribute, None)
                if hasattr(variable, "assign") and len(getattr(variable, "shape", ())) > 1:
                    yield path, layer, attribute, variable

    def variable(self, name: str) -> Any:
        """The variable of a weight; it may have more axes than the weight: see `_kind`."""
        return getattr(*self._place(name))

    def _place(self, name: str) -> tuple[Any, str]:
        """The layer that a weight is of, and the attribute that holds it.

        It is asked for every kernel in every step: the layers are walked once a model.
        """
        if self._walked[0] is not self.model:
            self._walked = (self.model, dict(self.layers()))
        path, _, attribute = name.rpartition("/")
        return self._walked[1][path], attribute

    def get(self, name: str) -> Any:
        """See `Net.get`."""
        import numpy as np

        values = np.array(self.variable(name).numpy(), dtype=np.float32)
        _, shape, _ = _kind(*self._place(name))
        return values.reshape(shape)

    def put(self, name: str, values: Any) -> None:
        """See `Net.put`."""
        variable = self.variable(name)
        variable.assign(values.reshape(tuple(variable.shape)))

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """See `Net.predict`."""
        return self.predictor()(inputs)

    def predictor(self) -> Callable[[Sequence[Any]], list[Any]]:
        """See `Net.predictor`. It is traced once for each size of a batch."""
        import numpy as np
        import tensorflow as tf

        call = tf.function(lambda *tensors: self.live.call(tensors, training=False))

        def predict(inputs: Sequence[Any]) -> list[Any]:
            parts = [
                call(*(tf.constant(array[at : at + BATCH]) for array in inputs))
                for at in range(0, len(inputs[0]), BATCH)
            ]
            columns = zip(*parts, strict=True)
            return [np.concatenate([part.numpy() for part in column]) for column in columns]

        return predict

    def outputs_of(self, names: Sequence[str], inputs: Sequence[Any]) -> dict[str, Any]:
        """See `Net.outputs_of`."""
        import tensorflow as tf

        model = exposed(self.live.keras, self.model, names)
        answers = tf.nest.flatten(model(packed(self.model, inputs), training=False))
        found = answers[len(answers) - len(names) :]
        return {name: answer.numpy() for name, answer in zip(names, found, strict=True)}

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `Net.shapes`. Layers inside layers of the user's own classes are not seen."""
        import tensorflow as tf

        found: dict[str, tuple[int | None, ...]] = {}
        for call in calls(self.model):
            if len(call.outputs) == 1 and tf.as_dtype(call.outputs[0].dtype).is_floating:
                found.setdefault(call.path, tuple(call.outputs[0].shape))
        return found

    def state(self) -> dict[str, Any]:
        """See `Net.state`."""
        return {str(i): v.numpy() for i, v in enumerate(_variables(self.model))}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Net.restore`."""
        for index, variable in enumerate(_variables(self.model)):
            variable.assign(state[str(index)])

    def learner(
        self, training: Training, loss: Loss, features: Features | None = None
    ) -> KerasLearner:
        """See `Net.learner`."""
        return KerasLearner(self, training, loss, features)

    @contextmanager
    def placed(self, training: Training) -> Iterator[str]:
        """See `Net.placed`. TensorFlow takes a GPU that it finds by itself."""
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU")
        if training.device == "gpu" and not found:
            raise UsageError(
                f'device = "gpu", and TensorFlow {tf.__version__} finds none',
                hint="pip install 'tensorflow[and-cuda]' has CUDA, on Linux; or write "
                'device = "cpu" in [training]',
            )
        if not found:
            yield ""
        elif training.device == "cpu":
            with tf.device("CPU"):
                yield ""
        else:
            yield "a GPU"

    def seed(self, seed: int) -> None:
        """See `Net.seed`. What draws otherwise than by Keras' own layers is not set."""
        import numpy as np

        self.live.keras.utils.set_random_seed(seed)
        draw = np.random.default_rng(seed)
        for layer in [self.model, *(layer for _, layer in self.layers())]:
            for generator in getattr(layer, "_seed_generators", ()):  # Keras 3
                generator.state.assign([int(draw.integers(1 << 31)), 0])
            if hasattr(layer, "_random_generator"):
                _reset(layer._random_generator, int(draw.integers(1 << 31)))


def _children(layer: Any) -> Sequence[Any]:
    """The layers right inside a layer."""
    found: Sequence[Any] = getattr(layer, "layers", None) or ()
    if found:
        return found
    inner = layer._flatten_layers(include_self=False, recursive=False)
    return list(inner)


def _reset(generator: Any, seed: int) -> None:
    """Let a layer of tf_keras draw from a generator of its own, from `seed` on.

    It draws by TensorFlow's operators with a state, otherwise, which nothing sets once the training
    step is traced.
    """
    import tensorflow as tf

    if generator._rng_type != generator.RNG_STATEFUL or not generator._built:
        generator._rng_type = generator.RNG_STATEFUL
        generator._generator = tf.random.Generator.from_seed(seed)
        generator._built = True
    else:
        generator._generator.reset_from_seed(seed)


def _kind(layer: Any, attribute: str) -> tuple[Kind, tuple[int, ...], int]:
    """What a kernel is, its shape, and the axis of its output channels; see Keras' own layers.

    Outputs that stand along several axes (the heads of an attention, a depthwise convolution of
    some kernels a channel) are one axis here, as they are in runtimes, which scale each of them.
    """
    shape = tuple(getattr(layer, attribute).shape)
    names = " ".join(cls.__name__ for cls in type(layer).__mro__)  # a user's may be made of one
    last = len(shape) - 1
    if attribute == "embeddings":
        return "embedding", shape, 0
    if attribute == "recurrent_kernel" or hasattr(layer, "recurrent_kernel"):
        return "recurrent", shape, last
    if attribute == "depthwise_kernel" or "DepthwiseConv" in names:
        return "depthwise", (*shape[:-2], shape[-2] * shape[-1], 1), last - 1
    if "EinsumDense" in names:
        shape = _einsum_shape(layer.equation, shape)
        return "dense", shape, len(shape) - 1
    if last < 2 or "Conv" not in names:
        return "dense", shape, last
    if "Transpose" in names:
        return "transposed", shape, last - 1
    alone = getattr(layer, "groups", 1) > 1 and shape[-2] == 1
    return ("depthwise" if alone else "conv"), shape, last


def _einsum_shape(equation: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(inputs, outputs) of a kernel whose axes of inputs come first; other ones stay."""
    operands, _, outputs = equation.replace(" ", "").partition("->")
    kernel = operands.partition(",")[2]
    summed = [letter not in outputs for letter in kernel]
    count = sum(summed)
    if len(kernel) != len(shape) or not all(summed[:count]):
        return shape
    return math.prod(shape[:count]), math.prod(shape[count:])


def _variables(model: Any) -> list[Any]:
    """Trained numbers, and what batch norms and the like keep; without seeds of generators."""
    return [*model.trainable_variables, *model.non_trainable_weights]


class KerasLearner:
    """See `Learner`: Adam on what is trainable."""

    def __init__(
        self, net: KerasNet, training: Training, loss: Loss, features: Features | None = None
    ) -> None:
        import tensorflow as tf

        self._net, self._training, self._loss, self._features = net, training, loss, features
        if features is not None:
            other = features.teacher
            assert isinstance(other, KerasNet)
            self._pair = [
                exposed(each.live.keras, each.model, features.layers) for each in (net, other)
            ]
        self._own = resolve_own(training.loss) if training.loss else None
        self._trained = net.model.trainable_variables
        if not self._trained:
            raise frozen("set layer.trainable = True before the model is saved")
        self._optimizer = net.live.keras.optimizers.Adam(training.learning_rate)
        self._optimizer.build(self._trained)
        self._step = tf.function(self._traced, reduce_retracing=True)
        self._value = tf.function(self._evaluated, reduce_retracing=True)

    def _traced(self, inputs: Any, targets: Any, teacher: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = self._whole(inputs, targets, teacher, training=True)
            for penalty in self._net.model.losses:
                value += penalty
        gradients = tape.gradient(value, self._trained)
        pairs = [(g, v) for g, v in zip(gradients, self._trained, strict=True) if g is not None]
        self._optimizer.apply_gradients(pairs)
        return value

    def _evaluated(self, inputs: Any, targets: Any, teacher: Any) -> Any:
        return self._whole(inputs, targets, teacher, training=False)

    def _whole(self, inputs: Any, targets: Any, teacher: Any, *, training: bool) -> Any:
        """The whole loss: see `Distillation`."""
        import tensorflow as tf

        features, distill = self._features, self._training.distill
        if features is None or distill is None:
            return self._total(self._net.live.call(inputs, training=training), targets, teacher)
        given = packed(self._net.model, inputs)
        own, other = self._pair
        answers = tf.nest.flatten(own(given, training=training))
        count = len(answers) - len(features.layers)
        theirs = tf.nest.flatten(other(given, training=False))[count:]
        apart = [
            tf.reduce_mean(tf.square(one - tf.stop_gradient(two)))
            for one, two in zip(answers[count:], theirs, strict=True)
        ]
        return self._total(answers[:count], targets, teacher) + (
            distill.feature_weight * tf.reduce_mean(tf.stack(apart))
        )

    def step(self, batch: Batch, rate: float) -> float:
        """See `Learner.step`."""
        self._optimizer.learning_rate = rate
        return float(self._step(*_tensors(batch)))

    def loss(self, batch: Batch) -> float:
        """See `Learner.loss`."""
        return float(self._value(*_tensors(batch)))

    def gradients(self, batch: Batch) -> dict[int, Any]:
        """See `Learner.gradients`."""
        import tensorflow as tf

        inputs, targets, teacher = _tensors(batch)
        with tf.GradientTape() as tape:
            value = self._total(self._net.live.call(inputs, training=False), targets, teacher)
        found = tape.gradient(value, self._trained)
        return {
            id(variable): tf.convert_to_tensor(gradient).numpy()
            for variable, gradient in zip(self._trained, found, strict=True)
            if gradient is not None
        }

    def state(self) -> dict[str, Any]:
        """See `Learner.state`."""
        return {str(i): v.numpy() for i, v in enumerate(self._variables())}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Learner.restore`."""
        for index, variable in enumerate(self._variables()):
            variable.assign(state[str(index)])

    def _variables(self) -> Sequence[Any]:
        found = self._optimizer.variables
        return list(found() if callable(found) else found)

    def _total(self, outputs: Sequence[Any], targets: Any, teacher: Sequence[Any]) -> Any:
        """The loss itself, and the teacher's part: the formula stands at `Distillation`."""
        import tensorflow as tf

        distill = self._training.distill
        share = distill.weight if distill and teacher else 0.0
        value = (1 - share) * self._task(outputs, targets) if share < 1 else 0.0
        if not share or distill is None:
            return value
        for index, (one, two) in enumerate(zip(outputs, teacher, strict=True)):
            by_squares = index != self._loss.output or self._loss.kind != "classes"
            if by_squares and one.dtype.is_floating:
                value += share * tf.reduce_mean(tf.square(one - tf.cast(two, one.dtype)))
        if self._loss.kind != "classes":
            return value
        mine, other = outputs[self._loss.output], teacher[self._loss.output]
        heat = distill.temperature
        student = tf.nn.log_softmax(self._scores(mine) / heat)
        target = tf.nn.log_softmax(self._scores(tf.cast(other, mine.dtype)) / heat)
        apart = tf.reduce_sum(tf.exp(target) * (target - student), axis=-1)
        return value + share * heat**2 * tf.reduce_mean(apart)

    def _task(self, outputs: Sequence[Any], targets: Any) -> Any:
        import tensorflow as tf

        if self._own is not None:
            names = [spec.name for spec in self._net.live.signature.outputs]
            given = dict(zip(names, outputs, strict=True)) if len(outputs) > 1 else outputs[0]
            with own_loss(self._training.loss, outputs, targets):
                return tf.reduce_mean(self._own(given, targets))
        output = outputs[self._loss.output]
        if self._loss.kind == "classes":
            scores = self._scores(output)
            counted = (targets >= 0) & (targets < scores.shape[-1])  # the others are no class
            ids = tf.where(counted, targets, tf.zeros_like(targets))
            found = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.reshape(ids, tf.shape(scores)[:-1]), scores
            )
            weights = tf.reshape(tf.cast(counted, found.dtype), tf.shape(found))
            return tf.reduce_sum(found * weights) / tf.maximum(tf.reduce_sum(weights), 1)
        wanted = tf.reshape(tf.cast(targets, output.dtype), tf.shape(output))
        if self._loss.kind == "numbers":
            return tf.reduce_mean(tf.square(output - wanted))
        if self._loss.probabilities:
            output = tf.clip_by_value(output, TINY, 1 - TINY)
            output = tf.math.log(output) - tf.math.log1p(-output)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(wanted, output))

    def _scores(self, output: Any) -> Any:
        """Logits with the classes last; the logarithm of probabilities is one."""
        import tensorflow as tf

        rank, axis = len(output.shape), self._loss.axis % len(output.shape)
        if axis != rank - 1:
            order = [*(a for a in range(rank) if a != axis), axis]
            output = tf.transpose(output, order)
        return tf.math.log(tf.maximum(output, TINY)) if self._loss.probabilities else output


def _tensors(batch: Batch) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    inputs = tuple(tf.constant(array) for array in batch.inputs)
    teacher = tuple(tf.constant(array) for array in batch.teacher)
    return inputs, tf.constant(batch.targets), teacher
