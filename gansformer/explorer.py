"""What explore.py's page shows: a pure function of a small state, which the page holds.

The state is JSON, such as {"seed": 3, "components": {"2": {"seed": 8, "moves": [1.5]}}}; see
`State`. The same state gives the same image, whatever was asked before.
"""

import base64
import dataclasses
import io
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError, suggest
from dnnlib.images import crop_rows, encode_image, to_rgb
from dnnlib.numbers import LARGEST_SEED
from dnnlib.videos import write_gif
from gansformer import editing
from gansformer.generation import label_names, label_rows, latents, noise_numbers
from gansformer.grids import component_colours, mean_attention
from gansformer.labels import class_names, describe_choices, first_label
from gansformer.sampling import OpenModel, attention_resolutions
from gansformer.truncation import sample_w
from gansformer.w_files import write_w_into

DIRECTIONS = 5  # of each component
LARGEST_MOVE = 10.0  # standard deviations
LARGEST_MAP = 64  # positions a side of the maps that the page gets
W_SAMPLES = 4000  # for the principal directions of w
GIF_FRAMES = 24  # from one image to the other, and as many back
GIF_RATE = 20  # frames per second


class Edit(NamedTuple):
    """What is other in one component: w of another seed, and steps along its directions.

    moves: in standard deviations of w along each principal direction.
    """

    seed: int | None = None
    moves: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class State:
    """What an image is made from.

    row: which w of the model's file of w (--w), in place of `seed`; psi does not change it.
    noise: what the noise is multiplied by. noise_seed: None for that of `seed` or `row`.
    other_seed, t: w lies t of the way (0 to 1) to that of another seed. layers: the first and last
    in which components are edited; None: all. components: the edits, by component, of K.
    attention_layer: whose attention is shown with the image; None: the average of all layers.
    """

    seed: int = 0
    row: int | None = None
    psi: float = 0.7
    label: str | None = None
    noise: float = 1.0
    noise_seed: int | None = None
    other_seed: int | None = None
    t: float = 0.0
    layers: tuple[int, int] | None = None
    components: Mapping[int, Edit] = dataclasses.field(default_factory=dict)
    attention_layer: int | None = None

    @classmethod
    def parse(cls, values: Any) -> "State":
        """Read a state as JSON has it. Raises UserError, which says what is wrong."""
        found = dict(
            _mapping(values, "the state", [field.name for field in dataclasses.fields(cls)])
        )
        for name in ("seed", "row", "noise_seed", "other_seed"):
            if found.get(name) is not None or name == "seed" and name in found:
                found[name] = _whole(found[name], name, LARGEST_SEED)
        for name, low, high in (("psi", -1000, 1000), ("noise", -1000, 1000), ("t", 0, 1)):
            if name in found:
                found[name] = _number(found[name], name, low, high)
        if found.get("attention_layer") is not None:
            found["attention_layer"] = _whole(found["attention_layer"], "attention_layer", 1000)
        if not isinstance(found.get("label"), str | None):
            raise UserError("label: expected text")
        if found.get("layers") is not None:
            found["layers"] = tuple(
                _whole(n, "layers", 1000) for n in _list(found["layers"], "layers", 2)
            )
            if len(found["layers"]) != 2:
                raise UserError("layers: expected the first and the last, such as [0, 3]")
        components = found.get("components", {})
        if not isinstance(components, dict):
            raise UserError("components: expected edits by number")
        found["components"] = {_index(key): _edit(edit) for key, edit in components.items()}
        return cls(**found)


