"""A maker of masks from its settings."""

from tasutils.parts import (
    PLAIN,
    ComputeConfig,
    FreeSoloConfig,
    OverlapConfig,
    SamConfig,
    UnionConfig,
)
from tasutils.proposals import Proposer


def make_proposer(
    config: SamConfig | FreeSoloConfig | UnionConfig,
    overlap: OverlapConfig,
    device: str = "cpu",
    compute: ComputeConfig = PLAIN,
) -> Proposer:
    """The proposer that `config.kind` names, with its overlap filter, on `device`.

    Raises TasError when its weights are missing, damaged or of another model.
    """
    if config.kind == "union":
        from tasutils.proposals.union import UnionProposer

        return UnionProposer(config, overlap, device, compute)
    if config.kind == "freesolo":
        from tasutils.proposals.freesolo import FreeSoloProposer

        return FreeSoloProposer(config, overlap, device)
    from tasutils.proposals.sam import SamProposer

    return SamProposer(config, overlap, device, compute)
