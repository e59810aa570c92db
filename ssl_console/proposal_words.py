"""What was found in a checkpoint, in lines for people."""

from __future__ import annotations

from backbones.proposal import Inspection, Proposal
from ssl_console.own_backbone import DEFAULT_NORMALISATION, Said

MILLION = 1e6


def in_words(found: Inspection, said: Said) -> list[str]:
    """What was found, a line each."""
    if found.chosen is None:
        lines = [f"no way to load it was found among its {found.tensors} tensors"]
        return lines + [f"  nearest: {proposal_line(other)}" for other in found.others]
    chosen = found.chosen
    lines = [
        f"architecture   {chosen.architecture}{_arguments(chosen)}",
        f"tensors        {chosen.matched} of {chosen.expected} ({chosen.share:.0%}) at {chosen.place}",
    ]
    if chosen.keys.conversion != "none":
        lines.append(f"names          converted ({chosen.keys.conversion})")
    lines += [
        f"dropped        {item.prefix} ({item.tensors} tensors, {item.parameters / MILLION:.2f} M)"
        for item in chosen.dropped
    ]
    lines += [f"method         {said.method or found.method}"]
    lines += [f"chosen because {found.reason}"] if found.reason else []
    lines += [f"also there     {proposal_line(other)}: {_flags(other)}" for other in found.others if other.exact]
    norm = said.normalisation or f"{DEFAULT_NORMALISATION} (no file says it; --norm half or none for another)"
    return [*lines, f"normalisation  {norm}", f"input          {said.size or chosen.size} px"]


def proposal_line(proposal: Proposal) -> str:
    """One way to load the file."""
    share = f"{proposal.matched} of {proposal.expected}"
    obstacles = f" ({'; '.join(proposal.obstacles)})" if proposal.obstacles else ""
    return f"{proposal.architecture}{_arguments(proposal)}, {share} tensors at {proposal.place or 'the top'}{obstacles}"


def _flags(proposal: Proposal) -> str:
    keys = proposal.keys
    container = f"--container {keys.container} " if keys.container else ""
    return f"{container}--prefix '{keys.prefix}'"


def _arguments(proposal: Proposal) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in proposal.arguments.items())
    return f"({given})" if given else ""
