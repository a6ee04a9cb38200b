"""Mapping network: from z to w, for the components and for the global latent."""

import tensorflow as tf

from dnnlib.random_streams import RandomStream
from gansformer.attention import Attention
from gansformer.config import GeneratorConfig
from gansformer.layers import Dense, normalize_rms
from gansformer.residual_block import ResidualBlock
from gansformer.variables import Scope


class MappingNetwork(tf.Module):
    """Map z [B, K, z_dim] and labels [B, label_dim] to w [B, K, L, w_dim].

    The components go through one MLP with shared weights, the global latent (the last one) through
    its own. Only the components are normalised, as in the official code.
    layers: L, to which w is copied.
    component_embedding: [k, w_dim], their learned positional encodings.
    """

    def __init__(
        self,
        scope: Scope,
        config: GeneratorConfig,
        *,
        label_dim: int,
        layers: int,
        component_embedding: tf.Variable,
    ):
        super().__init__()
        mapping = config.mapping
        self.config, self.layers = config, layers
        self.component_embedding = component_embedding
        dim = mapping.dim or config.component_dim
        self.start = self.end = self.embedding_start = None
        if mapping.dim:
            self.start = Dense(scope, config.z_dim, dim, suffix="_map_start")
            if config.component_embedding:
                self.embedding_start = Dense(scope, config.component_dim, dim, suffix="_map_pos")
        inputs = last_inputs = mapping.dim or config.z_dim
        self.labels = self.label_end = self.label_embedding = None
        if label_dim and mapping.label_embedding_dim:
            width = mapping.label_embedding_dim
            self.label_embedding = Dense(scope / "LabelConcat", label_dim, width)
            last_inputs += width
        elif label_dim:
            self.labels = _LabelConcat(scope, label_dim, config.z_dim)
            inputs = last_inputs = inputs + config.z_dim
            if mapping.resnet or mapping.shared_dim:
                # Residual blocks keep their width. The official code has no such case to follow.
                self.label_end = Dense(scope / "LabelConcat", inputs, dim, suffix="_end")
                inputs = last_inputs = dim
        self.shared = mapping.shared_dim > 0
        self._make_networks(scope, inputs if config.has_attention else last_inputs, dim)
        if config.has_attention:
            self.global_mlp = _Mlp(scope / "global", config, last_inputs, dim)
        if mapping.dim:
            self.end = Dense(scope, dim, config.component_dim, suffix="_map_end")

    def _make_networks(self, scope: Scope, inputs: int, dim: int) -> None:
        config = self.config
        if self.shared:
            width = config.mapping.shared_dim
            total = config.components * dim
            self.inmap = Dense(scope, config.components * inputs, width, suffix="_inmap")
            self.component_mlp = _Mlp(scope, config, width, width)
            self.outmap = Dense(scope, width, total, suffix="_outmap")
        else:
            self.component_mlp = _Mlp(scope, config, inputs, dim, of_components=True)

    def __call__(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        component_mask: tf.Tensor | None = None,
        random: RandomStream | None = None,
    ) -> tf.Tensor:
        """Return w [B, K, L, w_dim]. component_mask [B, k]: 0 hides a component from attention."""
        x = z if self.start is None else self.start(z)
        if self.labels is not None:
            x = self.labels(x, labels)
            x = x if self.label_end is None else self.label_end(x)
        mapping, count = self.config.mapping, self.config.components
        axis = [1, 2] if mapping.normalize_jointly else -1
        components = normalize_rms(x[:, :count], axis)  # [B, k, dim]
        if not self.config.has_attention:
            components = self._append_embedding(components, labels)
        y = self._map_components(components, component_mask, random)
        if self.config.has_attention:
            last = x[:, count:]
            last = normalize_rms(last) if mapping.normalize_global else last
            last = self._append_embedding(last, labels)
            y = tf.concat([y, self.global_mlp(last)], axis=1)  # [B, K, dim]
        w = y if self.end is None else self.end(y)
        return tf.tile(w[:, :, None], [1, 1, self.layers, 1])

    def _append_embedding(self, x: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """Append the labels' own embedding, if there is one, to the last latent [B, 1, n]."""
        if self.label_embedding is None:
            return x
        embedding = normalize_rms(self.label_embedding(labels))[:, None]
        return tf.concat([x, tf.tile(embedding, [1, x.shape[1], 1])], axis=-1)

    def _map_components(self, x, component_mask, random) -> tf.Tensor:
        if self.shared:
            count = self.config.components
            x = self.outmap(self.component_mlp(self.inmap(tf.reshape(x, [-1, count * x.shape[2]]))))
            return tf.reshape(x, [-1, count, x.shape[1] // count])
        positions = self.component_embedding if self.config.component_embedding else None
        if self.embedding_start is not None:
            positions = self.embedding_start(positions)
        return self.component_mlp(x, positions=positions, mask=component_mask, random=random)


class _Mlp(tf.Module):
    """The MLP of one kind of latent: plain layers, or residual blocks and one last layer."""

    def __init__(
        self,
        scope: Scope,
        config: GeneratorConfig,
        inputs: int,
        dim: int,
        *,
        of_components: bool = False,
    ):
        super().__init__()
        mapping = config.mapping
        of_components = of_components and config.has_attention
        options = {"activation": mapping.activation, "lr_multiplier": mapping.lr_multiplier}
        self.blocks, self.dense, self.attention = [], [], []
        if not mapping.resnet:
            widths = [inputs, *[mapping.hidden_dim or dim] * (mapping.layers - 1), dim]
            if of_components and mapping.self_attention_without_resnet:  # not before the last layer
                self.attention = [
                    _self_attention(scope / f"AttLayer_{i}", config, widths[i])
                    for i in range(mapping.layers - 1)
                ]
            self.dense = [
                Dense(scope / f"Dense{i}", *widths[i : i + 2], **options)
                for i in range(mapping.layers)
            ]
            return
        blocks = mapping.layers // 2
        for i in range(blocks):
            attention = (
                _self_attention(scope / f"AttLayer_{i}", config, dim)
                if of_components and mapping.self_attention
                else None
            )
            names = (f"Dense{i}_0", f"Dense{i}_1")
            block = ResidualBlock(scope, dim, dense_names=names, attention=attention, **options)
            self.blocks.append(block)
        self.dense = [Dense(scope / f"Dense{blocks - 1}", dim, dim, **options)]

    def __call__(self, x, *, positions=None, mask=None, random=None) -> tf.Tensor:
        options = {"x_positions": positions, "y_positions": positions, "mask": mask}
        stream = lambda i: random and random.fold(f"mapping{i}")  # noqa: E731
        for i, block in enumerate(self.blocks):
            x = block(x, x, random=stream(i), **options)
        for i, dense in enumerate(self.dense):
            if i < len(self.attention):
                x, _ = self.attention[i](x, x, random=stream(i), **options)
            x = dense(x)
        return x


class _LabelConcat(tf.Module):
    """Append an embedding of the labels to the features of every latent."""

    def __init__(self, scope: Scope, label_dim: int, dim: int):
        super().__init__()
        self.weight = (scope / "LabelConcat").normal("weight", [label_dim, dim])

    def __call__(self, x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        embedding = tf.matmul(labels, self.weight)[:, None]  # [B, 1, z_dim]
        return tf.concat([x, tf.tile(embedding, [1, x.shape[1], 1])], axis=-1)


def _self_attention(scope: Scope, config: GeneratorConfig, dim: int) -> Attention:
    position_dim = None
    if config.component_embedding:
        position_dim = config.mapping.dim or config.component_dim
    component = dim, position_dim, config.component_gate
    options = {"heads": config.heads, "dropout": config.attention_dropout}
    return Attention(scope, component, component, width=dim, **options)
