"""Whether a layer shares its output channels with others, so that cutting one out takes it from all of them."""

from shrinkscope.analysis.traced.channels import FIXED, NOTHING, Channels

_NAMED = 3  # a stream of residual blocks has dozens


def sharing(channels: Channels, name: str) -> str | None:
    """Which other layers make the same channels: those whose outputs are added, and depthwise layers behind.

    Args:
        channels: Of the network.
        name: The weight of a convolution or linear layer.

    Returns:
        A reason for people; None when its channels are its own, have to stay anyway, or are not known.
    """
    if name not in channels.layers:
        return None
    own = set(channels.layers[name].made) - {FIXED, NOTHING}
    others = [other for other, layer in channels.layers.items() if other != name and not own.isdisjoint(layer.made)]
    if not others:
        return None
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"its channels are those of {', '.join(others[:_NAMED])}{more}, too: cutting one out takes it from all"
