"""Runs of a preset with another encoder, crop or cleaning, over the same masks and captions.

Masks and captions as generated depend on none of these, so the stored scenes give them, and only
what hangs on the change is made again: a fifth of describing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasutils.errors import TasError
from tasutils.gallery import Gallery
from tasutils.newest import part_of

if TYPE_CHECKING:
    from tasutils.study import Part

CHANGEABLE = ("encoder", "crop", "language.clean_captions", "language.negative_template")


def changed_part(part: Part, changes: Mapping[str, Any], limit: int | None = None) -> Part:
    """The run of a part's preset with some settings changed, over its first pictures.

    It is kept in the folder `changed` beside the part, so that nobody takes it for the preset's.

    Args:
        part: a run of TAS; its scenes lie beside it, and so will the new ones.
        changes: as in `Preset.override`, of `CHANGEABLE` alone, such as {"crop.fill": "blur"}.
        limit: pictures; None: as many as the part has.

    Raises:
        TasError: another setting, or weights are missing.
    """
    from tasutils.describe import describe_again
    from tasutils.store import scene_key
    from tasutils.tas import load

    for name in changes:
        if not f"{name}.".startswith(tuple(f"{known}." for known in CHANGEABLE)):
            raise TasError(f"{name} changes masks or captions; there are {', '.join(CHANGEABLE)}")
    gallery, count = Gallery(part), min(limit or part.run.record.n_images, part.run.record.n_images)
    tas = load(gallery.tas.preset.override(changes))
    digest, stored = tas.preset.describe_digest(), gallery.store.keys()
    with gallery.store as store:
        for image_id in gallery.dataset.image_ids[:count]:
            image, scene = gallery.picture(image_id)
            key = scene_key(image, digest)
            if key not in stored:
                again = describe_again(
                    scene,
                    image,
                    encoder=tas.encoder,
                    language=tas.language,
                    preset=tas.preset,
                    read_only=all(name.startswith("language.") for name in changes),
                )
                store.put(key, again)
    return part_of(gallery.dataset, tas, count, part.run.folder.parent, aside="changed")
