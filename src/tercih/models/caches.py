"""What a model remembers of what it has read."""

from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer


def windows(config: object) -> list[int | None]:
    """For every layer of a model, its sliding window, or None for full attention.

    Raises ValueError for models whose memory is not keys and values by position (Mamba, chunked attention, …).
    """
    text = config.get_text_config(decoder=True)  # type: ignore[attr-defined]
    found: list[int | None] = []
    for layer in DynamicCache(config=config).layers:
        if type(layer) is DynamicLayer:
            found.append(None)
        elif type(layer) is DynamicSlidingWindowLayer and getattr(text, "attention_chunk_size", None) is None:
            found.append(layer.sliding_window)
        else:
            kinds = sorted(set(getattr(text, "layer_types", None) or [type(layer).__name__]))
            raise ValueError(
                f"the built-in engine knows full and sliding-window attention; {text.model_type} has layers {kinds}: "
                "use another engine for it"
            )
    return found
