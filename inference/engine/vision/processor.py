"""What has to be put right in processors before they can be used."""

from typing import Any


def mend(processor: Any) -> None:
    """Processors of mlx-vlm hand what they are told about the text (`padding`) to the part for pictures as well, which
    transformers' own refuses since it checks the names of its options: that part passes over others from here on.
    Harmless where it is not needed, and called again."""
    images = getattr(processor, "image_processor", None)
    options = getattr(images, "valid_kwargs", None)
    known = getattr(options, "__required_keys__", frozenset()) | getattr(options, "__optional_keys__", frozenset())
    kind = type(images)
    if not known or getattr(kind, "mended", False):
        return
    plain = kind.__call__

    def call(self: Any, *args: Any, **more: Any) -> Any:
        return plain(self, *args, **{name: value for name, value in more.items() if name in known})

    images.__class__ = type(kind.__name__, (kind,), {"__call__": call, "mended": True})