class Explorer:
    """Makes images of one open model from states; calls from several threads take turns."""

    def __init__(self, opened: OpenModel):
        self._opened, self.generator = opened, opened.generator
        generator = self.generator
        self._attention = attention_resolutions(generator) if generator.config.has_attention else {}
        self._has_attention = bool(self._attention)
        self._stored = None if opened.options.w is None else opened.start([])
        self._lock = threading.RLock()

        # One image instead of a Sampler's batch of 8: the answer matters, not the rate.
        @tf.function(autograph=False, reduce_retracing=True)
        def synthesize(w: tf.Tensor, noise: tf.Tensor):
            numbers = noise if generator.config.noise else "none"
            return generator.synthesis(w, noise=numbers, return_attention=self._has_attention)

        mapping = tf.function(generator.mapping, autograph=False, reduce_retracing=True)

        @lru_cache(64)
        def map_seed(seed: int, label: str | None) -> np.ndarray:
            labels = label_rows(opened.snapshot, generator, label, 1)
            labels = None if labels is None else tf.constant(labels, tf.float32)
            return mapping(latents(generator, [seed]), labels).numpy()

        @lru_cache(1)
        def samples() -> np.ndarray:
            labels = label_rows(opened.snapshot, generator, self.first_label(), 1)
            return np.concatenate(list(sample_w(generator, W_SAMPLES, labels)))

        @lru_cache(None)
        def directions(component: int) -> editing.Directions:
            return editing.principal_directions(samples()[:, component], DIRECTIONS)

        self._synthesize, self._map, self._directions = synthesize, map_seed, directions
        self._noise = lru_cache(8)(lambda seed: noise_numbers(generator, [seed]))

    def first_label(self) -> str | None:
        """Return a label that the model knows, or None if it is not conditional."""
        size = self.generator.label_dim
        snapshot = self._opened.snapshot
        if not size:
            return None
        return first_label(label_names(snapshot, size), snapshot.details.get("label_numbers"))

    def describe(self) -> dict[str, Any]:
        """Return what the page must know of the model."""
        generator, details = self.generator, self._opened.snapshot.details
        config, size = generator.config, generator.label_dim
        facts = {
            "model": self._opened.name,
            "kimg": self._opened.snapshot.kimg,
            "resolution": generator.resolution,
            "layers": generator.layers,
            "components": config.latents,
            "has_global": config.has_attention,  # the last of them
            "has_attention": self._has_attention,
            "attention_layers": list(self._attention.items()),  # and their resolutions
            "colours": np.rint(component_colours(config.components) * 255).tolist(),
            "directions": DIRECTIONS,
            "rows": 0,
            "first_state": {"seed": 0, "psi": 0.7},
            "label_choices": "",
            "classes": [],
        }
        if self._stored is not None:
            facts["rows"], facts["first_state"]["row"] = len(self._stored.w), 0
        if size:
            names, numbers = label_names(self._opened.snapshot, size), details.get("label_numbers")
            facts["label_choices"] = describe_choices(names, numbers).replace("--label", "a label")
            facts["first_state"]["label"] = self.first_label()
            try:
                facts["classes"] = class_names(names, numbers)
            except UserError:  # several columns, or a number
                facts["classes"] = []
        return facts

    def prepare(self) -> None:
        """Do once what the first image, and the first move, would wait for."""
        first = State.parse(self.describe()["first_state"])
        self.image(dataclasses.replace(first, components={0: Edit(moves=(1.0,))}))

    def w(self, state: State, t: float | None = None) -> np.ndarray:
        """Return w [1, K, L, w_dim] of a state; t: in place of its own.

        Raises UserError if the state does not fit the model.
        """
        generator = self.generator
        first, last = state.layers or (0, generator.layers - 1)
        if not first <= last < generator.layers:
            raise UserError(f"layers: expected first <= last <= {generator.layers - 1}")
        layers = range(first, last + 1)
        beyond = max(state.components, default=0)
        if beyond >= generator.config.latents:
            raise UserError(f"components: this model has 0 to {generator.config.latents - 1}")
        if state.row is not None and state.row >= (len(self._stored.w) if self._stored else 0):
            raise UserError(f"row: there is no w number {state.row}; give explore.py a file by --w")
        with self._lock:
            if state.row is None:
                w = self._w_of(state.seed, state)
            else:
                w = self._stored.w[state.row : state.row + 1]
            if state.other_seed is not None:
                w = editing.lerp(
                    w, self._w_of(state.other_seed, state), state.t if t is None else t
                )
            for component, edit in state.components.items():
                if edit.seed is not None:
                    source = self._w_of(edit.seed, state)
                    mixed = editing.mix_components(w, source, [component])
                    w = editing.mix_layers(w, mixed, layers)
                if any(edit.moves):
                    vectors, deviations = self._directions(component)
                    steps = np.zeros(len(vectors))
                    steps[: len(edit.moves)] = edit.moves
                    direction = (steps * deviations) @ vectors
                    w = editing.move(w, direction, 1.0, components=[component], layers=layers)
        return w

    def image(self, state: State) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the image uint8 [H, W, C], and where components attend [h, w, k], or None.

        The maps are averages over heads, and over layers unless the state names one.
        Raises UserError if the state does not fit the model.
        """
        layer = state.attention_layer
        if layer is not None and layer not in self._attention:
            there = ", ".join(map(str, self._attention)) or "none"
            raise UserError(
                f"attention_layer: of this model's layers these have attention: {there}"
            )
        return self._make(self.w(state), self._noise_of(state), layer)

    def page_image(self, state: State) -> dict[str, Any]:
        """Return image and maps as the page takes them: text in base 64, and sizes."""
        image, maps = self.image(state)
        answer = {"image": _text(encode_image(image))}
        if maps is not None:
            height, width, count = maps.shape
            values = np.rint(maps / maps.max() * 255).astype(np.uint8)
            answer["attention"] = {
                "size": [height, width, count],
                "values": _text(values.tobytes()),
            }
        return answer

    def w_file(self, state: State) -> bytes:
        """Return the content of a file of w, as generate.py --save-w writes."""
        seed, numbers = self._noise_source(state)
        if state.noise != 1 or numbers is not None:  # no function of the seed
            numbers = self._noise_of(state)
        file = io.BytesIO()
        with write_w_into(file, self.generator, [seed], numbers) as append:
            append(self.w(state))
        return file.getvalue()

    def gif(self, state: State) -> bytes:
        """Return a loop to `other_seed` and back. Raises UserError if there is none."""
        if state.other_seed is None:
            raise UserError("other_seed: choose a second seed; the video goes there and back")
        noise, frames = self._noise_of(state), []
        for step in range(GIF_FRAMES + 1):
            image, _ = self._make(self.w(state, step / GIF_FRAMES), noise)
            frames.append(to_rgb(image[None])[0])
        file = io.BytesIO()
        write_gif(file, frames + frames[-2:0:-1], fps=GIF_RATE)
        return file.getvalue()

    def _w_of(self, seed: int, state: State) -> np.ndarray:
        w = tf.constant(self._map(seed, state.label))
        return self.generator.truncate(w, psi=state.psi).numpy()

    def _noise_source(self, state: State) -> tuple[int, np.ndarray | None]:
        """Return the seed of the noise, and its numbers [1, M] where they are stored."""
        if state.noise_seed is not None:
            return state.noise_seed, None
        if state.row is None:
            return state.seed, None
        stored = self._stored
        numbers = None if stored.noise is None else stored.noise[state.row : state.row + 1]
        return stored.seeds[state.row], numbers

    def _noise_of(self, state: State) -> np.ndarray:
        seed, numbers = self._noise_source(state)
        with self._lock:
            numbers = self._noise(seed) if numbers is None else numbers
        return numbers * np.float32(state.noise)

    def _make(
        self, w: np.ndarray, noise: np.ndarray, layer: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        with self._lock:
            out = self._synthesize(tf.constant(w), tf.constant(noise))
        image = self._opened.pixels(out.images.numpy())[0]
        if not self._has_attention:
            return image, None
        layers = [
            maps.numpy().astype(np.float32)
            for number, maps in zip(self._attention, out.attention, strict=True)
            if layer in (None, number)
        ]
        size = max(maps.shape[2:4] for maps in layers)
        maps = mean_attention(layers, size)
        step = max(max(size) // LARGEST_MAP, 1)
        height, width, count = size[0] // step, size[1] // step, maps.shape[-1]
        maps = maps.reshape(1, height, step, width, step, count).mean(axis=(2, 4))
        return image, crop_rows(maps, self._opened.ratio)[0]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _mapping(values: Any, what: str, names: list[str]) -> dict:
    if not isinstance(values, dict):
        raise UserError(f"{what}: expected an object with some of {', '.join(names)}")
    for name in values:
        if name not in names:
            raise UserError(f"{what} has no {name[:40]}{suggest(name, names)}")
    return values


def _list(values: Any, what: str, most: int) -> list:
    if not isinstance(values, list) or len(values) > most:
        raise UserError(f"{what}: expected a list of at most {most} numbers")
    return values


def _number(value: Any, what: str, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # nor is NaN
        raise UserError(f"{what}: expected a number from {low:g} to {high:g}")
    return float(value)


def _whole(value: Any, what: str, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
        raise UserError(f"{what}: expected a whole number from 0 to {high}")
    return value


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise UserError(f"components: {text[:40]} is no number of a component")
    return int(text)


def _edit(values: Any) -> Edit:
    values = _mapping(values, "the edit of a component", ["seed", "moves"])
    seed = values.get("seed")
    moves = _list(values.get("moves", []), "moves", DIRECTIONS)
    return Edit(
        None if seed is None else _whole(seed, "seed", LARGEST_SEED),
        tuple(_number(move, "moves", -LARGEST_MOVE, LARGEST_MOVE) for move in moves),
    )
